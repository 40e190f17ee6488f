import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Transcript } from "../../whisperlivekit/web/transcript.js";

const gapText = ({ start, end, reason }) => `[${end - start} ${reason}]`;

/** A `committed` event with words of half a second each. */
function committed(text, start) {
  const words = text.trim().split(" ").map((word, index) => ({
    text: word,
    start: start + index / 2,
    end: start + (index + 1) / 2,
    probability: 0.9,
  }));
  return { type: "committed", seq: 0, text, words, start, end: start + words.length / 2, kept_from: 0 };
}

function partial(text, start, end) {
  return { type: "partial", seq: 0, text, start, end };
}

function gap(start, end, reason = "decode_failed") {
  return { type: "gap", seq: 0, start, end, reason, kept_from: 0 };
}

function made(...events) {
  const transcript = new Transcript();
  for (const event of events) transcript.apply(event);
  return transcript;
}

describe("Transcript", () => {
  it("replaces the whole partial text, and removes it when words are committed", () => {
    const transcript = made(partial(" при", 0, 0.5));
    assert.equal(transcript.partials[0].text, " при");
    transcript.apply(partial(" привет мир", 0, 1));
    assert.equal(transcript.partials[0].text, " привет мир");
    transcript.apply(committed(" Привет", 0));
    assert.deepEqual(transcript.partials, []);
  });

  it("only appends entries, and never changes one", () => {
    const transcript = new Transcript();
    let before = [];
    for (const event of [
      partial(" раз", 0, 0.5),
      committed(" раз два", 0),
      gap(1, 2),
      gap(2, 3),
      committed(" три.", 3),
      { type: "utterance_ended", seq: 0, start: 0, end: 4, kept_from: 0 },
      committed(" Четыре", 9),
      { type: "done", seq: 0, audio_s: 10, speech_s: 4, words: 4, utterances: 2, gap_s: 2 },
    ]) {
      transcript.apply(event);
      assert.deepEqual(transcript.entries.slice(0, before.length), before);
      before = structuredClone(transcript.entries);
    }
    assert.equal(before.length, 7);
  });

  it("opens a paragraph after a long pause, not after a short one", () => {
    const transcript = made(committed(" раз", 0), committed(" два", 1.5), committed(" три", 6));
    assert.deepEqual(transcript.entries.map((entry) => entry.kind), ["paragraph", "words", "words", "paragraph", "words"]);
    assert.equal(transcript.toText(gapText), "раз два\n\nтри\n");
  });

  it("ends a long paragraph after its current sentence", () => {
    const transcript = made(committed(` ${"слово ".repeat(130)}и`, 0), committed(" конец.", 65.5), committed(" Дальше", 66));
    assert.equal(transcript.toText(gapText).split("\n\n").length, 2);
    assert.ok(transcript.toText(gapText).endsWith("конец.\n\nДальше\n"));
  });

  it("says whether the partial text begins a paragraph", () => {
    const transcript = made(partial(" раз", 0, 0.5));
    assert.equal(transcript.partialOpensParagraph(transcript.partials[0]), true);
    transcript.apply(committed(" раз", 0));
    assert.deepEqual(transcript.partials, []);
    transcript.apply(partial(" два", 0.6, 1));
    assert.equal(transcript.partialOpensParagraph(transcript.partials[0]), false);
    transcript.apply(partial(" два", 5, 6));
    assert.equal(transcript.partialOpensParagraph(transcript.partials[0]), true);
  });

  it("shows a gap in the text, and of a gap that has grown only the new part", () => {
    const transcript = made(committed(" раз", 0), gap(1, 3), gap(1, 3), gap(2, 4), committed(" два", 4));
    assert.equal(transcript.toText(gapText), "раз [2 decode_failed] [1 decode_failed] два\n");
  });

  it("goes on counting time in a second stream", () => {
    const transcript = made(committed(" раз", 0), { type: "done", seq: 0, audio_s: 10, speech_s: 1, words: 1, utterances: 1, gap_s: 0 });
    transcript.beginStream();
    transcript.apply(committed(" два", 0.5));
    assert.equal(transcript.length, 11);
    const last = transcript.entries.at(-1);
    assert.equal(last.start, 10.5);
    assert.equal(transcript.toText(gapText), "раз\n\nдва\n");
  });

  it("is as new after it was cleared", () => {
    const transcript = made(committed(" раз", 5), partial(" два", 6, 7));
    transcript.clear();
    assert.deepEqual(transcript, new Transcript());
  });
});

describe("wordsAfter", () => {
  it("gives the words that end after a position, with times of the stream", () => {
    const words = made(committed(" раз два три четыре", 0)).wordsAfter(16000);
    assert.deepEqual(words.map((word) => word.text), [" три", " четыре"]);
    assert.deepEqual([words[0].start, words[0].end], [1, 1.5]);
  });

  it("gives no words of an earlier stream", () => {
    const transcript = made(committed(" раз два", 0), { type: "done", seq: 0, audio_s: 7, speech_s: 1, words: 2, utterances: 1, gap_s: 0 });
    transcript.beginStream();
    transcript.apply(committed(" три", 0.2));
    assert.deepEqual(transcript.wordsAfter(0), [{ text: " три", start: 0.2, end: 0.7, probability: 0.9 }]);
  });

  it("is empty at the beginning", () => {
    assert.deepEqual(new Transcript().wordsAfter(0), []);
  });
});

