/**
 * One stream of audio over as many WebSockets as it takes (docs/protocol.md).
 *
 * The server keeps nothing when a connection is lost, so this side does: audio from the last `kept_from` on, ten minutes at
 * most. A new socket then says `resume` and sends that audio again; the transcript goes on as if nothing had happened.
 *
 *   connecting  the socket opens, `start` is sent         -> live at `ready`; waiting when it fails
 *   live        audio goes out as it comes                -> waiting when the socket closes; ended at `done`
 *   waiting     for the next attempt, audio is kept       -> connecting
 *   ended       `done`, a final error, or abandoned       for good
 *
 * Stopping is no state of its own: it can meet any of these, and a connection that is lost then is resumed as well. The audio
 * kept (`Backlog`) and the attempts (`Connection`) are one thing, because what may be dropped is what no attempt needs again.
 *
 * @typedef {import("./protocol.js").ServerEvent} ServerEvent
 * @typedef {import("./protocol.js").StartOptions} StartOptions
 * @typedef {import("./protocol.js").Word} Word
 *
 * @typedef {object} Status
 * @property {"connecting" | "live" | "waiting" | "ended"} state
 * @property {boolean} stopping no more audio will come
 * @property {string | null} cause why it waits or ended: an error code of the protocol, or one of this file
 * @property {number | null} retryAt when the next attempt is due, on the clock's scale
 * @property {string | null} session what to quote in a report
 *
 * @typedef {object} Reason why a socket did not open
 * @property {string} cause
 * @property {number} wait_s how long the server asks to wait at least
 *
 * @typedef {object} Clock
 * @property {() => number} now milliseconds
 * @property {(run: () => void, delay_ms: number) => any} set
 * @property {(timer: any) => void} clear
 */

import { SAMPLE_RATE } from "./pcm.js";
import { ProtocolError, VERSION, parseEvent, startMessage, stopMessage } from "./protocol.js";

/** Audio that is kept for a connection that may come back: 19 MB. */
export const BACKLOG_S = 600;

/** Audio in one frame of a live stream: 50 ms of delay on average for a fifth of the messages of 20 ms frames. */
const FRAME = SAMPLE_RATE / 10;

/** Audio in one frame while catching up. */
const CATCH_UP_FRAME = SAMPLE_RATE;

/** Bytes that may wait in the socket; more wait here, where they can go to another server. */
const SOCKET_BYTES = 256 * 1024;

const PUMP_MS = 50;
const READY_MS = 20_000;
const SILENCE_MS = 30_000;
const DRAIN_MS = 5_000;
const SETTLED_MS = 10_000;

/** Of a server that asks to wait for longer. */
const LONGEST_WAIT_S = 60;

/** Attempts after errors of the server itself, if none of them brought the stream any further. */
const FAULT_ATTEMPTS = 5;

/** Trying again would end the same way. */
const FINAL_ERRORS = new Set([
  "bad_message", "bad_audio", "unsupported_format", "message_too_big", "unauthorized", "forbidden_origin", "timed_out", "bad_request",
]);
const FINAL_CLOSES = new Map([[1003, "unsupported_format"], [1007, "bad_message"], [1008, "forbidden"], [1009, "message_too_big"]]);
const RETRIED_CLOSES = new Map([[1011, "internal_error"], [1012, "shutting_down"], [1013, "server_full"]]);

/** The audio of a stream by position: appended at the end, dropped from the front, bounded. */
export class Backlog {
  /** @param {number} limit samples */
  constructor(limit = BACKLOG_S * SAMPLE_RATE) {
    /** @private */
    this.limit = limit;
    /** @private @type {{start: number, samples: Int16Array}[]} */
    this.chunks = [];
    /** First sample that is still here. */
    this.start = 0;
    /** The sample after the last one. */
    this.end = 0;
  }

  /** @param {Int16Array} samples kept as they are, not copied */
  push(samples) {
    if (samples.length === 0) return;
    this.chunks.push({ start: this.end, samples });
    this.end += samples.length;
    this.dropBefore(this.end - this.limit);
  }

  /** @param {number} position */
  dropBefore(position) {
    if (position <= this.start) return;
    this.start = Math.min(position, this.end);
    let gone = 0;
    while (gone < this.chunks.length && this.chunks[gone].start + this.chunks[gone].samples.length <= this.start) gone += 1;
    this.chunks.splice(0, gone);
  }

  /**
   * @param {number} from at or after `start`
   * @param {number} to at or before `end`
   * @returns {Int16Array}
   */
  slice(from, to) {
    const output = new Int16Array(Math.max(0, to - from));
    for (let index = this.find(from); index < this.chunks.length; index += 1) {
      const { start, samples } = this.chunks[index];
      if (start >= to) break;
      output.set(samples.subarray(Math.max(0, from - start), Math.min(samples.length, to - start)), Math.max(0, start - from));
    }
    return output;
  }

