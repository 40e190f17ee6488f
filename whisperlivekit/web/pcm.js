/**
 * Conversion of samples: any rate to 16 kHz, Float32 to Int16. Pure.
 *
 * The page resamples because browsers differ: Firefox throws when a microphone is connected to an AudioContext of another rate.
 * So the context keeps the microphone's rate, and its samples are converted to 16 kHz here.
 */

/** Samples a second of the audio that is sent. Positions in the stream are counted in them. */
export const SAMPLE_RATE = 16000;

/** Share of the lower Nyquist frequency that passes unchanged. Everything above that frequency is stopped. */
const PASSBAND = 0.9;

/** Attenuation of what would alias, in dB. The rest is below the noise of 16-bit audio from any microphone. */
const ATTENUATION_DB = 80;

/**
 * Converts a stream to another sample rate with a polyphase windowed-sinc filter, one row of coefficients for each phase.
 *
 * The filter's delay is compensated: output sample k is at input time k * from / to. The output does not depend on how the
 * stream is divided into chunks.
 */
export class Resampler {
  /**
   * @param {number} from input rate in Hz, a whole number
   * @param {number} [to] output rate in Hz, a whole number
   */
  constructor(from, to = SAMPLE_RATE) {
    if (!Number.isInteger(from) || !Number.isInteger(to) || from < 1 || to < 1) {
      throw new RangeError(`rates are ${from} and ${to} Hz, expected whole positive numbers`);
    }
    const divisor = greatestCommonDivisor(from, to);
    /** @private Phases of the filter: output samples for every `step` input samples. */
    this.phases = to / divisor;
    /** @private */
    this.step = from / divisor;
    /** @private Input samples on each side of an output sample; 0 when the rates are equal and samples pass through. */
    this.half = from === to ? 0 : halfLength(from, to);
    /** @private Rows of the filter, computed when first needed. @type {(Float32Array | undefined)[]} */
    this.rows = new Array(this.phases);
    /** @private */
    this.cutoff = (((1 + PASSBAND) / 2) * Math.min(from, to)) / from;
    /** @private Input that is still needed. It begins with `half` zeros, so that the first output is at time 0. */
    this.kept = new Float32Array(this.half);
    /** @private Index in `kept` where the window of the next output begins. */
    this.next = 0;
    /** @private */
    this.phase = 0;
    /** @private Input samples so far. */
    this.received = 0;
    /** @private Output samples so far. */
    this.made = 0;
  }

  /**
   * @param {Float32Array} samples the next input samples; not kept
   * @returns {Float32Array} all output samples that these and earlier input samples determine
   */
  feed(samples) {
    this.received += samples.length;
    if (this.half === 0) return samples.slice();
    return this.convolve(samples);
  }

  /**
   * Ends the stream.
   *
   * @returns {Float32Array} the last output samples; the whole stream has ceil(input * to / from)
   */
  flush() {
    if (this.half === 0) return new Float32Array(0);
    const due = Math.ceil((this.received * this.phases) / this.step) - this.made;
    return this.convolve(new Float32Array(this.half + 1)).slice(0, due);
  }

  /**
   * @private
   * @param {Float32Array} samples
   * @returns {Float32Array}
   */
  convolve(samples) {
    const input = new Float32Array(this.kept.length + samples.length);
    input.set(this.kept);
    input.set(samples, this.kept.length);
    const taps = 2 * this.half + 1;
    const room = input.length - taps - this.next;
    const count = room < 0 ? 0 : Math.floor((room * this.phases + this.phases - 1 - this.phase) / this.step) + 1;
    const output = new Float32Array(count);
    let { next, phase } = this;
    for (let made = 0; made < count; made += 1) {
      const row = (this.rows[phase] ??= this.row(phase));
      let sum = 0;
      for (let tap = 0; tap < taps; tap += 1) sum += row[tap] * input[next + tap];
      output[made] = sum;
      phase += this.step;
      next += Math.floor(phase / this.phases);
      phase %= this.phases;
    }
    const used = Math.min(next, input.length);
    this.kept = input.slice(used);
    this.next = next - used;
    this.phase = phase;
    this.made += count;
    return output;
  }

