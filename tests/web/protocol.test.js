import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { describe, it } from "node:test";

import { EVENT_TYPES, ProtocolError, parseEvent, spacedWords, startMessage, stopMessage } from "../../whisperlivekit/web/protocol.js";
import { Transcript } from "../../whisperlivekit/web/transcript.js";

const FIXTURES = new URL("../wire/fixtures/", import.meta.url);

describe("messages to the server", () => {
  it("name the encoding and rate that the page sends, and leave out options that are not set", () => {
    const format = { type: "start", encoding: "pcm_s16le", sample_rate: 16000 };
    assert.deepEqual(JSON.parse(startMessage({ language: "ru" })), { ...format, language: "ru" });
    const options = { prompt: "Подлодка", hotwords: ["Кубань"], commit: "utterance", refine: true };
    assert.deepEqual(JSON.parse(startMessage(options)), { ...format, ...options });
  });

  it("carry everything that a resumed stream needs", () => {
    const resume = { session: "s", position: 16000, words: [{ text: " раз", start: 1, end: 1.5, probability: 0.9 }] };
    assert.deepEqual(JSON.parse(startMessage({ resume })).resume, resume);
  });

  it("end the stream with stop", () => {
    assert.deepEqual(JSON.parse(stopMessage()), { type: "stop" });
  });
});

describe("parseEvent", () => {
  it("returns the event unchanged", () => {
    const event = { type: "partial", seq: 3, text: " да", start: 0.1, end: 0.4 };
    assert.deepEqual(parseEvent(JSON.stringify(event)), event);
  });

  it("ignores an event of a later protocol", () => {
    assert.equal(parseEvent('{"type": "speaker_changed", "seq": 1}'), null);
    assert.equal(parseEvent('{"type": "constructor", "seq": 1}'), null);
  });

  it("knows exactly the events of docs/protocol.md", () => {
    const document = readFileSync(new URL("../../docs/protocol.md", import.meta.url), "utf8");
    const table = document.slice(document.indexOf("| event | fields |"), document.indexOf("`text` of `committed`"));
    const named = [...table.matchAll(/^\| `(\w+)` \|/gm)].map((match) => match[1]);
    assert.ok(named.length >= 10);
    assert.deepEqual([...EVENT_TYPES].sort(), named.sort());
  });

  for (const [what, message] of [
    ["binary", new ArrayBuffer(2)],
    ["not JSON", "{"],
    ["not an object", "7"],
    ["null", "null"],
    ["an object without a type", "{}"],
    ["an event with a missing field", '{"type": "partial", "seq": 1, "text": "да", "start": 0}'],
    ["an event with a field of a wrong type", '{"type": "speech_started", "seq": 1, "at": "0"}'],
  ]) {
    it(`rejects a message that is ${what}`, () => {
      assert.throws(() => parseEvent(message), ProtocolError);
    });
  }
});

describe("spacedWords", () => {
  const word = (text) => ({ text, start: 0, end: 1, probability: 1 });
  for (const [text, words] of [
    [" Раз, два", ["Раз,", "два"]],
    ["дом", ["дом"]],
    [" два два-три", ["два", "два", "-три"]],
    ["你好", ["你", "好"]],
    ["", []],
  ]) {
    it(`gives words that join to the text: ${JSON.stringify(text)}`, () => {
      assert.equal(spacedWords(text, words.map(word)).map((spaced) => spaced.text).join(""), text);
    });
  }

  it("puts a space before words that are not in the text", () => {
    assert.equal(spacedWords(" один", [word("1"), word("2")]).map((spaced) => spaced.text).join(""), " 1 2");
  });
});

describe("recorded conversations", () => {
  const files = existsSync(FIXTURES) ? readdirSync(FIXTURES).filter((name) => name.endsWith(".jsonl")) : [];
  const conversations = files
    .map((name) => ({ name, lines: readFileSync(new URL(name, FIXTURES), "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line)) }))
    // The page does not use the other protocols.
    .filter(({ lines }) => lines.some((line) => line.from === "server" && line.message?.type === "ready"));
  it("exist", () => {
    assert.ok(conversations.length > 0);
  });
  for (const { name, lines } of conversations) {
    const events = lines.filter((line) => line.from === "server" && line.message !== undefined).map((line) => line.message);

    it(`${name}: every event of the server is parsed unchanged`, () => {
      for (const message of events) assert.deepEqual(parseEvent(JSON.stringify(message)), message);
    });

    it(`${name}: the transcript is the committed texts joined`, () => {
      const transcript = new Transcript();
      for (const message of events) transcript.apply(parseEvent(JSON.stringify(message)));
      const words = transcript.entries.flatMap((entry) => (entry.kind === "words" ? entry.words : []));
      const texts = events.filter((message) => message.type === "committed").map((message) => message.text);
      assert.equal(words.map((word) => word.text).join(""), texts.join(""));
    });
  }
});
