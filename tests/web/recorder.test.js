import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Connection } from "../../whisperlivekit/web/connection.js";
import { MicrophoneError } from "../../whisperlivekit/web/microphone.js";
import { Recorder } from "../../whisperlivekit/web/recorder.js";

/** A clock that does not move; `run` calls what is due next. */
class Timers {
  due = [];

  now = () => 0;

  set = (run, delay) => {
    const timer = { run, delay };
    this.due.push(timer);
    return timer;
  };

  clear = (timer) => {
    this.due = this.due.filter((other) => other !== timer);
  };
}

/** A recorder with a real Connection. Microphone and socket are the browser's, so the test plays them. */
function recorder({ refuse, channels = 1 } = {}) {
  const sockets = [];
  class Socket {
    bufferedAmount = 0;
    sent = [];

    constructor() {
      sockets.push(this);
    }

    send(message) {
      this.sent.push(message);
    }

    close() {}

    ready() {
      this.onopen();
      this.serve({ type: "ready", session: "abc", protocol: 1, position: 0, max_message_bytes: 1 << 20 });
    }

    serve(event) {
      this.onmessage?.({ data: JSON.stringify({ seq: 0, ...event }) });
    }

    get types() {
      return this.sent.filter((message) => typeof message === "string").map((text) => JSON.parse(text).type);
    }

    get samples() {
      return this.sent.reduce((sum, message) => sum + (typeof message === "string" ? 0 : message.byteLength / 2), 0);
    }
  }
  const microphones = [];
  const createMicrophone = (handlers) => {
    const microphone = {
      ...handlers,
      sampleRate: 16000,
      channels,
      stopped: false,
      start: async () => {
        if (refuse !== undefined) throw refuse;
      },
      stop: async () => {
        handlers.onSamples(new Float32Array(160).fill(0.1)); // the last chunk comes while it stops
        microphone.stopped = true;
      },
      resume: () => {},
    };
    microphones.push(microphone);
    return microphone;
  };
  const timers = new Timers();
  const phases = [];
  const seen = { events: [], down: 0, loudness: 0 };
  const made = new Recorder({
    createMicrophone,
    openConnection: (handlers) =>
      new Connection({
        url: "ws://host/ws",
        start: { channels, multichannel: channels > 1 },
        committedAfter: () => [],
        WebSocket: Socket,
        clock: new Timers(),
        ...handlers,
      }),
    onChange: ({ phase }) => {
      if (phases.at(-1) !== phase) phases.push(phase);
    },
    onEvent: (event) => seen.events.push(event.type),
    onConnectionDown: () => {
      seen.down += 1;
    },
    onLoudness: (loudness) => {
      seen.loudness = loudness;
    },
    clock: timers,
  });
  return { recorder: made, microphones, sockets, timers, phases, seen };
}

const chunk = (value = 0.1) => new Float32Array(320).fill(value);
const MICROPHONE = { kind: "microphone" };
const DONE = { type: "done", audio_s: 1, speech_s: 1, words: 0, utterances: 0, gap_s: 0 };