  /**
   * The coefficients for outputs that are `phase / phases` of a sample after the middle of their window.
   *
   * @private
   * @param {number} phase
   * @returns {Float32Array}
   */
  row(phase) {
    const row = new Float32Array(2 * this.half + 1);
    const shift = phase / this.phases;
    let sum = 0;
    for (let tap = 0; tap < row.length; tap += 1) {
      const time = tap - this.half - shift;
      row[tap] = sinc(this.cutoff * time) * kaiser(time / (this.half + 1));
      sum += row[tap];
    }
    // Every row must pass a constant unchanged, or the phases would modulate it.
    for (let tap = 0; tap < row.length; tap += 1) row[tap] /= sum;
    return row;
  }
}

/** Converts a stream of one or several channels, whose samples are interleaved: a `Resampler` for each. */
export class ChannelResampler {
  /**
   * @param {number} from input rate in Hz, a whole number
   * @param {number} channels
   */
  constructor(from, channels) {
    /** @private */
    this.resamplers = Array.from({ length: channels }, () => new Resampler(from));
  }

  /**
   * @param {Float32Array} samples the next input samples of all channels; not kept
   * @returns {Float32Array}
   */
  feed(samples) {
    const count = this.resamplers.length;
    return interleaved(
      this.resamplers.map((resampler, channel) =>
        resampler.feed(count === 1 ? samples : Float32Array.from({ length: samples.length / count }, (_, at) => samples[at * count + channel])),
      ),
    );
  }

  /**
   * Ends the stream.
   *
   * @returns {Float32Array} the last output samples
   */
  flush() {
    return interleaved(this.resamplers.map((resampler) => resampler.flush()));
  }
}

/**
 * @param {Float32Array[]} channels of equal length
 * @returns {Float32Array}
 */
function interleaved(channels) {
  if (channels.length === 1) return channels[0];
  const output = new Float32Array(channels.length * channels[0].length);
  channels.forEach((samples, channel) => {
    for (let at = 0; at < samples.length; at += 1) output[at * channels.length + channel] = samples[at];
  });
  return output;
}

/**
 * @param {Float32Array} samples in [-1, 1]; values outside are clipped
 * @returns {Int16Array} little-endian, as `pcm_s16le` requires, on every machine that runs a browser
 */
export function toInt16(samples) {
  const output = new Int16Array(samples.length);
  for (let index = 0; index < samples.length; index += 1) {
    // A typed array would wrap around instead of clipping. It turns NaN into 0.
    output[index] = Math.max(-32768, Math.min(32767, Math.round(samples[index] * 32768)));
  }
  return output;
}

/**
 * @param {Float32Array} samples
 * @returns {number} root mean square, 0 to 1
 */
export function loudness(samples) {
  if (samples.length === 0) return 0;
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return Math.sqrt(sum / samples.length);
}

/**
 * Input samples on each side of an output sample. Source: Kaiser's estimate of a filter's length.
 *
 * @param {number} from
 * @param {number} to
 * @returns {number}
 */
function halfLength(from, to) {
  const transition = (Math.PI * (1 - PASSBAND) * Math.min(from, to)) / from;
  return Math.ceil((ATTENUATION_DB - 7.95) / (2.285 * transition) / 2);
}

/**
 * @param {number} x
 * @returns {number}
 */
function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

/**
 * Kaiser's window.
 *
 * @param {number} x -1 to 1
 * @returns {number}
 */
function kaiser(x) {
  const beta = 0.1102 * (ATTENUATION_DB - 8.7);
  return bessel(beta * Math.sqrt(Math.max(0, 1 - x * x))) / bessel(beta);
}

/**
 * The modified Bessel function of order zero, by its power series.
 *
 * @param {number} x
 * @returns {number}
 */
function bessel(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > sum * 1e-12; k += 1) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

/**
 * @param {number} a
 * @param {number} b
 * @returns {number}
 */
function greatestCommonDivisor(a, b) {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
