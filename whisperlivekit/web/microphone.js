/**
 * Sound from a microphone, from another tab or from the screen, as Float32 chunks of about 20 ms in the rate of the AudioContext.
 * The samples of two channels are interleaved.
 *
 * @typedef {object} Source
 * @property {"microphone" | "tab"} kind
 * @property {string} [deviceId] id of a microphone; the browser's default if missing or empty
 * @property {boolean} [noiseSuppression] also turns on echo cancellation and gain control
 * @property {boolean} [stereo] two channels, which are not mixed
 */

/** How long the audio thread has to deliver its last chunk. */
const STOP_MS = 300;

/** There is no sound; `code` is a key of the error texts. */
export class MicrophoneError extends Error {
  /** @param {string} code */
  constructor(code) {
    super(code);
    this.code = code;
  }
}

/** @returns {boolean} the browser can capture the sound of a tab */
export function canCaptureTab() {
  return typeof navigator.mediaDevices?.getDisplayMedia === "function";
}

/**
 * @returns {Promise<{deviceId: string, label: string}[]>} labels are empty until the user has once allowed a microphone
 */
export async function listMicrophones() {
  if (!navigator.mediaDevices?.enumerateDevices) return [];
  const devices = await navigator.mediaDevices.enumerateDevices();
  // Chromium lists the default device again under these two ids.
  return devices.filter(
    ({ kind, deviceId }) => kind === "audioinput" && deviceId !== "" && deviceId !== "default" && deviceId !== "communications",
  );
}

export class Microphone {
  /**
   * @param {object} options
   * @param {(samples: Float32Array) => void} options.onSamples must not keep the chunk: its memory is used again
   * @param {() => void} options.onEnded the device was unplugged, or the user ended the sharing
   * @param {(paused: boolean) => void} options.onPaused the system has paused the sound (a phone call) or has resumed it
   */
  constructor({ onSamples, onEnded, onPaused }) {
    /** @private */
    this.onSamples = onSamples;
    /** @private */
    this.onEnded = onEnded;
    /** @private */
    this.onPaused = onPaused;
    /** @private @type {AudioContext | null} */
    this.context = null;
    /** @private @type {MediaStream | null} */
    this.stream = null;
    /** @private @type {AudioWorkletNode | null} */
    this.node = null;
    /** @private @type {MediaStreamAudioSourceNode | null} */
    this.input = null;
    /** Channels of the chunks. */
    this.channels = 1;
  }

  /** Samples a second of the chunks; 0 before `start` and after `stop`. */
  get sampleRate() {
    return this.context?.sampleRate ?? 0;
  }

  /**
   * Must be called from a click or a key press: Safari starts an AudioContext only then.
   *
   * @param {Source} source
   * @throws {MicrophoneError}
   */
  async start(source) {
    if (!globalThis.isSecureContext || !navigator.mediaDevices) throw new MicrophoneError("not_secure");
    if (typeof AudioWorkletNode === "undefined") throw new MicrophoneError("old_browser");
    this.channels = source.stereo ? 2 : 1;
    // Before the first await, because after it the click no longer counts.
    this.context = new AudioContext({ latencyHint: "interactive" });
    try {
      const resumed = this.context.resume();
      this.stream = await (source.kind === "tab" ? openTab(this.channels) : openMicrophone(source));
      await resumed;
      await this.connect();
    } catch (error) {
      await this.release();
      throw error instanceof MicrophoneError ? error : new MicrophoneError(errorCode(error, source.kind));
    }
  }