  /**
   * @private
   * @param {number} position
   * @returns {number} index of the chunk that holds it
   */
  find(position) {
    let low = 0;
    let high = this.chunks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.chunks[middle].start + this.chunks[middle].samples.length <= position) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

export class Connection {
  /**
   * @param {object} options
   * @param {string} options.url
   * @param {string[]} [options.protocols] subprotocols to offer
   * @param {StartOptions} [options.start]
   * @param {(event: ServerEvent) => void} options.onEvent also a `gap` of our own, where audio did not outlive an outage
   * @param {(status: Status) => void} options.onStatus
   * @param {(position: number) => {words: Word[], context: string}} options.committedAfter what a resuming server is told
   * @param {() => Promise<Reason | null>} [options.probe] asks why a socket did not open; null: no reason known
   * @param {new (url: string, protocols: string[]) => WebSocket} [options.WebSocket]
   * @param {Clock} [options.clock]
   * @param {() => number} [options.random] 0 to 1
   * @param {Backlog} [options.backlog]
   */
  constructor({ url, protocols = [], start = {}, onEvent, onStatus, committedAfter, probe, WebSocket, clock, random, backlog }) {
    /** @private */
    this.url = url;
    /** @private */
    this.protocols = protocols;
    /** @private */
    this.options = start;
    /** @private */
    this.onEvent = onEvent;
    /** @private */
    this.onStatus = onStatus;
    /** @private */
    this.committedAfter = committedAfter;
    /** @private */
    this.probe = probe ?? (async () => null);
    /** @private */
    this.WebSocket = WebSocket ?? globalThis.WebSocket;
    /** @private @type {Clock} */
    this.clock = clock ?? {
      now: () => Date.now(),
      set: (run, delay_ms) => setTimeout(run, delay_ms),
      clear: (timer) => clearTimeout(timer),
    };
    /** @private */
    this.random = random ?? Math.random;
    this.backlog = backlog ?? new Backlog();
    /** @private @type {Status} */
    this.status = { state: "connecting", stopping: false, cause: null, retryAt: null, session: null };
    /** @private @type {WebSocket | null} */
    this.socket = null;
    /** @private Audio before it will never be asked for again. */
    this.keptFrom = 0;
    /** @private Next sample to send on this socket. */
    this.sent = 0;
    /** @private */
    this.stopSent = false;
    /** @private */
    this.draining = false;
    /** @private The `error` event of this socket. @type {{code: string} | null} */
    this.failure = null;
    /** @private Attempts since the stream last got further. */
    this.attempts = 0;
    /** @private */
    this.faults = 0;
    /** @private When something was sent that the server has not reacted to yet. @type {number | null} */
    this.unanswered = null;
    /** @private The longest frame the server takes. */
    this.frameLimit = CATCH_UP_FRAME;
    /** @private @type {Map<string, any>} */
    this.timers = new Map();
    this.connect();
  }

  /** @returns {"connecting" | "live" | "waiting" | "ended"} */
  get state() {
    return this.status.state;
  }

  /** Seconds of audio that the server has not been sent on this connection. */
  get unsent_s() {
    return (this.backlog.end - (this.state === "live" ? this.sent : Math.max(this.keptFrom, this.backlog.start))) / SAMPLE_RATE;
  }

  /** @param {Int16Array} samples the next of the stream, mono 16 kHz */
  push(samples) {
    if (this.status.stopping || this.state === "ended") return;
    this.backlog.push(samples);
    this.pump();
  }

  /** No more audio: the last words are still fetched, over a new connection if need be. */
  stop() {
    if (this.status.stopping || this.state === "ended") return;
    if (this.backlog.end === 0) {
      this.end(null);
      return;
    }
    this.report({ stopping: true });
    if (this.state === "waiting") this.retryNow();
    else this.pump();
  }

  /** Gives up: what the server has not said by now is lost. */
  abandon() {
    if (this.state !== "ended") this.end(null);
  }

  /** Ends a wait, for instance because the network is back. */
  retryNow() {
    if (this.state === "waiting") this.connect();
  }

  /** @private */
  connect() {
    this.clearTimers();
    this.stopSent = false;
    this.draining = false;
    this.failure = null;
    this.unanswered = null;
    this.report({ state: "connecting", retryAt: null });
    const socket = new this.WebSocket(this.url, this.protocols);
    this.socket = socket;
    let opened = false;
    socket.onopen = () => {
      opened = true;
      socket.send(startMessage({ ...this.options, resume: this.resume() }));
    };
    socket.onmessage = ({ data }) => this.receive(data);
    socket.onclose = ({ code }) => this.closed(code, opened);
    this.after("ready", READY_MS, () => this.lose("no_answer"));
  }

