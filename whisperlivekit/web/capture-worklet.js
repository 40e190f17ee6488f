/**
 * Runs on the audio thread: collects the browser's blocks of 128 frames into chunks of 20 ms, mono Float32, and sends them to the
 * page.
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
  constructor() {
    super();
    this.length = Math.round(sampleRate * CHUNK_S);
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
    // The node mixes down to one channel. A source that has ended has no channel.
    const block = inputs[0][0];
    if (block !== undefined) {
      let from = 0;
      while (from < block.length) {
        const count = Math.min(block.length - from, this.length - this.filled);
        for (let index = 0; index < count; index += 1) this.chunk[this.filled + index] = block[from + index];
        from += count;
        this.filled += count;
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
