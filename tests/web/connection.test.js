// The page's connection, with a clock and a socket that the tests move. Long because each way in which a connection can be lost, and
// each state in which that can happen, is a test.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Backlog, Connection, diagnose, endpoints } from "../../whisperlivekit/web/connection.js";
import { Transcript } from "../../whisperlivekit/web/transcript.js";

/** A clock that a test moves. */
class FakeClock {
  time = 1000;
  timers = [];

  now = () => this.time;

  set = (run, delay) => {
    const timer = { run, at: this.time + delay };
    this.timers.push(timer);
    return timer;
  };

  clear = (timer) => {
    this.timers = this.timers.filter((other) => other !== timer);
  };

  advance(ms) {
    const end = this.time + ms;
    for (;;) {
      const [next] = this.timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.clear(next);
      this.time = next.at;
      next.run();
    }
    this.time = end;
  }
}

/** A connection with its sockets, events and statuses. */
function open(options = {}) {
  const sockets = [];
  class FakeSocket {
    bufferedAmount = 0;
    sent = [];
    closed = false;

    constructor(url, protocols) {
      this.url = url;
      this.protocols = protocols;
      sockets.push(this);
    }

    send(message) {
      assert.ok(!this.closed, "sent on a closed socket");
      this.sent.push(message);
    }

    close() {
      this.closed = true;
    }

    // What the server does.
    serve(event) {
      this.onmessage?.({ data: JSON.stringify({ seq: 0, ...event }) });
    }

    ready(position = 0, session = "first") {
      this.onopen();
      this.serve({ type: "ready", session, protocol: 1, model: "base", language: "ru", position, max_message_bytes: 1048576 });
    }

    end(code) {
      this.onclose?.({ code });
    }

    get texts() {
      return this.sent.filter((message) => typeof message === "string").map((text) => JSON.parse(text));
    }

    get audio() {
      return this.sent.filter((message) => typeof message !== "string").flatMap((buffer) => [...new Int16Array(buffer)]);
    }
  }
  const clock = new FakeClock();
  const transcript = new Transcript();
  const events = [];
  const statuses = [];
  const connection = new Connection({
    url: "ws://host/ws",
    start: { language: "ru" },
    onEvent: (event) => {
      events.push(event);
      transcript.apply(event);
    },
    onStatus: (status) => statuses.push(status),
    committedAfter: (position) => transcript.wordsAfter(position),
    WebSocket: FakeSocket,
    clock,
    random: () => 1,
    ...options,
  });
  return { connection, sockets, clock, events, statuses, last: () => statuses.at(-1) };
}

/** Samples whose values are their positions. */
function ramp(from, length) {
  return Int16Array.from({ length }, (_, index) => (from + index) % 30000);
}

function feed(connection, seconds) {
  for (let turn = 0; turn < seconds * 50; turn += 1) connection.push(ramp(connection.backlog.end, 320));
}

function committed(text, start, end, kept_from) {
  return { type: "committed", text, words: [{ text: text.trim(), start, end, probability: 0.9 }], start, end, kept_from };
}

const DONE = { type: "done", audio_s: 1, speech_s: 1, words: 1, utterances: 1, gap_s: 0 };

