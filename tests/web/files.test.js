import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { FORMATS, fileContent, fileName } from "../../whisperlivekit/web/files.js";
import { Transcript } from "../../whisperlivekit/web/transcript.js";

describe("fileName", () => {
  it("has the local time, so that names sort by it", () => {
    const names = [new Date(2024, 0, 2, 3, 4), new Date(2024, 9, 12, 13, 14)].map((date) => fileName(date, "srt"));
    assert.deepEqual(names, ["transcript-2024-01-02-0304.srt", "transcript-2024-10-12-1314.srt"]);
  });
});

describe("fileContent", () => {
  it("is another one for each format, with the same words", () => {
    const transcript = new Transcript();
    transcript.apply({ type: "committed", text: " Раз.", words: [{ text: "Раз.", start: 0, end: 1, probability: 1 }], start: 0, end: 1, kept_from: 0 });
    const contents = FORMATS.map((format) => fileContent(transcript, format, () => ""));
    assert.deepEqual(contents, [
      "Раз.\n",
      "1\n00:00:00,000 --> 00:00:01,000\nРаз.\n",
      "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nРаз.\n",
    ]);
  });
});