  /** @private */
  resume() {
    if (this.backlog.start > this.keptFrom) {
      const { words } = this.committedAfter(this.keptFrom);
      const start = words.length === 0 ? this.keptFrom / SAMPLE_RATE : words[words.length - 1].end;
      const end = this.backlog.start / SAMPLE_RATE;
      this.keptFrom = this.backlog.start;
      if (start < end) this.onEvent({ type: "gap", seq: -1, start, end, reason: "resume_lost", kept_from: this.keptFrom });
    }
    const { session } = this.status;
    // A stream that never met a server has nothing to resume, unless its beginning is already lost.
    if (session === null && this.keptFrom === 0) return undefined;
    return { session: session ?? "unknown", position: this.keptFrom, ...this.committedAfter(this.keptFrom) };
  }

  /**
   * @private
   * @param {unknown} data
   */
  receive(data) {
    let event;
    try {
      event = parseEvent(data);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.end("bad_server");
      return;
    }
    this.unanswered = null;
    if (event === null) return;
    switch (event.type) {
      case "ready":
        if ((event.protocol ?? VERSION) !== VERSION) {
          this.end("bad_server");
          return;
        }
        this.sent = Math.max(event.position, this.backlog.start);
        this.frameLimit = Math.max(FRAME, Math.min(CATCH_UP_FRAME, Math.floor(event.max_message_bytes / 2)));
        this.clear("ready");
        this.after("settled", SETTLED_MS, () => {
          this.attempts = 0;
          this.faults = 0;
        });
        this.after("watch", SILENCE_MS / 6, () => this.watch());
        this.report({ state: "live", cause: null, session: this.status.session ?? event.session });
        break;
      case "draining":
        // What is sent from here on would only be sent again. The server commits what it has, then closes.
        this.draining = true;
        this.after("drain", DRAIN_MS, () => this.lose("shutting_down"));
        break;
      case "error":
        this.failure = event;
        break;
      default:
        break;
    }
    if ("kept_from" in event && event.kept_from > this.keptFrom) {
      this.keptFrom = event.kept_from;
      this.backlog.dropBefore(this.keptFrom);
      this.attempts = 0;
      this.faults = 0;
    }
    this.onEvent(event);
    if (event.type === "done") this.end(null);
    else this.pump();
  }

  /** @private Sends what the socket takes. */
  pump() {
    if (this.state !== "live" || this.draining || this.stopSent || this.socket === null) return;
    if (this.sent < this.backlog.start) {
      this.lose("no_answer");
      return;
    }
    const { backlog } = this;
    while (backlog.end - this.sent >= FRAME || (this.status.stopping && backlog.end > this.sent)) {
      if (this.socket.bufferedAmount > SOCKET_BYTES) {
        // Live audio pumps by itself; without it nothing would look again.
        this.after("pump", PUMP_MS, () => this.pump());
        return;
      }
      const waiting = backlog.end - this.sent;
      const length = this.status.stopping || waiting >= 2 * FRAME ? Math.min(waiting, this.frameLimit) : FRAME;
      this.socket.send(backlog.slice(this.sent, this.sent + length).buffer);
      this.sent += length;
      this.unanswered ??= this.clock.now();
    }
    if (this.status.stopping) {
      this.socket.send(stopMessage());
      this.stopSent = true;
      this.unanswered ??= this.clock.now();
    }
  }

  /** @private A server that takes audio says `progress`; one that says nothing is gone, whatever TCP believes. */
  watch() {
    if (this.unanswered !== null && this.clock.now() - this.unanswered > SILENCE_MS) this.lose("no_answer");
    else this.after("watch", SILENCE_MS / 6, () => this.watch());
  }

  /**
   * @private
   * @param {number} code
   * @param {boolean} opened
   */
  closed(code, opened) {
    const cause = this.failure?.code ?? FINAL_CLOSES.get(code) ?? RETRIED_CLOSES.get(code);
    if (this.failure !== null ? FINAL_ERRORS.has(this.failure.code) : FINAL_CLOSES.has(code)) {
      this.end(cause ?? null);
      return;
    }
    this.lose(cause ?? (this.draining ? "shutting_down" : opened ? "connection_lost" : "no_server"), opened);
  }