describe("a stream over one connection", () => {
  it("sends start first, and all audio once the server is ready", () => {
    const { connection, sockets, last } = open();
    feed(connection, 1);
    assert.deepEqual(sockets[0].sent, []);
    assert.equal(last().state, "connecting");
    sockets[0].ready();
    assert.deepEqual(sockets[0].texts, [{ type: "start", encoding: "pcm_s16le", sample_rate: 16000, language: "ru" }]);
    feed(connection, 1);
    assert.deepEqual(sockets[0].audio, [...ramp(0, 32000)]);
    assert.equal(last().state, "live");
    assert.equal(last().session, "first");
  });

  it("sends the rest and stop when the user stops, and ends at done", () => {
    const { connection, sockets, events, last } = open();
    sockets[0].ready();
    connection.push(ramp(0, 1700));
    assert.equal(sockets[0].audio.length, 1600);
    connection.stop();
    assert.equal(sockets[0].audio.length, 1700);
    assert.deepEqual(sockets[0].texts.at(-1), { type: "stop" });
    sockets[0].serve(committed(" да", 0, 0.1, 1700));
    assert.equal(last().state, "live");
    sockets[0].serve(DONE);
    assert.deepEqual([last().state, last().cause], ["ended", null]);
    assert.deepEqual(events.map((event) => event.type), ["ready", "committed", "done"]);
    assert.ok(sockets[0].closed);
  });

  it("offers the key's subprotocols on every connection", () => {
    const { sockets, clock } = open({ protocols: ["token", "secret"] });
    sockets[0].end(1006);
    clock.advance(1000);
    assert.deepEqual(sockets.map((socket) => [socket.url, socket.protocols]), Array(2).fill(["ws://host/ws", ["token", "secret"]]));
  });

  it("takes no audio after stop", () => {
    const { connection, sockets } = open();
    sockets[0].ready();
    connection.push(ramp(0, 100));
    connection.stop();
    connection.push(ramp(100, 3200));
    assert.equal(sockets[0].audio.length, 100);
  });

  it("ends at once if there was no audio", () => {
    const { connection, sockets, last } = open();
    connection.stop();
    assert.deepEqual([last().state, last().cause], ["ended", null]);
    assert.ok(sockets[0].closed);
  });

  it("keeps the audio in the page while the socket is full", () => {
    const { connection, sockets, clock } = open();
    sockets[0].ready();
    sockets[0].bufferedAmount = 300 * 1024;
    feed(connection, 1);
    connection.stop();
    assert.equal(sockets[0].audio.length, 0);
    sockets[0].bufferedAmount = 0;
    clock.advance(100);
    assert.deepEqual(sockets[0].audio, [...ramp(0, 16000)]);
    assert.deepEqual(sockets[0].texts.at(-1), { type: "stop" });
  });

  it("sends no frame longer than the server takes", () => {
    const { connection, sockets } = open();
    feed(connection, 3);
    sockets[0].onopen();
    sockets[0].serve({ type: "ready", session: "s", protocol: 1, model: "m", language: "ru", position: 0, max_message_bytes: 8000 });
    const sizes = sockets[0].sent.filter((message) => typeof message !== "string").map((buffer) => buffer.byteLength);
    assert.ok(Math.max(...sizes) <= 8000);
    assert.deepEqual(sockets[0].audio, [...ramp(0, 48000)]);
  });

  it("drops audio that no server will ask for again", () => {
    const { connection, sockets } = open();
    sockets[0].ready();
    feed(connection, 2);
    sockets[0].serve({ type: "progress", received_s: 2, settled_s: 1, lag_s: 1, kept_from: 16000 });
    assert.equal(connection.backlog.start, 16000);
  });
});

