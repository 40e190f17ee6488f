/**
 * Sound from a microphone, or from another tab or screen, as Float32 chunks of about 20 ms in the context's own rate.
 *
 * @typedef {object} Source
 * @property {"microphone" | "tab"} kind
 * @property {string} [deviceId] a microphone; the browser's default if left out
 * @property {boolean} [noiseSuppression] also echo cancellation and gain control
 */

/** Why there is no sound; `code` is a key of the error texts. */
export class MicrophoneError extends Error {
  /** @param {string} code */
  constructor(code) {
    super(code);
    this.code = code;
  }
}

/** @returns {boolean} the browser can offer the sound of a tab */
export function canCaptureTab() {
  return typeof navigator.mediaDevices?.getDisplayMedia === "function";
}

/**
 * @returns {Promise<{deviceId: string, label: string}[]>} labels are empty until the user has once allowed a microphone
 */
export async function listMicrophones() {
  if (!navigator.mediaDevices?.enumerateDevices) return [];
  const devices = await navigator.mediaDevices.enumerateDevices();
  // Chromium repeats the default device under two more ids.
  return devices.filter(
    ({ kind, deviceId }) => kind === "audioinput" && deviceId !== "" && deviceId !== "default" && deviceId !== "communications",
  );
}

export class Microphone {
  /**
   * @param {object} options
   * @param {(samples: Float32Array) => void} options.onSamples the chunk is taken back when the call returns
   * @param {() => void} options.onEnded the device was unplugged, or the user ended the sharing
   * @param {(paused: boolean) => void} options.onPaused the system took the sound away (a phone call) or gave it back
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
  }

  /** Samples a second of the chunks; known after `start`. */
  get sampleRate() {
    return this.context?.sampleRate ?? 0;
  }

  /**
   * Must be called from a click or key press: Safari lets a context run only then.
   *
   * @param {Source} source
   * @throws {MicrophoneError}
   */
  async start(source) {
    if (!globalThis.isSecureContext || !navigator.mediaDevices) throw new MicrophoneError("not_secure");
    if (typeof AudioWorkletNode === "undefined") throw new MicrophoneError("old_browser");
    // Made before the first await, within the gesture.
    this.context = new AudioContext({ latencyHint: "interactive" });
    try {
      const resumed = this.context.resume();
      this.stream = await (source.kind === "tab" ? openTab() : openMicrophone(source));
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
      // Older Firefox does not join a device and a context of different rates.
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
      // It comes from the server like the rest of the page, but only now.
      throw new MicrophoneError("page_incomplete");
    }
    this.node = new AudioWorkletNode(context, "capture", { channelCount: 1, channelCountMode: "explicit", numberOfOutputs: 1 });
    const { port } = this.node;
    port.onmessage = ({ data }) => {
      if (data === null) return;
      this.onSamples(data);
      port.postMessage(data.buffer, [data.buffer]);
    };
    this.input.connect(this.node);
    // Its output is silence, but Safari runs only what leads to the speakers.
    this.node.connect(context.destination);
    track.onended = () => this.onEnded();
    track.onmute = () => this.onPaused(true);
    track.onunmute = () => this.onPaused(false);
    context.onstatechange = () => {
      if (this.context !== context || context.state === "closed") return;
      // "interrupted" is WebKit's own: a phone call, another app.
      this.onPaused(context.state !== "running");
      if (context.state !== "running") context.resume().catch(() => {});
    };
  }

  /** After a pause by the system; from a gesture where possible. */
  resume() {
    this.context?.resume().catch(() => {});
  }

  /** Ends the sound. When it resolves, the last chunk has been handed over. */
  async stop() {
    const { node } = this;
    if (node !== null && this.context?.state === "running") {
      await new Promise((resolve) => {
        // The audio thread may be gone already: then there is nothing more to come.
        const timer = setTimeout(resolve, 300);
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

  /** @private Frees the device, so that the browser's recording sign goes out. */
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
  // Off by default: Whisper was trained on raw sound, and a browser's suppression cuts the quiet ends of words.
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

/** @returns {Promise<MediaStream>} */
async function openTab() {
  const stream = await navigator.mediaDevices.getDisplayMedia({
    // Browsers refuse to share sound alone; the picture is asked for as small as they allow.
    video: { width: 160, height: 90, frameRate: 1 },
    audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
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