  /**
   * Drops the socket and waits for the next attempt.
   *
   * @private
   * @param {string} cause
   * @param {boolean} [opened]
   */
  lose(cause, opened = true) {
    this.drop();
    if (cause === "internal_error" || cause === "model_unavailable" || cause === "decode_failed") {
      this.faults += 1;
      if (this.faults >= FAULT_ATTEMPTS) {
        this.end(cause);
        return;
      }
    }
    const delay = this.delay(cause);
    this.attempts += 1;
    this.report({ state: "waiting", cause, retryAt: this.clock.now() + delay });
    this.after("retry", delay, () => this.connect());
    if (opened) return;
    // A browser does not tell why a socket could not be opened.
    const { attempts } = this;
    this.probe().then((reason) => {
      if (reason === null || this.state !== "waiting" || this.attempts !== attempts) return;
      if (FINAL_ERRORS.has(reason.cause)) {
        this.end(reason.cause);
        return;
      }
      const retryAt = Math.max(this.status.retryAt ?? 0, this.clock.now() + reason.wait_s * 1000 * (1 + this.random() / 2));
      this.report({ cause: reason.cause, retryAt });
      this.after("retry", retryAt - this.clock.now(), () => this.connect());
    });
  }

  /**
   * Milliseconds to the next attempt. They grow, and they are spread, so that the clients of a server that comes back do not
   * come back all at once.
   *
   * @private
   * @param {string} cause
   * @returns {number}
   */
  delay(cause) {
    if (cause === "shutting_down" && this.attempts === 0) return this.random() * 500;
    const [first, most] = cause === "server_full" ? [3_000, 20_000] : [500, 10_000];
    return Math.min(most, first * 2 ** Math.min(this.attempts, 10)) * (0.5 + this.random() / 2);
  }

  /**
   * @private
   * @param {string | null} cause
   */
  end(cause) {
    this.drop();
    this.report({ state: "ended", cause, retryAt: null });
  }

  /** @private */
  drop() {
    this.clearTimers();
    const { socket } = this;
    this.socket = null;
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  /**
   * @private
   * @param {Partial<Status>} change
   */
  report(change) {
    this.status = { ...this.status, ...change };
    this.onStatus(this.status);
  }

  /**
   * @private
   * @param {string} name one timer of a name at a time
   * @param {number} delay_ms
   * @param {() => void} run
   */
  after(name, delay_ms, run) {
    this.clear(name);
    this.timers.set(
      name,
      this.clock.set(() => {
        this.timers.delete(name);
        run();
      }, delay_ms),
    );
  }

  /**
   * @private
   * @param {string} name
   */
  clear(name) {
    if (this.timers.has(name)) this.clock.clear(this.timers.get(name));
    this.timers.delete(name);
  }

  /** @private */
  clearTimers() {
    for (const name of [...this.timers.keys()]) this.clear(name);
  }
}

/** What `/ready` says where no stream would be taken. */
const UNREADY = new Map([
  ["loading", "model_loading"], ["failed", "model_unavailable"], ["draining", "shutting_down"], ["full", "server_full"],
]);

/**
 * Asks a server why it did not open a WebSocket, which a browser does not tell.
 *
 * @param {object} addresses
 * @param {string} addresses.ready where it says whether it takes streams
 * @param {string} addresses.stream where the WebSocket is; a server that would refuse it says why to a plain GET, too
 * @param {string | null} [addresses.key] of the API, as the WebSocket was asked for with it
 * @param {typeof fetch} [fetch]
 * @returns {Promise<Reason>}
 */
export async function askWhy({ ready, stream, key = null }, fetch = globalThis.fetch) {
  try {
    const response = await fetch(ready, { cache: "no-store" });
    if (response.status === 503) return reason(UNREADY.get((await json(response))?.status) ?? "model_loading", response);
    if (!response.ok) return { cause: "no_server", wait_s: 0 };
    // What a header cannot carry is in the address already.
    const headers = key === null || !/^[\x21-\x7e]+$/.test(key) ? {} : { Authorization: `Bearer ${key}` };
    const answer = await fetch(stream, { cache: "no-store", headers });
    const refusal = await json(answer);
    const known = typeof refusal?.code === "string" && /^\w+$/.test(refusal.code) && refusal.code !== "not_found";
    return reason(known ? refusal.code : "not_admitted", answer);
  } catch {
    return { cause: "no_server", wait_s: 0 };
  }
}

/**
 * A full server says how long to stay away. One that loads or goes does so too, but only for the worker that answered:
 * the next attempt may meet another one.
 *
 * @param {string} cause
 * @param {Response} response
 * @returns {Reason}
 */
function reason(cause, response) {
  const asked = Number(response.headers.get("retry-after"));
  return { cause, wait_s: cause === "server_full" && asked > 0 ? Math.min(asked, LONGEST_WAIT_S) : 0 };
}

/**
 * @param {Response} response
 * @returns {Promise<any>} null where it is not JSON
 */
function json(response) {
  return response.json().catch(() => null);
}