describe("a lost connection", () => {
  it("is resumed with the audio from kept_from on and the words after it", () => {
    const { connection, sockets, clock, last } = open();
    sockets[0].ready();
    feed(connection, 3);
    sockets[0].serve(committed(" раз", 0.2, 0.6, 9600));
    sockets[0].serve(committed(" два", 0.8, 1.2, 16000));
    sockets[0].end(1006);
    assert.deepEqual([last().state, last().cause], ["waiting", "connection_lost"]);
    feed(connection, 1);
    clock.advance(500);
    assert.equal(sockets.length, 2);
    assert.equal(last().session, "first", "the id stays while no server has given another one");
    sockets[1].ready(16000, "second");
    assert.deepEqual(sockets[1].texts[0].resume, {
      session: "first",
      position: 16000,
      words: [{ text: " два", start: 0.8, end: 1.2, probability: 0.9 }],
    });
    assert.deepEqual(sockets[1].audio, [...ramp(16000, 48000)]);
    assert.deepEqual([last().state, last().cause, last().session], ["live", null, "second"]);
  });

  it("brings the position of the live text if the stream is refined, and passes refined text on", () => {
    const { connection, sockets, clock, events } = open({ start: { refine: true } });
    sockets[0].ready();
    feed(connection, 3);
    sockets[0].serve({ ...committed(" рас", 0.2, 0.6, 0), live_from: 9600 });
    const word = { text: "раз", start: 0.2, end: 0.6, probability: 0.9 };
    const refined = { type: "refined", seq: 0, text: " раз", words: [word], start: 0, end: 1, replaces: 1, kept_from: 16000, live_from: 32000 };
    sockets[0].serve(refined);
    assert.deepEqual(events.at(-1), refined);
    assert.equal(connection.backlog.start, 16000);
    sockets[0].end(1006);
    clock.advance(500);
    sockets[1].ready(16000);
    const { position, live_from } = sockets[1].texts[0].resume;
    assert.deepEqual([sockets[1].texts[0].refine, position, live_from], [true, 16000, 32000]);
    assert.deepEqual(sockets[1].audio, [...ramp(16000, 32000)]);
  });

  for (const [code, cause] of [[1006, "connection_lost"], [1012, "shutting_down"], [1013, "server_full"], [1011, "internal_error"], [1001, "connection_lost"]]) {
    it(`is tried again after close code ${code}`, () => {
      const { sockets, clock, last } = open();
      sockets[0].ready();
      sockets[0].end(code);
      assert.deepEqual([last().state, last().cause], ["waiting", cause]);
      clock.advance(60_000);
      assert.ok(sockets.length > 1);
    });
  }

  for (const [code, cause] of [[1003, "unsupported_format"], [1007, "bad_message"], [1008, "forbidden"], [1009, "message_too_big"]]) {
    it(`is final after close code ${code}`, () => {
      const { connection, sockets, clock, last } = open();
      sockets[0].ready();
      feed(connection, 1);
      sockets[0].end(code);
      assert.deepEqual([last().state, last().cause], ["ended", cause]);
      clock.advance(3_600_000);
      assert.equal(sockets.length, 1);
    });
  }

  it("reports the server's error rather than the close code", () => {
    const { sockets, last } = open();
    sockets[0].ready();
    sockets[0].serve({ type: "error", code: "timed_out", message: "no audio for 300 s", session: "first" });
    sockets[0].end(1008);
    assert.deepEqual([last().state, last().cause, last().session], ["ended", "timed_out", "first"]);
  });

  it("is final after a final error even if a proxy has changed the close code", () => {
    const { sockets, last } = open();
    sockets[0].onopen();
    sockets[0].serve({ type: "error", code: "unauthorized", message: "no key", session: "" });
    sockets[0].end(1006);
    assert.deepEqual([last().state, last().cause], ["ended", "unauthorized"]);
  });

  it("is retried after growing waits, up to a bound, and after short ones again once the stream has got further", () => {
    const { connection, sockets, clock, last } = open();
    feed(connection, 3);
    const waits = [];
    for (let turn = 0; turn < 8; turn += 1) {
      sockets.at(-1).end(1006);
      waits.push(last().retryAt - clock.now());
      clock.advance(waits.at(-1));
    }
    assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 10000, 10000, 10000]);
    sockets.at(-1).ready();
    sockets.at(-1).serve({ type: "progress", received_s: 2, settled_s: 1, lag_s: 1, kept_from: 16000 });
    sockets.at(-1).end(1006);
    assert.equal(last().retryAt - clock.now(), 500);
  });

  it("is retried after growing waits even if the server gets ready each time before it fails", () => {
    const { sockets, clock, last } = open();
    for (let turn = 0; turn < 4; turn += 1) {
      sockets.at(-1).ready();
      sockets.at(-1).end(1006);
      clock.advance(last().retryAt - clock.now());
    }
    sockets.at(-1).end(1006);
    assert.equal(last().retryAt - clock.now(), 8000);
  });

  it("is retried at random times, which spreads the attempts of many clients", () => {
    const delays = [0, 1].map((random) => {
      const { sockets, clock, last } = open({ random: () => random });
      sockets[0].end(1006);
      return last().retryAt - clock.now();
    });
    assert.deepEqual(delays, [250, 500]);
  });

  it("is given up when an error of the server repeats without any progress", () => {
    const { sockets, clock, last } = open();
    for (let turn = 0; turn < 5; turn += 1) {
      assert.notEqual(last().state, "ended");
      sockets.at(-1).ready();
      sockets.at(-1).serve({ type: "error", code: "internal_error", message: "oh", session: "first" });
      sockets.at(-1).end(1011);
      clock.advance(10_000);
    }
    assert.deepEqual([last().state, last().cause], ["ended", "internal_error"]);
  });

  it("is resumed while stopping too, and stop is sent again", () => {
    const { connection, sockets, clock, last } = open();
    sockets[0].ready();
    feed(connection, 1);
    connection.stop();
    sockets[0].end(1012);
    assert.deepEqual([last().state, last().stopping], ["waiting", true]);
    clock.advance(500);
    sockets[1].ready();
    assert.deepEqual(sockets[1].audio, [...ramp(0, 16000)]);
    assert.deepEqual(sockets[1].texts.at(-1), { type: "stop" });
    sockets[1].serve(DONE);
    assert.equal(last().state, "ended");
  });

  it("is retried at once when the user stops or the network is back", () => {
    const { connection, sockets } = open();
    feed(connection, 1);
    sockets[0].end(1006);
    connection.retryNow();
    assert.equal(sockets.length, 2);
    sockets[1].end(1006);
    connection.stop();
    assert.equal(sockets.length, 3);
    connection.retryNow();
    assert.equal(sockets.length, 3);
  });

  it("can be given up", () => {
    const { connection, sockets, clock, last } = open();
    feed(connection, 1);
    sockets[0].end(1006);
    connection.abandon();
    clock.advance(60_000);
    assert.deepEqual([last().state, sockets.length], ["ended", 1]);
  });

  it("is noticed when the server sends nothing any more", () => {
    const { connection, sockets, clock, last } = open();
    sockets[0].ready();
    clock.advance(120_000);
    assert.equal(last().state, "live", "nothing was sent, so nothing is expected");
    feed(connection, 1);
    clock.advance(20_000);
    assert.equal(last().state, "live");
    clock.advance(20_000);
    assert.equal(last().cause, "no_answer");
    assert.ok(sockets[0].closed);
  });

  it("is noticed when the server never gets ready", () => {
    const { sockets, clock, last } = open();
    sockets[0].onopen();
    clock.advance(20_000);
    assert.deepEqual([last().state, last().cause], ["waiting", "no_answer"]);
  });

  it("detaches its old socket, so that a late message of it changes nothing", () => {
    const { connection, sockets, clock, events } = open();
    sockets[0].onopen();
    const late = sockets[0].onmessage;
    clock.advance(21_000);
    assert.equal(sockets[0].onmessage, null);
    assert.equal(sockets[0].onclose, null);
    assert.equal(typeof late, "function");
    assert.deepEqual(events, []);
    assert.equal(connection.state, "connecting");
  });
});

