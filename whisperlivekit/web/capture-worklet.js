/**
 * Runs on the audio thread: gathers the browser's 128-frame blocks into 20 ms of mono Float32 and hands each to the page.
 *
 * `process` has about 2.7 ms and must not wait for a garbage collector, so the buffers are made in the constructor and go
 * round: they are transferred to the page, and the page transfers them back. Only when the page has not answered for a second
 * (and all buffers are out) is a new one made: a short stutter is better than speech that is lost without a trace.
 *
 * Messages in: an ArrayBuffer to be used again; "stop". Messages out: a Float32Array of one chunk; null after the last one.
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
    // The node mixes down to one channel; a source that has ended has none.
    const block = inputs[0][0];
    if (block !== undefined) {
      let from = 0;
      while (from < block.length) {
        const count = Math.min(block.length - from, this.length - this.filled);
        for (let index = 0; index < count; index += 1) this.chunk[this.filled + index] = block[from + index];
        from += count;
        this.filled += count;
        if (this.filled === this.length) this.hand(this.chunk);
      }
    }
    return true;
  }

  hand(chunk) {
    this.transfer[0] = this.chunk.buffer;
    this.port.postMessage(chunk, this.transfer);
    this.chunk = this.spare.pop() ?? new Float32Array(this.length);
    this.filled = 0;
  }

  finish() {
    if (this.stopped) return;
    this.stopped = true;
    if (this.filled > 0) this.hand(this.chunk.subarray(0, this.filled));
    this.port.postMessage(null);
  }
}

registerProcessor("capture", Capture);
