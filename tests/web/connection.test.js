import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Backlog, Connection, askWhy } from "../../whisperlivekit/web/connection.js";
import { Transcript } from "../../whisperlivekit/web/transcript.js";

/** Time that moves only when told. */
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

/** A stream with the sockets it opened, its events and states. */
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
    say(event) {
      this.onmessage?.({ data: JSON.stringify({ seq: 0, ...event }) });
    }

    ready(position = 0, session = "first") {
      this.onopen();
      this.say({ type: "ready", session, protocol: 1, model: "base", language: "ru", position, max_message_bytes: 1048576 });
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
    committedAfter: (position) => transcript.after(position),
    WebSocket: FakeSocket,
    clock,
    random: () => 1,
    ...options,
  });
  return { connection, sockets, clock, events, statuses, last: () => statuses.at(-1) };
}

/** Samples that tell their position. */
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
  it("says start first, sends sound only once the server is ready, and loses none of it", () => {
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

  it("sends the rest, then stop, and ends at done", () => {
    const { connection, sockets, events, last } = open();
    sockets[0].ready();
    connection.push(ramp(0, 1700));
    assert.equal(sockets[0].audio.length, 1600);
    connection.stop();
    assert.equal(sockets[0].audio.length, 1700);
    assert.deepEqual(sockets[0].texts.at(-1), { type: "stop" });
    sockets[0].say(committed(" да", 0, 0.1, 1700));
    assert.equal(last().state, "live");
    sockets[0].say(DONE);
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

  it("takes no sound after stop", () => {
    const { connection, sockets } = open();
    sockets[0].ready();
    connection.push(ramp(0, 100));
    connection.stop();
    connection.push(ramp(100, 3200));
    assert.equal(sockets[0].audio.length, 100);
  });

  it("needs no server where there was no sound", () => {
    const { connection, sockets, last } = open();
    connection.stop();
    assert.deepEqual([last().state, last().cause], ["ended", null]);
    assert.ok(sockets[0].closed);
  });

  it("keeps the sound here while the socket is full", () => {
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
    sockets[0].say({ type: "ready", session: "s", protocol: 1, model: "m", language: "ru", position: 0, max_message_bytes: 8000 });
    const sizes = sockets[0].sent.filter((message) => typeof message !== "string").map((buffer) => buffer.byteLength);
    assert.ok(Math.max(...sizes) <= 8000);
    assert.deepEqual(sockets[0].audio, [...ramp(0, 48000)]);
  });

  it("keeps nothing that will not be asked for again", () => {
    const { connection, sockets } = open();
    sockets[0].ready();
    feed(connection, 2);
    sockets[0].say({ type: "progress", received_s: 2, settled_s: 1, lag_s: 1, kept_from: 16000 });
    assert.equal(connection.backlog.start, 16000);
  });
});

describe("a lost connection", () => {
  it("is resumed: the sound from kept_from on, the words after it, the context before it", () => {
    const { connection, sockets, clock, last } = open();
    sockets[0].ready();
    feed(connection, 3);
    sockets[0].say(committed(" раз", 0.2, 0.6, 9600));
    sockets[0].say(committed(" два", 0.8, 1.2, 16000));
    sockets[0].end(1006);
    assert.deepEqual([last().state, last().cause], ["waiting", "connection_lost"]);
    feed(connection, 1);
    clock.advance(500);
    assert.equal(sockets.length, 2);
    sockets[1].ready(16000, "second");
    assert.deepEqual(sockets[1].texts[0].resume, {
      session: "first",
      position: 16000,
      words: [{ text: " два", start: 0.8, end: 1.2, probability: 0.9 }],
      context: " раз",
    });
    assert.deepEqual(sockets[1].audio, [...ramp(16000, 48000)]);
    assert.deepEqual([last().state, last().cause, last().session], ["live", null, "first"]);
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

  it("is told by the server's own error rather than by the close code", () => {
    const { sockets, last } = open();
    sockets[0].ready();
    sockets[0].say({ type: "error", code: "timed_out", message: "no audio for 300 s", session: "first" });
    sockets[0].end(1008);
    assert.deepEqual([last().state, last().cause, last().session], ["ended", "timed_out", "first"]);
  });

  it("is final by the error where a proxy has swallowed the close code, too", () => {
    const { sockets, last } = open();
    sockets[0].onopen();
    sockets[0].say({ type: "error", code: "unauthorized", message: "no key", session: "" });
    sockets[0].end(1006);
    assert.deepEqual([last().state, last().cause], ["ended", "unauthorized"]);
  });

  it("waits longer each time, up to a bound, and less again once the stream has got further", () => {
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
    sockets.at(-1).say({ type: "progress", received_s: 2, settled_s: 1, lag_s: 1, kept_from: 16000 });
    sockets.at(-1).end(1006);
    assert.equal(last().retryAt - clock.now(), 500);
  });

  it("is not forgiven for being ready alone: a server that falls at once is not hammered", () => {
    const { sockets, clock, last } = open();
    for (let turn = 0; turn < 4; turn += 1) {
      sockets.at(-1).ready();
      sockets.at(-1).end(1006);
      clock.advance(last().retryAt - clock.now());
    }
    sockets.at(-1).end(1006);
    assert.equal(last().retryAt - clock.now(), 8000);
  });

  it("spreads the attempts of many clients", () => {
    const delays = [0, 1].map((random) => {
      const { sockets, clock, last } = open({ random: () => random });
      sockets[0].end(1006);
      return last().retryAt - clock.now();
    });
    assert.deepEqual(delays, [250, 500]);
  });

  it("is given up when the server's own fault repeats without any progress", () => {
    const { sockets, clock, last } = open();
    for (let turn = 0; turn < 5; turn += 1) {
      assert.notEqual(last().state, "ended");
      sockets.at(-1).ready();
      sockets.at(-1).say({ type: "error", code: "internal_error", message: "oh", session: "first" });
      sockets.at(-1).end(1011);
      clock.advance(10_000);
    }
    assert.deepEqual([last().state, last().cause], ["ended", "internal_error"]);
  });

  it("while stopping is resumed as well, and stop is said again", () => {
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
    sockets[1].say(DONE);
    assert.equal(last().state, "ended");
  });

  it("is tried at once when the user stops, or the network is back", () => {
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

  it("can be abandoned", () => {
    const { connection, sockets, clock, last } = open();
    feed(connection, 1);
    sockets[0].end(1006);
    connection.abandon();
    clock.advance(60_000);
    assert.deepEqual([last().state, sockets.length], ["ended", 1]);
  });

  it("that never opened is explained by asking the server", async () => {
    const { sockets, last } = open({ probe: async () => ({ cause: "model_loading", wait_s: 0 }) });
    sockets[0].end(1006);
    assert.equal(last().cause, "no_server");
    await Promise.resolve();
    assert.deepEqual([last().state, last().cause], ["waiting", "model_loading"]);
  });

  it("to a full server waits as long as that asks", async () => {
    const { sockets, clock, last } = open({ probe: async () => ({ cause: "server_full", wait_s: 5 }), random: () => 0 });
    sockets[0].end(1006);
    await Promise.resolve();
    assert.equal(last().cause, "server_full");
    clock.advance(4_900);
    assert.equal(sockets.length, 1);
    clock.advance(200);
    assert.equal(sockets.length, 2);
  });

  it("that was refused for good is not tried again", async () => {
    const { sockets, clock, last } = open({ probe: async () => ({ cause: "unauthorized", wait_s: 0 }) });
    sockets[0].end(1006);
    await Promise.resolve();
    assert.deepEqual([last().state, last().cause], ["ended", "unauthorized"]);
    clock.advance(60_000);
    assert.equal(sockets.length, 1);
  });

  it("is noticed when the server just falls silent", () => {
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

  it("is not mourned twice: a socket that was given up has no say any more", () => {
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

describe("a draining server", () => {
  it("gets no more sound; its last words are heard and the next server goes on soon", () => {
    const { connection, sockets, clock, last } = open();
    sockets[0].ready();
    feed(connection, 1);
    sockets[0].say({ type: "draining" });
    feed(connection, 1);
    assert.equal(sockets[0].audio.length, 16000);
    sockets[0].say(committed(" раз", 0, 0.9, 15000));
    sockets[0].end(1012);
    assert.deepEqual([last().state, last().cause], ["waiting", "shutting_down"]);
    clock.advance(500);
    sockets[1].ready(15000);
    assert.deepEqual(sockets[1].audio, [...ramp(15000, 16000)], "all whole frames of it");
  });

  it("that does not close is left", () => {
    const { sockets, clock } = open();
    sockets[0].ready();
    sockets[0].say({ type: "draining" });
    clock.advance(6000);
    assert.ok(sockets[0].closed);
    assert.equal(sockets.length, 2);
  });
});

describe("sound that outlives the backlog", () => {
  it("is told as a gap, once, and the stream goes on behind it", () => {
    const { connection, sockets, clock, events } = open({ backlog: new Backlog(16000) });
    sockets[0].ready();
    feed(connection, 0.5);
    sockets[0].say(committed(" раз", 0.1, 0.4, 4000));
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

  it("is told where no server was ever met, too", () => {
    const { connection, sockets, clock, events } = open({ backlog: new Backlog(16000) });
    sockets[0].end(1006);
    feed(connection, 3);
    clock.advance(500);
    sockets[1].ready(32000);
    assert.deepEqual(events[0], { type: "gap", seq: -1, start: 0, end: 2, reason: "resume_lost", kept_from: 32000 });
    assert.equal(sockets[1].texts[0].resume.position, 32000);
    assert.ok(sockets[1].texts[0].resume.session.length > 0);
  });
});

describe("a server that is not ours", () => {
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
  it("gives any span of what it keeps", () => {
    const backlog = new Backlog(1000);
    for (const length of [1, 0, 7, 100, 3]) backlog.push(ramp(backlog.end, length));
    for (const [from, to] of [[0, 111], [0, 1], [1, 8], [5, 109], [108, 111], [50, 50]]) {
      assert.deepEqual(backlog.slice(from, to), ramp(from, to - from));
    }
  });

  it("forgets what is dropped and what goes over its bound", () => {
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

describe("askWhy", () => {
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
    ["no more streams from here", server(answer(200, {}), answer(503, { code: "server_full" })), "server_full"],
    ["no reason", server(answer(200, {}), answer(404, { code: "not_found" })), "not_admitted"],
    ["an answer that is not JSON", server(answer(200), answer(404)), "not_admitted"],
  ]) {
    it(`tells ${what}`, async () => {
      assert.deepEqual(await askWhy(addresses, fetch), { cause, wait_s: 0 });
    });
  }

  for (const [header, status, wait_s] of [["5", "full", 5], ["9999", "full", 60], ["soon", "full", 0], ["5", "loading", 0]]) {
    it(`knows from Retry-After: ${header} of a server that is ${status} to wait ${wait_s} s`, async () => {
      const response = new Response(JSON.stringify({ status }), { status: 503, headers: { "Retry-After": header } });
      assert.equal((await askWhy(addresses, async () => response)).wait_s, wait_s);
    });
  }

  it("asks with the key that the stream was asked for with", async () => {
    const asked = [];
    const fetch = async (url, { headers }) => {
      asked.push([url, headers?.Authorization]);
      return answer(url === addresses.ready ? 200 : 503, { code: "server_full" });
    };
    for (const key of ["0123456789abcdef", null, "ключ"]) await askWhy({ ...addresses, key }, fetch);
    assert.deepEqual(
      asked.filter(([url]) => url === addresses.stream).map(([, header]) => header),
      ["Bearer 0123456789abcdef", undefined, undefined],
    );
    assert.ok(asked.every(([url, header]) => url === addresses.stream || header === undefined));
  });
});