describe("a socket that does not open", () => {
  /** A diagnosis that is answered by the test. */
  function asked() {
    const questions = [];
    const diagnose = () => new Promise((answer) => questions.push(answer));
    const answer = async (cause, wait_s = 0) => {
      questions.shift()({ cause, wait_s });
      await Promise.resolve();
    };
    return { diagnose, answer, questions };
  }

  it("is explained by the diagnosis", async () => {
    const { diagnose, answer } = asked();
    const { sockets, last } = open({ diagnose });
    sockets[0].end(1006);
    assert.equal(last().cause, "no_server");
    await answer("model_loading");
    assert.deepEqual([last().state, last().cause], ["waiting", "model_loading"]);
  });

  it("is tried again at the usual time if the diagnosis was quick", async () => {
    const { diagnose, answer } = asked();
    const { sockets, clock } = open({ diagnose });
    sockets[0].end(1006);
    clock.advance(100);
    await answer("no_server");
    clock.advance(390);
    assert.equal(sockets.length, 1);
    clock.advance(10);
    assert.equal(sockets.length, 2);
  });

  for (const slow_ms of [0, 700, 4900]) {
    it(`waits as long as a full server asks, even if the answer takes ${slow_ms} ms`, async () => {
      const { diagnose, answer } = asked();
      const { sockets, clock, last } = open({ diagnose, random: () => 0 });
      sockets[0].end(1006);
      clock.advance(slow_ms);
      await answer("server_full", 5);
      assert.equal(last().cause, "server_full");
      clock.advance(4_900);
      assert.equal(sockets.length, 1);
      clock.advance(200);
      assert.equal(sockets.length, 2);
    });
  }

  it("is tried again without a diagnosis if that takes too long, and a later answer changes nothing", async () => {
    const { diagnose, answer } = asked();
    const { sockets, clock, last } = open({ diagnose });
    sockets[0].end(1006);
    clock.advance(5_000);
    assert.equal(sockets.length, 2);
    await answer("unauthorized");
    assert.equal(last().state, "connecting");
  });

  it("ignores the diagnosis of an earlier attempt", async () => {
    const { diagnose, answer } = asked();
    const { connection, sockets, last } = open({ diagnose });
    sockets[0].end(1006);
    connection.retryNow();
    sockets[1].end(1006);
    await answer("unauthorized");
    assert.deepEqual([last().state, last().cause], ["waiting", "no_server"]);
    await answer("server_full");
    assert.equal(last().cause, "server_full");
  });

  for (const cause of ["unauthorized", "wrong_key", "forbidden_origin", "unknown_host"]) {
    it(`is not tried again after ${cause}`, async () => {
      const { diagnose, answer } = asked();
      const { sockets, clock, last } = open({ diagnose });
      sockets[0].end(1006);
      await answer(cause);
      assert.deepEqual([last().state, last().cause], ["ended", cause]);
      clock.advance(60_000);
      assert.equal(sockets.length, 1);
    });
  }
});

