import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { ChannelResampler, Resampler, SAMPLE_RATE, loudness, toInt16 } from "../../whisperlivekit/web/pcm.js";

const RATES = [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 192000];

function tone(frequency, rate, length) {
  return Float32Array.from({ length }, (_, index) => 0.5 * Math.sin((2 * Math.PI * frequency * index) / rate));
}

function noise(length) {
  let state = 12345;
  return Float32Array.from({ length }, () => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return state / 1073741824 - 1;
  });
}

function resample(samples, rate, cuts = [samples.length]) {
  const resampler = new Resampler(rate);
  const output = [];
  let from = 0;
  for (let turn = 0; from < samples.length; turn += 1) {
    const to = Math.min(samples.length, from + cuts[turn % cuts.length]);
    output.push(...resampler.feed(samples.subarray(from, to)));
    from = to;
  }
  output.push(...resampler.flush());
  return Float32Array.from(output);
}

describe("Resampler", () => {
  for (const rate of RATES) {
    it(`passes a tone of the passband unchanged and without delay: ${rate} Hz`, () => {
      const frequency = 0.4 * Math.min(rate, SAMPLE_RATE);
      const output = resample(tone(frequency, rate, rate / 2), rate);
      const expected = tone(frequency, SAMPLE_RATE, output.length);
      // Near its ends the output is affected by the silence around the stream.
      for (let index = 400; index < output.length - 400; index += 1) {
        assert.ok(Math.abs(output[index] - expected[index]) < 2e-3, `sample ${index}: ${output[index]} for ${expected[index]}`);
      }
    });

    it(`gives ceil(length * 16000 / rate) samples: ${rate} Hz`, () => {
      for (const length of [0, 1, 7, 441, 1001]) {
        assert.equal(resample(noise(length), rate).length, Math.ceil((length * SAMPLE_RATE) / rate));
      }
    });
  }

  for (const rate of [8000, 44100, 48000]) {
    it(`does not depend on how the stream is divided into chunks: ${rate} Hz`, () => {
      const samples = noise(3000);
      const whole = resample(samples, rate);
      for (const cuts of [[1], [882], [128, 1, 300, 5], [2999, 1]]) assert.deepEqual(resample(samples, rate, cuts), whole);
    });
  }

  for (const [rate, frequency] of [[48000, 8800], [48000, 15000], [44100, 9000], [44100, 20000], [96000, 40000]]) {
    it(`stops ${frequency} Hz at ${rate} Hz, which would alias into speech`, () => {
      const output = resample(tone(frequency, rate, rate / 2), rate);
      assert.ok(loudness(output.subarray(400, output.length - 400)) < 0.36 * 10 ** (-70 / 20));
    });
  }

  it("passes a constant unchanged in every phase", () => {
    const output = resample(new Float32Array(4410).fill(0.25), 44100);
    for (const sample of output.subarray(300, output.length - 300)) assert.ok(Math.abs(sample - 0.25) < 1e-6);
  });

  it("delays the stream by the length of its filter and no more", () => {
    const resampler = new Resampler(48000);
    const made = resampler.feed(new Float32Array(4800)).length;
    assert.ok(made >= 1600 - 0.005 * SAMPLE_RATE, `${made} of 1600`);
  });

  it("does not return the caller's memory, which the worklet uses again", () => {
    const samples = new Float32Array([0.1, 0.2]);
    const output = new Resampler(16000).feed(samples);
    samples.fill(0);
    assert.deepEqual(output, new Float32Array([0.1, 0.2]));
  });

  it("rejects rates that are not whole positive numbers", () => {
    for (const rate of [0, -1, 44100.5, NaN]) assert.throws(() => new Resampler(rate), RangeError);
  });
});

describe("ChannelResampler", () => {
  it("converts each of two interleaved channels as a Resampler would", () => {
    const channels = [tone(440, 48000, 4800), tone(880, 48000, 4800)];
    const interleaved = Float32Array.from({ length: 9600 }, (_, index) => channels[index % 2][index >> 1]);
    const both = new ChannelResampler(48000, 2);
    const output = [both.feed(interleaved.subarray(0, 1920)), both.feed(interleaved.subarray(1920)), both.flush()].flatMap((part) => [...part]);
    channels.forEach((samples, channel) => {
      const alone = new Resampler(48000);
      assert.deepEqual(
        output.filter((_, index) => index % 2 === channel),
        [alone.feed(samples.subarray(0, 960)), alone.feed(samples.subarray(960)), alone.flush()].flatMap((part) => [...part]),
      );
    });
  });

  it("is a Resampler for one channel", () => {
    const samples = tone(440, 44100, 4410);
    assert.deepEqual(new ChannelResampler(44100, 1).feed(samples), new Resampler(44100).feed(samples));
  });
});

describe("toInt16", () => {
  it("uses the whole range and clips values outside it", () => {
    const output = toInt16(new Float32Array([0, 0.5, -0.5, 1, -1, 1.5, -7, 1 / 32768]));
    assert.deepEqual([...output], [0, 16384, -16384, 32767, -32768, 32767, -32768, 1]);
  });

  it("turns NaN into silence", () => {
    assert.deepEqual([...toInt16(new Float32Array([NaN]))], [0]);
  });
});

describe("loudness", () => {
  it("is the root mean square", () => {
    assert.equal(loudness(new Float32Array(0)), 0);
    assert.equal(loudness(new Float32Array([0.5, -0.5])), 0.5);
  });
});
