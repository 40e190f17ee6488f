/**
 * One recording after another: joins the microphone, the resampler and the connection, and keeps the one `State` of the page.
 *
 * state.js decides what follows an input; this module does what the new state needs (open, stop, release) and owns what has to be
 * released. It knows no page: what it opens and the timers come from the caller.
 *
 * @typedef {import("./state.js").State} State
 * @typedef {import("./connection.js").Status} Status
 * @typedef {import("./protocol.js").ServerEvent} ServerEvent
 *
 * @typedef {object} MicrophoneHandlers
 * @property {(samples: Float32Array) => void} onSamples
 * @property {() => void} onEnded
 * @property {(paused: boolean) => void} onPaused
 *
 * @typedef {object} ConnectionHandlers
 * @property {(event: ServerEvent) => void} onEvent
 * @property {(status: Status) => void} onStatus
 *
 * @typedef {object} Options
 * @property {(handlers: MicrophoneHandlers) => import("./microphone.js").Microphone} createMicrophone
 * @property {(handlers: ConnectionHandlers) => import("./connection.js").Connection} openConnection
 * @property {(state: State) => void} onChange after every input, and four times a second while recording or stopping
 * @property {(event: ServerEvent) => void} onEvent before `onChange`
 * @property {() => void} onConnectionDown before `onChange`, with every status other than live
 * @property {(loudness: number, duration_s: number) => void} onLoudness with every chunk of audio
 * @property {import("./connection.js").Clock} [clock]
 */

import { SYSTEM_CLOCK } from "./connection.js";
import { MicrophoneError } from "./microphone.js";
import { ChannelResampler, SAMPLE_RATE, loudness, toInt16 } from "./pcm.js";
import { initialState, reduce } from "./state.js";

/** How often countdowns, the timer and the lag are shown anew. */
const TICK_MS = 250;

export class Recorder {
  /** @param {Options} options */
  constructor({ clock = SYSTEM_CLOCK, ...options }) {
    /** @private */
    this.options = options;
    /** @private */
    this.clock = clock;
    this.state = initialState();
    /** @private @type {import("./microphone.js").Microphone | null} */
    this.microphone = null;
    /** @private @type {ChannelResampler | null} */
    this.resampler = null;
    /** @private Samples of all channels that the resampler gives a second. */
    this.rate = SAMPLE_RATE;
    /** @private @type {import("./connection.js").Connection | null} */
    this.connection = null;
    /** @private */
    this.ticker = undefined;
  }

  /** Seconds of audio that the server has not been sent. */
  get unsent_s() {
    return this.connection?.unsent_s ?? 0;
  }

  /**
   * Must be called from a click or a key press, as `Microphone.start` says.
   *
   * @param {import("./microphone.js").Source} source
   */
  async start(source) {
    if (this.state.phase !== "idle") return;
    // A microphone takes some time to stop. By then it can belong to a recording that is over.
    const current = () => this.microphone === microphone;
    const microphone = this.options.createMicrophone({
      onSamples: (samples) => {
        if (current()) this.record(samples, microphone.sampleRate * microphone.channels);
      },
      onEnded: () => {
        if (current()) void this.stop(source.kind === "tab" ? "tab_ended" : "microphone_lost");
      },
      onPaused: (paused) => {
        if (current()) this.apply({ type: "paused", paused });
      },
    });
    this.microphone = microphone;
    this.apply({ type: "start" });
    try {
      await microphone.start(source);
    } catch (error) {
      this.microphone = null;
      this.apply({ type: "failed", code: error instanceof MicrophoneError ? error.code : "unknown" });
      if (!(error instanceof MicrophoneError)) throw error;
      return;
    }
    this.resampler = new ChannelResampler(microphone.sampleRate, microphone.channels);
    this.rate = SAMPLE_RATE * microphone.channels;
    this.apply({ type: "opened" });
    this.connection = this.options.openConnection({
      onEvent: (event) => {
        this.options.onEvent(event);
        this.apply({ type: "event", event });
      },
      onStatus: (status) => this.follow(status),
    });
    this.tick();
  }

  /**
   * Ends the sound; the last words are still awaited.
   *
   * @param {string} [code] why, where it was not the user
   */
  async stop(code) {
    if (this.state.phase !== "recording") return;
    this.apply({ type: "stop", code });
    const { connection, microphone } = this;
    await microphone?.stop();
    // While the microphone stopped, the connection can have ended, and a new recording can have begun.
    if (connection === null || connection !== this.connection) return;
    this.microphone = null;
    if (this.resampler !== null) connection.push(toInt16(this.resampler.flush()));
    connection.stop();
    this.options.onChange(this.state);
  }

  /** Gives up waiting for the last words. */
  abandon() {
    if (this.state.phase === "stopping") this.connection?.abandon();
  }

  /** Ends the wait for the next attempt to connect. */
  retryNow() {
    this.connection?.retryNow();
  }

  /** Runs the microphone again after the system has paused it. */
  resumeSound() {
    this.microphone?.resume();
  }

  /** @param {string} code of a problem outside a recording */
  report(code) {
    this.apply({ type: "report", code });
  }

  /** Forgets the last recording. */
  clear() {
    this.apply({ type: "clear" });
  }

  /** @param {string} code of the problem or hint that the user has closed, or that is solved */
  dismiss(code) {
    this.apply({ type: "dismiss", code });
  }

  /**
   * @private
   * @param {import("./state.js").Input} input
   */
  apply(input) {
    this.state = reduce(this.state, input);
    this.options.onChange(this.state);
  }

  /**
   * @private
   * @param {Float32Array} samples a chunk in the microphone's rate
   * @param {number} rate samples a second, of all channels
   */
  record(samples, rate) {
    if (this.resampler === null || this.connection === null) return;
    const duration_s = samples.length / rate;
    const level = loudness(samples);
    this.options.onLoudness(level, duration_s);
    const output = toInt16(this.resampler.feed(samples));
    // Fifty times a second: the ticker shows it.
    this.state = reduce(this.state, { type: "audio", duration_s, recorded_s: output.length / this.rate, loudness: level });
    this.connection.push(output);
  }

  /**
   * @private
   * @param {Status} status
   */
  follow(status) {
    if (status.state !== "live") this.options.onConnectionDown();
    if (status.state === "ended") void this.release();
    this.apply({ type: "status", status, now_ms: this.clock.now() });
  }

  /** @private */
  async release() {
    this.clock.clear(this.ticker);
    const { microphone } = this;
    this.microphone = this.resampler = this.connection = null;
    await microphone?.stop();
  }

  /** @private */
  tick() {
    if (this.state.phase === "idle") return;
    this.ticker = this.clock.set(() => {
      this.options.onChange(this.state);
      this.tick();
    }, TICK_MS);
  }
}