describe("a recording", () => {
  it("goes through its phases, and sends every sample, then stop", async () => {
    const { recorder: it_, microphones, sockets, phases, seen, timers } = recorder();
    await it_.start(MICROPHONE);
    sockets[0].ready();
    for (let turn = 0; turn < 10; turn += 1) microphones[0].onSamples(chunk());
    assert.ok(Math.abs(it_.state.recorded_s - 0.2) < 1e-9);
    assert.ok(seen.loudness > 0.09);
    await it_.stop();
    assert.deepEqual([microphones[0].stopped, sockets[0].samples, sockets[0].types], [true, 3360, ["start", "stop"]]);
    sockets[0].serve(DONE);
    assert.deepEqual(phases, ["asking", "recording", "stopping", "idle"]);
    assert.deepEqual(seen.events, ["ready", "done"]);
    assert.equal(it_.state.problem, null);
    assert.deepEqual(timers.due, [], "nothing ticks any more");
  });

  it("of two channels counts its seconds once, and sends both", async () => {
    const { recorder: it_, microphones, sockets } = recorder({ channels: 2 });
    await it_.start({ kind: "tab", stereo: true });
    sockets[0].ready();
    microphones[0].onSamples(new Float32Array(2 * 16000).fill(0.1));
    assert.equal(it_.state.recorded_s, 1);
    assert.equal(sockets[0].samples, 2 * 16000);
  });

  it("is shown anew four times a second", async () => {
    const { recorder: it_, timers } = recorder();
    await it_.start(MICROPHONE);
    assert.deepEqual(timers.due.map(({ delay }) => delay), [250]);
    const [tick] = timers.due;
    timers.clear(tick);
    tick.run();
    assert.equal(timers.due.length, 1);
  });

  it("is not begun twice", async () => {
    const { recorder: it_, microphones } = recorder();
    await Promise.all([it_.start(MICROPHONE), it_.start(MICROPHONE)]);
    assert.equal(microphones.length, 1);
  });

  it("ends when its source ends, and says which", async () => {
    for (const [kind, code] of [["microphone", "microphone_lost"], ["tab", "tab_ended"]]) {
      const { recorder: it_, microphones, sockets } = recorder();
      await it_.start({ kind });
      sockets[0].ready();
      microphones[0].onSamples(chunk());
      microphones[0].onEnded();
      await new Promise(setImmediate);
      sockets[0].serve(DONE);
      assert.deepEqual([it_.state.phase, it_.state.problem.code], ["idle", code]);
    }
  });

  it("releases the microphone after a final error", async () => {
    const { recorder: it_, microphones, sockets } = recorder();
    await it_.start(MICROPHONE);
    sockets[0].ready();
    sockets[0].serve({ type: "error", code: "timed_out", message: "", session: "abc" });
    sockets[0].onclose({ code: 1008 });
    await new Promise(setImmediate);
    assert.deepEqual([it_.state.phase, it_.state.problem.code, microphones[0].stopped], ["idle", "timed_out", true]);
  });

  it("can be given up while the last words are awaited, and not before", async () => {
    const { recorder: it_, sockets } = recorder();
    await it_.start(MICROPHONE);
    it_.abandon();
    assert.equal(it_.state.phase, "recording");
    sockets[0].ready();
    await it_.stop();
    it_.abandon();
    assert.equal(it_.state.phase, "idle");
  });

  it("reports a lost connection and goes on recording", async () => {
    const { recorder: it_, microphones, sockets, seen } = recorder();
    await it_.start(MICROPHONE);
    sockets[0].ready();
    const before = seen.down;
    sockets[0].onclose({ code: 1006 });
    microphones[0].onSamples(chunk());
    assert.equal(seen.down, before + 1);
    assert.equal(it_.state.phase, "recording");
    it_.retryNow();
    assert.equal(sockets.length, 2);
  });
});

describe("a microphone", () => {
  it("that fails is explained, and no connection is made", async () => {
    const { recorder: it_, sockets, phases } = recorder({ refuse: new MicrophoneError("no_microphone") });
    await it_.start(MICROPHONE);
    assert.deepEqual([phases, sockets.length, it_.state.problem.code], [["asking", "idle"], 0, "no_microphone"]);
  });

  it("that fails in an unknown way is reported and leaves the page usable", async () => {
    const { recorder: it_ } = recorder({ refuse: new TypeError("oh") });
    await assert.rejects(it_.start(MICROPHONE), TypeError);
    assert.deepEqual([it_.state.phase, it_.state.problem.code], ["idle", "unknown"]);
  });

  it("of an earlier recording changes nothing in the next one", async () => {
    const { recorder: it_, microphones, sockets } = recorder();
    await it_.start(MICROPHONE);
    sockets[0].ready();
    await it_.stop();
    it_.abandon();
    await it_.start(MICROPHONE);
    microphones[0].onSamples(chunk());
    microphones[0].onPaused(true);
    microphones[0].onEnded();
    assert.deepEqual([it_.state.phase, it_.state.paused, it_.state.recorded_s], ["recording", false, 0]);
  });
});