describe("a stereo stream", () => {
  const stereo = () => open({ start: { language: "ru", channels: 2, multichannel: true } });
  /** Frames whose values are their positions, on both channels. */
  const frames = (from, length) => Int16Array.from({ length: 2 * length }, (_, index) => from + (index >> 1));

  it("is announced, and its positions count frames", () => {
    const { connection, sockets } = stereo();
    connection.push(frames(0, 3200));
    assert.equal(connection.backlog.end, 3200);
    assert.equal(connection.unsent_s, 0.2);
    sockets[0].ready();
    assert.deepEqual(sockets[0].texts, [
      { type: "start", encoding: "pcm_s16le", sample_rate: 16000, channels: 2, multichannel: true, language: "ru" },
    ]);
    assert.deepEqual(sockets[0].audio, [...frames(0, 3200)]);
  });

  it("is resumed from the smaller position, with the words and the position of each channel", () => {
    const transcript = new Transcript();
    const { connection, sockets, clock } = open({
      start: { channels: 2, multichannel: true },
      onEvent: (event) => transcript.apply(event),
      committedAfter: (position, channel) => transcript.wordsAfter(position, channel),
    });
    sockets[0].ready();
    connection.push(frames(0, 32000));
    sockets[0].serve({ ...committed(" да", 1, 1.5, 8000), channel: 1 });
    sockets[0].serve({ ...committed(" алло", 0, 0.5, 20000), channel: 0 });
    assert.equal(connection.backlog.start, 8000);
    sockets[0].end(1006);
    clock.advance(1000);
    sockets[1].ready(8000);
    assert.deepEqual(sockets[1].texts[0].resume, {
      session: "first",
      position: 8000,
      channels: [
        { position: 20000, words: [] },
        { position: 8000, words: [{ text: " да", start: 1, end: 1.5, probability: 0.9 }] },
      ],
    });
    assert.deepEqual(sockets[1].audio, [...frames(8000, 24000)]);
  });

  it("has a gap of each channel for audio that the backlog had to drop", () => {
    const { connection, sockets, clock, events } = open({
      start: { channels: 2, multichannel: true },
      committedAfter: () => [],
      backlog: new Backlog(16000, 2),
    });
    sockets[0].ready();
    sockets[0].serve({ type: "progress", received_s: 1, settled_s: 1, lag_s: 0, kept_from: 16000, channel: 1 });
    sockets[0].end(1006);
    connection.push(frames(0, 24000));
    clock.advance(1000);
    sockets[1].ready(8000);
    const gaps = events.filter(({ type }) => type === "gap").map(({ start, end, channel }) => [start, end, channel]);
    assert.deepEqual(gaps, [[0, 0.5, 0]]);
    assert.deepEqual(sockets[1].texts[0].resume.channels.map(({ position }) => position), [8000, 16000]);
  });
});

