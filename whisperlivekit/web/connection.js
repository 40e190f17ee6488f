/**
 * One stream of audio over as many WebSockets as needed (docs/protocol.md).
 *
 * The server keeps nothing of a lost connection. The page does: it keeps the audio from the last `kept_from` on, ten minutes at
 * most. The next socket sends `resume` and that audio again, and the transcript goes on without a break.
 *
 *   connecting  the socket opens, `start` is sent            -> live at `ready`; waiting when it fails
 *   live        audio is sent as it is recorded              -> waiting when the socket closes; ended at `done`
 *   waiting     until the next attempt; audio is kept        -> connecting
 *   ended       `done`, a final error, or given up           final
 *
 * Stopping is not a state: the user can stop in any of these, and a connection that is lost afterwards is resumed too. `Backlog`
 * and `Connection` are in one module because the backlog may drop exactly what no later attempt will send again.
 *
 * @typedef {import("./protocol.js").ServerEvent} ServerEvent
 * @typedef {import("./protocol.js").StartOptions} StartOptions
 * @typedef {import("./protocol.js").Word} Word
 *
 * @typedef {object} Status
 * @property {"connecting" | "live" | "waiting" | "ended"} state
 * @property {boolean} stopping no more audio will come
 * @property {string | null} cause why it waits or ended: an error code of the protocol, or a code of this module
 * @property {number | null} retryAt when the next attempt is due, in milliseconds of the clock
 * @property {string | null} session id of the stream, to be quoted in a report
 *
 * @typedef {object} Diagnosis why a socket did not open
 * @property {string} cause
 * @property {number} wait_s how long the server asks to wait at least; 0: it does not ask
 *
 * @typedef {object} Clock
 * @property {() => number} now milliseconds
 * @property {(run: () => void, delay_ms: number) => any} set
 * @property {(timer: any) => void} clear
 */

import { authorization, missingOrWrong } from "./access.js";
import { SAMPLE_RATE } from "./pcm.js";
import { ProtocolError, VERSION, parseEvent, startMessage, stopMessage } from "./protocol.js";

/** Audio that is kept for the next connection: 19 MB. */
export const BACKLOG_S = 600;

/** Samples in one frame of a live stream. 100 ms adds 50 ms of delay on average and sends a fifth of the frames that 20 ms would. */
const FRAME = SAMPLE_RATE / 10;

/** Samples in one frame while catching up. */
const CATCH_UP_FRAME = SAMPLE_RATE;

/** Bytes that may wait in the socket. The rest waits in the backlog, from where it can be sent to another server. */
const SOCKET_BYTES = 256 * 1024;

/** Pause before looking again whether a full socket has room. */
const PUMP_MS = 50;

/** Time that a server has from the opening of the socket to `ready`. */
const READY_MS = 20_000;

/** Time without any event, although audio was sent, after which the server is taken for gone. */
const SILENCE_MS = 30_000;

/** Time that a draining server has to close the socket. */
const DRAIN_MS = 5_000;

/** A connection that has been live for so long begins to count its attempts anew. */
const SETTLED_MS = 10_000;

/** The next attempt waits for the diagnosis of the last one, but no longer than this. */
const DIAGNOSIS_MS = 5_000;

/** The longest Retry-After that is followed. */
const LONGEST_WAIT_S = 60;

/** Attempts after errors of the server itself, if none of them has brought the stream any further. */
const FAULT_ATTEMPTS = 5;

/** Errors that another attempt would meet again. */
const FINAL_ERRORS = new Set([
  "bad_message", "bad_audio", "unsupported_format", "message_too_big", "unauthorized", "wrong_key", "forbidden_origin", "unknown_host",
  "timed_out", "bad_request",
]);
const FINAL_CLOSES = new Map([[1003, "unsupported_format"], [1007, "bad_message"], [1008, "forbidden"], [1009, "message_too_big"]]);
const RETRIED_CLOSES = new Map([[1011, "internal_error"], [1012, "shutting_down"], [1013, "server_full"]]);

/** @type {Clock} */
export const SYSTEM_CLOCK = {
  now: () => Date.now(),
  set: (run, delay_ms) => setTimeout(run, delay_ms),
  clear: (timer) => clearTimeout(timer),
};

/**
 * The audio of a stream by position: appended at the end, dropped from the front, bounded. Positions count samples of each channel;
 * the samples of several channels are interleaved.
 */
