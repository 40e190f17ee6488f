/**
 * Runs on the audio thread: collects the browser's blocks of 128 frames into chunks of 20 ms, Float32, and sends them to the page.
 * The samples of two channels are interleaved.
 *
 * `process` has about 2.7 ms, so it must not cause garbage collection. The constructor allocates all buffers. Each is transferred
 * to the page, and the page transfers it back. `process` allocates only when the page has returned no buffer for a second: a
 * short stutter is better than lost speech.
 *
 * Messages in: an ArrayBuffer to be used again; "stop". Messages out: a Float32Array with one chunk; null after the last one.
 */

const CHUNK_S = 0.02;
const BUFFERS = 50;

class Capture extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this.channels = processorOptions.channels;
    this.length = Math.round(sampleRate * CHUNK_S) * this.channels;
    this.spare = Array.from({ length: BUFFERS }, () => new Float32Array(this.length));
    this.chunk = this.spare.pop();
    this.filled = 0;
    this.stopped = false;
    this.transfer = [this.chunk.buffer];
    this.port.onmessage = ({ data }) => {
      if (data === "stop") this.finish();
      else this.spare.push(new Float32Array(data));
    };
  }

  process(inputs) {
    if (this.stopped) return false;
    // The node mixes to as many channels as are wanted. A source that has ended has no channel.
    const blocks = inputs[0];
    const { channels } = this;
    if (blocks.length === channels) {
      const frames = blocks[0].length;
      let from = 0;
      while (from < frames) {
        const count = Math.min(frames - from, (this.length - this.filled) / channels);
        for (let channel = 0; channel < channels; channel += 1) {
          const block = blocks[channel];
          let to = this.filled + channel;
          for (let index = 0; index < count; index += 1, to += channels) this.chunk[to] = block[from + index];
        }
        from += count;
        this.filled += count * channels;
        if (this.filled === this.length) this.deliver(this.chunk);
      }
    }
    return true;
  }

  deliver(chunk) {
    this.transfer[0] = this.chunk.buffer;
    this.port.postMessage(chunk, this.transfer);
    this.chunk = this.spare.pop() ?? new Float32Array(this.length);
    this.filled = 0;
  }

  finish() {
    if (this.stopped) return;
    this.stopped = true;
    if (this.filled > 0) this.deliver(this.chunk.subarray(0, this.filled));
    this.port.postMessage(null);
  }
}

registerProcessor("capture", Capture);