describe("a draining server", () => {
  it("gets no more audio; its last words are taken, and the next server continues soon", () => {
    const { connection, sockets, clock, last } = open();
    sockets[0].ready();
    feed(connection, 1);
    sockets[0].serve({ type: "draining" });
    feed(connection, 1);
    assert.equal(sockets[0].audio.length, 16000);
    sockets[0].serve(committed(" раз", 0, 0.9, 15000));
    sockets[0].end(1012);
    assert.deepEqual([last().state, last().cause], ["waiting", "shutting_down"]);
    clock.advance(500);
    sockets[1].ready(15000);
    assert.deepEqual(sockets[1].audio, [...ramp(15000, 16000)], "all whole frames of it");
  });

  it("is left if it does not close the socket", () => {
    const { sockets, clock } = open();
    sockets[0].ready();
    sockets[0].serve({ type: "draining" });
    clock.advance(6000);
    assert.ok(sockets[0].closed);
    assert.equal(sockets.length, 2);
  });
});

describe("audio that the backlog had to drop", () => {
  it("is reported as a gap, once, and the stream continues after it", () => {
    const { connection, sockets, clock, events } = open({ backlog: new Backlog(16000) });
    sockets[0].ready();
    feed(connection, 0.5);
    sockets[0].serve(committed(" раз", 0.1, 0.4, 4000));
    sockets[0].end(1006);
    feed(connection, 2);
    clock.advance(500);
    sockets[1].onopen();
    sockets[1].end(1006);
    clock.advance(1000);
    sockets[2].ready(24000);
    assert.deepEqual(events.filter((event) => event.type === "gap"), [
      { type: "gap", seq: -1, start: 0.4, end: 1.5, reason: "resume_lost", kept_from: 24000 },
    ]);
    assert.deepEqual([sockets[2].texts[0].resume.position, sockets[2].texts[0].resume.words], [24000, []]);
    assert.deepEqual(sockets[2].audio, [...ramp(24000, 16000)]);
  });

  it("is reported even if no server was ever reached, and resume then names no session", () => {
    const { connection, sockets, clock, events } = open({ backlog: new Backlog(16000) });
    sockets[0].end(1006);
    feed(connection, 3);
    clock.advance(500);
    sockets[1].ready(32000);
    assert.deepEqual(events[0], { type: "gap", seq: -1, start: 0, end: 2, reason: "resume_lost", kept_from: 32000 });
    assert.equal(sockets[1].texts[0].resume.position, 32000);
    assert.deepEqual(Object.keys(sockets[1].texts[0].resume).sort(), ["position", "words"]);
  });
});

describe("a server with another protocol", () => {
  for (const [what, data] of [
    ["binary messages", new ArrayBuffer(4)],
    ["text that is not JSON", "hello"],
    ["another protocol", '{"type":"ready","seq":0,"session":"s","protocol":2,"model":"m","language":"ru","position":0,"max_message_bytes":9}'],
  ]) {
    it(`is left for good: ${what}`, () => {
      const { sockets, last } = open();
      sockets[0].onopen();
      sockets[0].onmessage({ data });
      assert.deepEqual([last().state, last().cause], ["ended", "bad_server"]);
      assert.ok(sockets[0].closed);
    });
  }
});

