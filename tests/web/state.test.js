import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { TRANSITIONS, initialState, reduce } from "../../whisperlivekit/web/state.js";

const status = (state, cause = null, session = null) => ({ state, stopping: false, cause, retryAt: null, session });

/** One input of each kind that can move a phase. */
const MOVES = {
  start: { type: "start" },
  opened: { type: "opened" },
  failed: { type: "failed", code: "no_microphone" },
  stop: { type: "stop" },
  ended: { type: "status", status: status("ended"), now_ms: 0 },
};

/** How each phase is reached. */
const PATHS = {
  idle: [],
  asking: ["start"],
  recording: ["start", "opened"],
  stopping: ["start", "opened", "stop"],
};

const after = (...inputs) => inputs.reduce(reduce, initialState());
const at = (phase, ...inputs) => after(...PATHS[phase].map((name) => MOVES[name]), ...inputs);

describe("phases", () => {
  for (const phase of Object.keys(TRANSITIONS)) {
    for (const [name, input] of Object.entries(MOVES)) {
      const next = TRANSITIONS[phase][name];
      it(`${phase}: ${name} ${next === undefined ? "changes nothing" : `leads to ${next}`}`, () => {
        const before = at(phase);
        assert.equal(before.phase, phase);
        const now = reduce(before, input);
        if (next === undefined) assert.equal(now, before);
        else assert.equal(now.phase, next);
      });
    }
  }

  it("can all be reached", () => {
    const reached = new Set(["idle", ...Object.values(TRANSITIONS).flatMap(Object.values)]);
    assert.deepEqual([...reached].sort(), Object.keys(TRANSITIONS).sort());
  });
});

describe("a recording", () => {
  it("begins without anything of the last one", () => {
    const old = at(
      "recording",
      { type: "audio", duration_s: 9, recorded_s: 9, loudness: 0 },
      { type: "paused", paused: true },
      { type: "dismiss", code: "silent_microphone" },
      { type: "stop", code: "microphone_lost" },
      MOVES.ended,
    );
    assert.deepEqual(reduce(old, MOVES.start), { ...initialState(), phase: "asking" });
  });

  it("counts audio, and the silence since the last sound", () => {
    const chunk = (loudness) => ({ type: "audio", duration_s: 2, recorded_s: 1.5, loudness });
    const silent = at("recording", chunk(0), chunk(1e-6));
    assert.deepEqual([silent.recorded_s, silent.silent_s], [3, 4]);
    assert.equal(reduce(silent, chunk(0.01)).silent_s, 0);
  });

  it("takes speech and progress from the server's events", () => {
    const progress = { type: "progress", seq: 1, received_s: 3, settled_s: 1, lag_s: 2, kept_from: 0 };
    const live = { type: "status", status: status("live"), now_ms: 0 };
    const state = at("recording", live, { type: "event", event: { type: "speech_started", seq: 0, at: 0 } }, { type: "event", event: progress });
    assert.deepEqual([state.speaking, state.received_s, state.lag_s], [true, 3, 2]);
    assert.equal(reduce(state, { type: "event", event: { type: "speech_stopped", seq: 2, at: 3 } }).speaking, false);
    assert.equal(reduce(state, { type: "status", status: status("waiting"), now_ms: 5 }).speaking, false, "no server hears anything");
  });

  it("hears speech while either channel speaks, and is as late as the slower one", () => {
    const event = (type, channel, fields) => ({ type: "event", event: { type, seq: 0, channel, ...fields } });
    const progress = (channel, lag_s) => event("progress", channel, { received_s: 3, settled_s: 3 - lag_s, lag_s, kept_from: 0 });
    const both = [event("speech_started", 0, { at: 1 }), event("speech_started", 1, { at: 1 }), event("speech_stopped", 0, { at: 2 })];
    const state = at("recording", ...both, progress(0, 2), progress(1, 0.5));
    assert.deepEqual([state.speaking, state.lag_s], [true, 2]);
    const later = [event("speech_stopped", 1, { at: 2 }), progress(0, 0)].reduce(reduce, state);
    assert.deepEqual([later.speaking, later.lag_s], [false, 0.5]);
  });

  it("knows since when the connection is down", () => {
    const down = (now_ms) => ({ type: "status", status: status("waiting", "no_server"), now_ms });
    const state = at("recording", down(1000), down(5000));
    assert.equal(state.downSince_ms, 1000);
    assert.equal(reduce(state, { type: "status", status: status("live"), now_ms: 6000 }).downSince_ms, null);
    assert.equal(reduce(state, MOVES.ended).downSince_ms, null);
  });
});

describe("a problem", () => {
  it("of the microphone ends no recording", () => {
    assert.deepEqual(at("asking", MOVES.failed).problem, { code: "no_microphone", session: null, endedRecording: false });
  });

  it("of the source stays when the last words have come", () => {
    const state = at("recording", { type: "stop", code: "microphone_lost" }, MOVES.ended);
    assert.deepEqual(state.problem, { code: "microphone_lost", session: null, endedRecording: true });
  });

  it("of the connection names the session, and replaces an earlier one", () => {
    const ended = { type: "status", status: status("ended", "internal_error", "abc"), now_ms: 0 };
    const state = at("recording", { type: "stop", code: "tab_ended" }, ended);
    assert.deepEqual(state.problem, { code: "internal_error", session: "abc", endedRecording: true });
  });

  it("is shown again if it comes back after it was closed", () => {
    const report = { type: "report", code: "copy_failed" };
    const closed = at("idle", report, { type: "dismiss", code: "copy_failed" });
    assert.deepEqual([closed.problem, closed.dismissed], [null, ["copy_failed"]]);
    const again = reduce(closed, report);
    assert.deepEqual([again.problem.code, again.dismissed], ["copy_failed", []]);
  });

  it("is forgotten with the text, but not during a recording", () => {
    assert.deepEqual(at("idle", { type: "report", code: "copy_failed" }, { type: "clear" }), initialState());
    assert.equal(at("recording", { type: "clear" }).phase, "recording");
  });
});