  /** @private */
  async connect() {
    const stream = /** @type {MediaStream} */ (this.stream);
    const [track] = stream.getAudioTracks();
    let context = /** @type {AudioContext} */ (this.context);
    try {
      this.input = context.createMediaStreamSource(stream);
    } catch (error) {
      // Older Firefox does not connect a device to a context of another rate.
      const rate = track.getSettings().sampleRate;
      if (!(error instanceof DOMException) || error.name !== "NotSupportedError" || !rate) throw error;
      await context.close();
      context = new AudioContext({ sampleRate: rate, latencyHint: "interactive" });
      this.context = context;
      await context.resume();
      this.input = context.createMediaStreamSource(stream);
    }
    try {
      await context.audioWorklet.addModule(new URL("./capture-worklet.js", import.meta.url));
    } catch {
      // The worklet is loaded from the server only now, and the server can be gone since the page was loaded.
      throw new MicrophoneError("page_incomplete");
    }
    const { channels } = this;
    this.node = new AudioWorkletNode(context, "capture", {
      channelCount: channels,
      channelCountMode: "explicit",
      numberOfOutputs: 1,
      processorOptions: { channels },
    });
    const { port } = this.node;
    port.onmessage = ({ data }) => {
      if (data === null) return;
      this.onSamples(data);
      port.postMessage(data.buffer, [data.buffer]);
    };
    this.input.connect(this.node);
    // Its output is silent, but Safari runs only nodes that are connected to the speakers.
    this.node.connect(context.destination);
    track.onended = () => this.onEnded();
    track.onmute = () => this.onPaused(true);
    track.onunmute = () => this.onPaused(false);
    context.onstatechange = () => {
      if (this.context !== context || context.state === "closed") return;
      // WebKit has the state "interrupted" for a phone call or another app.
      this.onPaused(context.state !== "running");
      if (context.state !== "running") context.resume().catch(() => {});
    };
  }

  /** Continues after a pause by the system. Safari may require a click. */
  resume() {
    this.context?.resume().catch(() => {});
  }

  /** Ends the sound. When it resolves, `onSamples` has had the last chunk. */
  async stop() {
    const { node } = this;
    if (node !== null && this.context?.state === "running") {
      await new Promise((resolve) => {
        // The audio thread may be gone already, and then no answer comes.
        const timer = setTimeout(resolve, STOP_MS);
        node.port.addEventListener("message", ({ data }) => {
          if (data !== null) return;
          clearTimeout(timer);
          resolve(undefined);
        });
        node.port.postMessage("stop");
      });
    }
    await this.release();
  }

  /** @private Releases the device, so that the browser no longer shows that it records. */
  async release() {
    const { context, stream, node, input } = this;
    this.context = this.stream = this.node = this.input = null;
    if (node !== null) node.port.onmessage = null;
    input?.disconnect();
    node?.disconnect();
    for (const track of stream?.getTracks() ?? []) {
      track.onended = track.onmute = track.onunmute = null;
      track.stop();
    }
    if (context !== null && context.state !== "closed") await context.close().catch(() => {});
  }
}

/**
 * @param {Source} source
 * @returns {Promise<MediaStream>}
 */
function openMicrophone({ deviceId, noiseSuppression = false }) {
  // Off by default: Whisper was trained on unprocessed sound, and a browser's suppression cuts the quiet ends of words.
  return navigator.mediaDevices.getUserMedia({
    audio: {
      deviceId: deviceId ? { exact: deviceId } : undefined,
      channelCount: { ideal: 1 },
      echoCancellation: noiseSuppression,
      noiseSuppression,
      autoGainControl: noiseSuppression,
    },
  });
}

/**
 * @param {number} channels
 * @returns {Promise<MediaStream>}
 */
async function openTab(channels) {
  const stream = await navigator.mediaDevices.getDisplayMedia({
    // Browsers do not share sound without a picture. This asks for the smallest one.
    video: { width: 160, height: 90, frameRate: 1 },
    audio: { channelCount: { ideal: channels }, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
  });
  if (stream.getAudioTracks().length > 0) return stream;
  for (const track of stream.getTracks()) track.stop();
  throw new MicrophoneError("no_tab_audio");
}

/**
 * @param {unknown} error what the browser threw
 * @param {"microphone" | "tab"} kind
 * @returns {string}
 */
function errorCode(error, kind) {
  const name = error instanceof Error ? error.name : "";
  if (name === "NotAllowedError" || name === "SecurityError") return kind === "tab" ? "tab_denied" : "microphone_denied";
  if (name === "NotFoundError" || name === "OverconstrainedError") return "no_microphone";
  if (name === "NotReadableError" || name === "AbortError") return "microphone_busy";
  return "microphone_failed";
}