describe("subtitles", () => {
  it("are valid SubRip", () => {
    const transcript = made(committed(" Раз два.", 0), committed(" Три", 3661.25));
    assert.equal(
      transcript.toSrt(gapText),
      "1\n00:00:00,000 --> 00:00:01,000\nРаз два.\n\n2\n01:01:01,250 --> 01:01:01,950\nТри\n",
    );
  });

  it("are valid WebVTT, with special characters escaped", () => {
    const transcript = made(committed(" a<b & c>d", 0));
    assert.equal(transcript.toVtt(gapText), "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\na&lt;b &amp; c&gt;d\n");
  });

  it("are empty for an empty transcript", () => {
    assert.equal(new Transcript().toSrt(gapText), "");
    assert.equal(new Transcript().toVtt(gapText), "WEBVTT\n");
    assert.equal(new Transcript().toText(gapText), "");
  });

  it("are short, in order, without overlaps, and have every word", () => {
    const text = ` ${"очень длинная речь без единой точки ".repeat(20).trim()}`;
    const transcript = made(committed(text, 0));
    const cues = transcript.toSrt(gapText).trim().split("\n\n").map((cue) => cue.split("\n"));
    let last = "";
    for (const [, times, ...lines] of cues) {
      const [start, end] = times.split(" --> ");
      assert.ok(start >= last && end > start);
      last = end;
      assert.ok(lines.length <= 2);
    }
    assert.equal(cues.map((cue) => cue.slice(2).join(" ")).join(" "), text.trim());
  });

  it("end before the next one begins, even if words overlap", () => {
    const early = committed(" Первое предложение кончилось.", 0);
    early.words[2].end = 6;
    const transcript = made(early, committed(" Второе, а за ним и третье.", 5));
    const times = [...transcript.toSrt(gapText).matchAll(/(\S+) --> (\S+)/g)].map(([, start, end]) => [start, end]);
    assert.deepEqual(times[0], ["00:00:00,000", "00:00:05,000"]);
  });

  it("show a gap", () => {
    const transcript = made(committed(" раз", 0), gap(1, 3));
    assert.match(transcript.toSrt(gapText), /00:00:01,000 --> 00:00:03,000\n\[2 decode_failed\]/);
  });
});

describe("a stereo stream", () => {
  const on = (channel, event) => ({ ...event, channel });
  const call = () =>
    made(
      on(0, committed(" Алло, Максим?", 0.5)),
      on(1, committed(" Да.", 1.4)),
      on(1, committed(" Слушаю.", 2)),
      on(0, gap(3, 4)),
      on(0, committed(" Едешь?", 4)),
      { type: "done", seq: 0, audio_s: 6, speech_s: 4, words: 5, utterances: 3, gap_s: 1 },
    );

  it("is a dialogue: a paragraph ends where the other speaker begins", () => {
    assert.equal(call().toText(gapText), "1: Алло, Максим?\n\n2: Да. Слушаю.\n\n1: [1 decode_failed] Едешь?\n");
    assert.deepEqual(
      call().entries.map(({ kind, channel }) => [kind, channel]),
      [["paragraph", 0], ["words", 0], ["paragraph", 1], ["words", 1], ["words", 1], ["paragraph", 0], ["gap", 0], ["words", 0]],
    );
  });

  it("keeps one partial text of each channel", () => {
    const transcript = made(on(0, partial(" при", 0, 0.5)), on(1, partial(" да", 0.2, 0.5)));
    assert.deepEqual(transcript.partials.map(({ text, channel }) => [text, channel]), [[" при", 0], [" да", 1]]);
    transcript.apply(on(0, committed(" Привет", 0)));
    assert.deepEqual(transcript.partials.map(({ channel }) => channel), [1]);
    assert.ok(transcript.partialOpensParagraph(transcript.partials[0]), "the paragraph is the other speaker's");
    transcript.apply(on(0, partial(" мир", 0.5, 1)));
    assert.equal(transcript.partialOpensParagraph(transcript.partials[1]), false);
    transcript.dropPartials();
    assert.deepEqual(transcript.partials, []);
  });

  it("gives the words of one channel to resume it", () => {
    assert.deepEqual(call().wordsAfter(16000, 0).map(({ text }) => text), [" Максим?", " Едешь?"]);
    assert.deepEqual(call().wordsAfter(16000 * 2, 1).map(({ text }) => text), [" Слушаю."]);
  });

  it("has subtitles in the order of time, which overlap only where both speak", () => {
    const overlapping = made(on(1, committed(" Нет, я занят.", 1)), on(0, committed(" Едешь?", 0.8)), on(0, committed(" Ну?", 1.4)));
    assert.equal(
      overlapping.toSrt(gapText),
      "1\n00:00:00,800 --> 00:00:01,900\n1: Едешь? Ну?\n\n2\n00:00:01,000 --> 00:00:02,500\n2: Нет, я занят.\n",
    );
  });
});