describe("Backlog", () => {
  it("returns any span of the audio that it keeps", () => {
    const backlog = new Backlog(1000);
    for (const length of [1, 0, 7, 100, 3]) backlog.push(ramp(backlog.end, length));
    for (const [from, to] of [[0, 111], [0, 1], [1, 8], [5, 109], [108, 111], [50, 50]]) {
      assert.deepEqual(backlog.slice(from, to), ramp(from, to - from));
    }
  });

  it("drops audio on request and above its bound", () => {
    const backlog = new Backlog(100);
    backlog.push(ramp(0, 60));
    backlog.push(ramp(60, 60));
    assert.deepEqual([backlog.start, backlog.end], [20, 120]);
    backlog.dropBefore(70);
    assert.deepEqual(backlog.slice(70, 120), ramp(70, 50));
    backlog.dropBefore(5000);
    assert.deepEqual([backlog.start, backlog.end], [120, 120]);
    backlog.push(ramp(120, 10));
    assert.deepEqual(backlog.slice(120, 130), ramp(120, 10));
  });
});

describe("diagnose", () => {
  const addresses = { ready: "http://host/ready", stream: "http://host/ws" };
  const answer = (status, body) => new Response(body === undefined ? "<html>" : JSON.stringify(body), { status });
  const server = (ready, stream) => async (url) => (url === addresses.ready ? ready : stream);
  for (const [what, fetch, cause] of [
    ["nobody there", async () => { throw new TypeError("failed to fetch"); }, "no_server"],
    ["loading", server(answer(503, { status: "loading" })), "model_loading"],
    ["a model that does not load", server(answer(503, { status: "failed" })), "model_unavailable"],
    ["full", server(answer(503, { status: "full" })), "server_full"],
    ["draining", server(answer(503, { status: "draining" })), "shutting_down"],
    ["a proxy without a server", server(answer(502)), "no_server"],
    ["no key", server(answer(200, {}), answer(401, { code: "unauthorized" })), "unauthorized"],
    ["another host name", server(answer(421, { code: "unknown_host" }), answer(421, { code: "unknown_host" })), "unknown_host"],
    ["no more streams from this address", server(answer(200, {}), answer(503, { code: "server_full" })), "server_full"],
    ["no reason", server(answer(200, {}), answer(404, { code: "not_found" })), "not_admitted"],
    ["an answer that is not JSON", server(answer(200), answer(404)), "not_admitted"],
  ]) {
    it(`recognises: ${what}`, async () => {
      assert.deepEqual(await diagnose(addresses, fetch), { cause, wait_s: 0 });
    });
  }

  for (const [header, status, wait_s] of [["5", "full", 5], ["9999", "full", 60], ["soon", "full", 0], ["5", "loading", 0]]) {
    it(`takes Retry-After: ${header} of a server that is ${status} for ${wait_s} s`, async () => {
      const response = new Response(JSON.stringify({ status }), { status: 503, headers: { "Retry-After": header } });
      assert.equal((await diagnose(addresses, async () => response)).wait_s, wait_s);
    });
  }

  it("asks with the key of the stream, and says that it was refused", async () => {
    const asked = [];
    const fetch = async (url, { headers }) => {
      asked.push([url, headers?.Authorization]);
      return url === addresses.ready ? answer(200, {}) : answer(401, { code: "unauthorized" });
    };
    assert.equal((await diagnose({ ...addresses, key: "0123456789abcdef" }, fetch)).cause, "wrong_key");
    assert.equal((await diagnose(addresses, fetch)).cause, "unauthorized");
    assert.deepEqual(asked, [
      [addresses.ready, undefined],
      [addresses.stream, "Bearer 0123456789abcdef"],
      [addresses.ready, undefined],
      [addresses.stream, undefined],
    ]);
  });
});

describe("endpoints", () => {
  it("are beside the page, also under a path of a proxy", () => {
    assert.deepEqual(endpoints("http://host:8000/"), { socket: "ws://host:8000/ws", stream: "http://host:8000/ws", ready: "http://host:8000/ready" });
    assert.equal(endpoints("https://host/speech/index.html#key=k").socket, "wss://host/speech/ws");
  });
});