export class Backlog {
  /**
   * @param {number} limit samples of each channel
   * @param {number} channels
   */
  constructor(limit = BACKLOG_S * SAMPLE_RATE, channels = 1) {
    /** @private */
    this.limit = limit;
    /** @private */
    this.channels = channels;
    /** @private @type {{start: number, end: number, samples: Int16Array}[]} */
    this.chunks = [];
    /** First sample that is still here. */
    this.start = 0;
    /** The sample after the last one. */
    this.end = 0;
  }

  /** @param {Int16Array} samples not copied */
  push(samples) {
    if (samples.length === 0) return;
    const end = this.end + samples.length / this.channels;
    this.chunks.push({ start: this.end, end, samples });
    this.end = end;
    this.dropBefore(this.end - this.limit);
  }

  /** @param {number} position */
  dropBefore(position) {
    if (position <= this.start) return;
    this.start = Math.min(position, this.end);
    let count = 0;
    while (count < this.chunks.length && this.chunks[count].end <= this.start) count += 1;
    this.chunks.splice(0, count);
  }

  /**
   * @param {number} from at or after `start`
   * @param {number} to at or before `end`
   * @returns {Int16Array}
   */
  slice(from, to) {
    const { channels } = this;
    const output = new Int16Array(Math.max(0, to - from) * channels);
    for (let index = this.find(from); index < this.chunks.length; index += 1) {
      const { start, samples } = this.chunks[index];
      if (start >= to) break;
      output.set(samples.subarray(Math.max(0, from - start) * channels, (to - start) * channels), Math.max(0, start - from) * channels);
    }
    return output;
  }

  /**
   * @private
   * @param {number} position
   * @returns {number} index of the chunk that has it
   */
  find(position) {
    let low = 0;
    let high = this.chunks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.chunks[middle].end <= position) low = middle + 1;
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
   * @param {(event: ServerEvent) => void} options.onEvent also gets a `gap` made here, for audio that was dropped in an outage
   * @param {(status: Status) => void} options.onStatus
   * @param {(position: number, channel?: number) => Word[]} options.committedAfter committed words that end after a position; with
   *   `refine` only those that no `refined` event has replaced. The channel is given in stereo streams
   * @param {() => Promise<Diagnosis>} [options.diagnose] finds out why a socket did not open
   * @param {new (url: string, protocols: string[]) => WebSocket} [options.WebSocket]
   * @param {Clock} [options.clock]
   * @param {() => number} [options.random] 0 to 1
   * @param {Backlog} [options.backlog]
   */
  constructor({ url, protocols = [], start = {}, onEvent, onStatus, committedAfter, diagnose, WebSocket, clock, random, backlog }) {
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
    this.diagnose = diagnose;
    /** @private */
    this.WebSocket = WebSocket ?? globalThis.WebSocket;
    /** @private */
    this.clock = clock ?? SYSTEM_CLOCK;
    /** @private */
    this.random = random ?? Math.random;
    /** @private */
    this.channels = start.channels ?? 1;
    this.backlog = backlog ?? new Backlog(undefined, this.channels);
    /** @private @type {Status} */
    this.status = { state: "connecting", stopping: false, cause: null, retryAt: null, session: null };
    /** @private @type {WebSocket | null} */
    this.socket = null;
    /**
     * @private For each channel: no server will ask for its audio before `keptFrom`, and its live text goes on at `liveFrom` after a
     * lost connection, if the stream is refined.
     *
     * @type {{keptFrom: number, liveFrom: number | undefined}[]}
     */
    this.known = Array.from({ length: this.channels }, () => ({ keptFrom: 0, liveFrom: undefined }));
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
    /** @private Errors of the server itself since then. */
    this.faults = 0;
    /** @private When the first message was sent that no event has followed yet. @type {number | null} */
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

  /** @private No server will ask for audio before this position. */
  get keptFrom() {
    return Math.min(...this.known.map(({ keptFrom }) => keptFrom));
  }

  /** Seconds of audio that the server has not been sent on this connection. */
  get unsent_s() {
    return (this.backlog.end - (this.state === "live" ? this.sent : Math.max(this.keptFrom, this.backlog.start))) / SAMPLE_RATE;
  }

  /** @param {Int16Array} samples the next of the stream, 16 kHz; those of two channels are interleaved */
  push(samples) {
    if (this.status.stopping || this.state === "ended") return;
    this.backlog.push(samples);
    this.pump();
  }

  /** Ends the audio. The last words are still awaited, over a new connection if necessary. */
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

  /** Ends the stream at once, without the words that the server has not sent yet. */
  abandon() {
    if (this.state !== "ended") this.end(null);
  }

  /** Connects without waiting any longer, for instance because the network is back. */
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
    this.after("ready", READY_MS, () => this.retryLater("no_answer"));
  }

