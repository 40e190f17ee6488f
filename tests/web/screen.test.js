import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Translator } from "../../whisperlivekit/web/i18n.js";
import { activity, lag_s, present, timeText } from "../../whisperlivekit/web/screen.js";
import { initialState } from "../../whisperlivekit/web/state.js";

const NOW = 100_000;

const status = (state, cause = null, more = {}) => ({ state, stopping: false, cause, retryAt: null, session: "abc", ...more });
const state = (phase, more = {}) => ({ ...initialState(), phase, ...more });
const shown = (current, more = {}, language = "en") =>
  present(
    current,
    { hasText: false, hasPartial: false, length_s: 0, offset_s: 0, unsent_s: 0, now_ms: NOW, ...more },
    new Translator(language),
  );

describe("the activity", () => {
  const live = status("live");
  const problem = { code: "internal_error", session: "abc", endedRecording: true };
  for (const [expected, current, hasText = false] of [
    ["idle", state("idle")],
    ["done", state("idle"), true],
    ["failed", state("idle", { problem, recorded_s: 3 }), true],
    ["idle", state("idle", { problem, recorded_s: 0 })],
    ["done", state("idle", { problem: { ...problem, endedRecording: false }, recorded_s: 3 }), true],
    ["asking", state("asking")],
    ["connecting", state("recording", { connection: status("connecting", null, { session: null }) })],
    ["reconnecting", state("recording", { connection: status("connecting", null) })],
    ["reconnecting", state("recording", { connection: status("waiting", "no_server", { retryAt: NOW }), downSince_ms: NOW - 100 })],
    ["retrying", state("recording", { connection: status("waiting", "no_server", { retryAt: NOW }), downSince_ms: NOW - 9000 })],
    ["loading", state("recording", { connection: status("waiting", "model_loading") })],
    ["full", state("stopping", { connection: status("waiting", "server_full") })],
    ["stopping", state("stopping", { connection: status("waiting", "no_server") })],
    ["stopping", state("stopping", { connection: live })],
    ["listening", state("recording", { connection: live })],
    ["speaking", state("recording", { connection: live, speaking: true })],
    ["paused", state("recording", { connection: live, speaking: true, paused: true })],
  ]) {
    it(`is ${expected}: ${current.phase}, ${current.connection?.state ?? "no connection"}, ${current.connection?.cause ?? "no cause"}`, () => {
      assert.equal(activity(current, { hasText, now_ms: NOW }), expected);
    });
  }

  it("has a text in both languages", () => {
    assert.equal(shown(state("recording", { connection: live }), {}, "ru").state, "Слушаю");
    assert.equal(shown(state("recording", { connection: live })).tone, "live");
  });
});

describe("the lag", () => {
  const recording = (connection, recorded, received, lag) => state("recording", { connection, recorded_s: recorded, received_s: received, lag_s: lag });
  it("is what the server says, while audio is on its way as usual", () => {
    assert.equal(lag_s(recording(status("live"), 5, 4, 0.7)), 0.7);
  });

  it("grows with audio that does not get through", () => {
    assert.equal(lag_s(recording(status("live"), 8, 4, 0.7)), 3.7);
    assert.equal(lag_s(recording(status("waiting"), 8, 4, 0.7)), 4);
    assert.equal(lag_s(recording(status("waiting"), 4.5, 4, 0.7)), 0);
  });

  it("is shown only while something is recorded or awaited, and only if it is not zero", () => {
    assert.equal(shown(recording(status("live"), 5, 4, 0.7)).lag, "0.7 s behind");
    assert.equal(shown(recording(status("live"), 5, 4, 0.01)).lag, "");
    assert.equal(shown(state("idle", { lag_s: 3 })).lag, "");
  });
});