  /** @private */
  resume() {
    const stereo = this.channels > 1;
    this.known.forEach((known, channel) => this.giveUpLost(known, stereo ? channel : undefined));
    const session = this.status.session ?? undefined;
    const position = this.keptFrom;
    // A stream that has never reached a server has nothing to resume, unless its beginning has been dropped already.
    if (session === undefined && position === 0) return undefined;
    const channels = this.known.map(({ keptFrom, liveFrom }, channel) => ({
      position: keptFrom,
      live_from: liveFrom,
      words: this.committedAfter(keptFrom, stereo ? channel : undefined),
    }));
    return stereo ? { session, position, channels } : { session, ...channels[0] };
  }

  /**
   * Audio that the backlog had to drop becomes a gap.
   *
   * @private
   * @param {{keptFrom: number}} known
   * @param {number} [channel] in a stereo stream
   */
  giveUpLost(known, channel) {
    if (this.backlog.start <= known.keptFrom) return;
    const words = this.committedAfter(known.keptFrom, channel);
    const start = words.length === 0 ? known.keptFrom / SAMPLE_RATE : words[words.length - 1].end;
    const end = this.backlog.start / SAMPLE_RATE;
    known.keptFrom = this.backlog.start;
    const of = channel === undefined ? {} : { channel };
    if (start < end) this.onEvent({ type: "gap", seq: -1, start, end, reason: "resume_lost", kept_from: known.keptFrom, ...of });
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
        this.frameLimit = Math.max(FRAME, Math.min(CATCH_UP_FRAME, Math.floor(event.max_message_bytes / (2 * this.channels))));
        this.clear("ready");
        this.after("settled", SETTLED_MS, () => {
          this.attempts = 0;
          this.faults = 0;
        });
        this.after("watch", SILENCE_MS / 6, () => this.watch());
        this.report({ state: "live", cause: null, session: event.session });
        break;
      case "draining":
        // The server commits what it has, then closes. Audio sent from here on would have to be sent again.
        this.draining = true;
        this.after("drain", DRAIN_MS, () => this.retryLater("shutting_down"));
        break;
      case "error":
        this.failure = event;
        break;
      default:
        break;
    }
    const known = this.known[event.channel ?? 0] ?? this.known[0];
    if ("live_from" in event) known.liveFrom = event.live_from;
    if ("kept_from" in event && event.kept_from > known.keptFrom) {
      known.keptFrom = event.kept_from;
      this.backlog.dropBefore(this.keptFrom);
      this.attempts = 0;
      this.faults = 0;
    }
    this.onEvent(event);
    if (event.type === "done") this.end(null);
    else this.pump();
  }

  /** @private Sends as much as the socket takes. */
  pump() {
    if (this.state !== "live" || this.draining || this.stopSent || this.socket === null) return;
    if (this.sent < this.backlog.start) {
      this.retryLater("no_answer");
      return;
    }
    const { backlog } = this;
    while (backlog.end - this.sent >= FRAME || (this.status.stopping && backlog.end > this.sent)) {
      if (this.socket.bufferedAmount > SOCKET_BYTES) {
        // While recording, every chunk calls this. After the last chunk only this timer does.
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

  /** @private A working server answers audio with `progress`. One that sends nothing is gone, even if TCP still has the connection. */
  watch() {
    if (this.unanswered !== null && this.clock.now() - this.unanswered > SILENCE_MS) this.retryLater("no_answer");
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
    this.retryLater(cause ?? (this.draining ? "shutting_down" : opened ? "connection_lost" : "no_server"), opened);
  }

  /**
   * Closes the socket and waits for the next attempt.
   *
   * @private
   * @param {string} cause
   * @param {boolean} [opened] false: the socket did not open, and a browser does not say why
   */
  retryLater(cause, opened = true) {
    this.drop();
    if (cause === "internal_error" || cause === "model_unavailable" || cause === "decode_failed") {
      this.faults += 1;
      if (this.faults >= FAULT_ATTEMPTS) {
        this.end(cause);
        return;
      }
    }
    const retryAt = this.clock.now() + this.delay(cause);
    this.attempts += 1;
    this.report({ state: "waiting", cause, retryAt });
    if (opened || this.diagnose === undefined) {
      this.connectAt(retryAt);
      return;
    }
    // A full server says how long to wait, perhaps later than the next attempt would have begun: so that waits for the answer.
    this.connectAt(Math.max(retryAt, this.clock.now() + DIAGNOSIS_MS));
    const { status } = this;
    this.diagnose().then(({ cause: found, wait_s }) => {
      // The next attempt can have begun by now: the user asked for it, or the answer came too late.
      if (this.status !== status) return;
      if (FINAL_ERRORS.has(found)) {
        this.end(found);
        return;
      }
      const askedFor = wait_s === 0 ? 0 : this.clock.now() + wait_s * 1000 * (1 + this.random() / 2);
      this.report({ cause: found, retryAt: Math.max(retryAt, askedFor) });
      this.connectAt(Math.max(retryAt, askedFor));
    });
  }

  /**
   * @private
   * @param {number} time_ms
   */
  connectAt(time_ms) {
    this.after("retry", Math.max(0, time_ms - this.clock.now()), () => this.connect());
  }

  /**
   * Milliseconds to the next attempt. They grow with the attempts. They are random, so that the clients of a server that was
   * restarted do not all connect at the same moment.
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

/**
 * Where the server is: beside the page, wherever a proxy has put that.
 *
 * @param {string} base address of the page
 * @returns {{socket: string, stream: string, ready: string}} `socket` and `stream` are one endpoint, by WebSocket and by http
 */
export function endpoints(base) {
  const stream = new URL("ws", base);
  const socket = new URL(stream);
  socket.protocol = stream.protocol === "https:" ? "wss:" : "ws:";
  return { socket: socket.href, stream: stream.href, ready: new URL("ready", base).href };
}

/** The states that `/ready` gives with status 503. */
const UNREADY = new Map([
  ["loading", "model_loading"], ["failed", "model_unavailable"], ["draining", "shutting_down"], ["full", "server_full"],
]);

/**
 * Asks by http why a WebSocket did not open. A browser does not tell its page.
 *
 * @param {object} options
 * @param {string} options.ready where the server says whether it takes streams
 * @param {string} options.stream where the WebSocket is; to a plain GET the server says why it would refuse one
 * @param {string | null} [options.key] that the WebSocket was asked for with
 * @param {typeof fetch} [fetch]
 * @returns {Promise<Diagnosis>}
 */
export async function diagnose({ ready, stream, key = null }, fetch = globalThis.fetch) {
  try {
    const response = await fetch(ready, { cache: "no-store" });
    if (response.status === 503) return diagnosis(UNREADY.get((await json(response))?.status) ?? "model_loading", response);
    // A server that does not answer to this host name says so in the same way as on /ws.
    if (!response.ok && response.status !== 421) return { cause: "no_server", wait_s: 0 };
    const answer = await fetch(stream, { cache: "no-store", headers: authorization(key) });
    const code = (await json(answer))?.code;
    if (code === "unauthorized") return { cause: missingOrWrong(key), wait_s: 0 };
    const known = typeof code === "string" && /^\w+$/.test(code) && code !== "not_found";
    return diagnosis(known ? code : "not_admitted", answer);
  } catch {
    return { cause: "no_server", wait_s: 0 };
  }
}

/**
 * Only the Retry-After of a full server is followed. A worker that is loading or draining sends one too, but another worker may
 * take the next attempt.
 *
 * @param {string} cause
 * @param {Response} response
 * @returns {Diagnosis}
 */
function diagnosis(cause, response) {
  const asked_s = Number(response.headers.get("retry-after"));
  return { cause, wait_s: cause === "server_full" && asked_s > 0 ? Math.min(asked_s, LONGEST_WAIT_S) : 0 };
}

/**
 * @param {Response} response
 * @returns {Promise<any>} null where it is not JSON
 */
function json(response) {
  return response.json().catch(() => null);
}