describe("the notice", () => {
  const down = (phase, cause, more = {}, connection = {}) =>
    state(phase, { connection: status("waiting", cause, { retryAt: NOW + 3200, ...connection }), downSince_ms: NOW - 9000, ...more });

  it("is missing while all is well", () => {
    assert.equal(shown(state("recording", { connection: status("live") })).notice, null);
    assert.equal(shown(state("idle")).notice, null);
  });

  it("explains an outage once it lasts, with a countdown and a button", () => {
    assert.equal(shown(down("recording", "no_server", { downSince_ms: NOW - 100 })).notice, null);
    const { title, tone, detail, retry } = shown(down("recording", "no_server")).notice;
    assert.deepEqual([title, tone, retry], ["The server cannot be reached", "warn", true]);
    assert.match(detail, /Next attempt in 4 s/);
  });

  it("never counts down to less than a second", () => {
    assert.match(shown(down("recording", "no_server", {}, { retryAt: NOW - 5000 })).notice.detail, /in 1 s/);
  });

  it("explains a full and a loading server at once", () => {
    for (const cause of ["server_full", "model_loading"]) {
      assert.equal(shown(down("recording", cause, { downSince_ms: NOW })).notice.code, cause);
    }
  });

  it("says how much is not sent yet when the user has stopped", () => {
    assert.equal(shown(down("stopping", "no_server"), { unsent_s: 4.25 }, "ru").notice.detail, "Ещё не отправлено: 4,3 с звука.");
  });

  it("gives code and session of an error that only the administrator can solve", () => {
    const { detail, tone, retry } = shown(state("idle", { problem: { code: "internal_error", session: "abc", endedRecording: true } })).notice;
    assert.deepEqual([detail, tone, retry], ["Code: internal_error, session abc", "error", false]);
    assert.equal(shown(state("idle", { problem: { code: "no_microphone", session: null, endedRecording: false } })).notice.detail, "");
  });

  it("has the key form where a key is the problem", () => {
    for (const [code, form] of [["unauthorized", true], ["wrong_key", true], ["key_saved", true], ["no_microphone", false]]) {
      assert.equal(shown(state("idle", { problem: { code, session: null, endedRecording: false } })).notice.keyForm, form, code);
    }
  });

  it("hints at a microphone that gives nothing, until the user closes the hint", () => {
    const silent = state("recording", { connection: status("live"), silent_s: 7 });
    assert.equal(shown(silent).notice.code, "silent_microphone");
    assert.equal(shown({ ...silent, silent_s: 2 }).notice, null);
    assert.equal(shown({ ...silent, dismissed: ["silent_microphone"] }).notice, null);
  });
});

describe("the controls", () => {
  it("fit the phase and the text", () => {
    const buttons = (phase, hasText) => shown(state(phase), { hasText }).button;
    assert.deepEqual(
      [buttons("idle", false), buttons("idle", true), buttons("asking", false), buttons("recording", true), buttons("stopping", true)],
      ["Start", "Continue", "Please wait…", "Stop", "Give up"],
    );
    const idle = shown(state("idle"), { hasText: true });
    assert.deepEqual([idle.idle, idle.canSave, idle.canClear, idle.empty], [true, true, true, false]);
    const recording = shown(state("recording"), { hasText: true });
    assert.deepEqual([recording.idle, recording.canSave, recording.canClear], [false, true, false]);
    assert.equal(shown(state("idle")).empty, true);
    assert.equal(shown(state("recording"), { hasPartial: true }).empty, false);
  });

  it("show the time of the whole transcript", () => {
    assert.equal(shown(state("idle"), { length_s: 65 }).timer, "1:05");
    assert.equal(shown(state("recording", { recorded_s: 5 }), { offset_s: 60, length_s: 60 }).timer, "1:05");
  });

  it("mark the title while recording", () => {
    assert.equal(shown(state("idle")).title, "Speech to text");
    assert.equal(shown(state("recording"), {}, "ru").title, "● Запись · Речь в текст");
  });
});

describe("timeText", () => {
  it("has hours only where there are any", () => {
    assert.deepEqual([0, 59.9, 60, 3599, 3600, 36061].map(timeText), ["0:00", "0:59", "1:00", "59:59", "1:00:00", "10:01:01"]);
  });
});
