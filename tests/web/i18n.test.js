import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";

import { KEY_CODES } from "../../whisperlivekit/web/access.js";
import { COMMON_LANGUAGES, SPEECH_LANGUAGES, TEXTS, Translator } from "../../whisperlivekit/web/i18n.js";

const read = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");

describe("texts", () => {
  it("exist in both languages, key by key", () => {
    assert.deepEqual(Object.keys(TEXTS.en).sort(), Object.keys(TEXTS.ru).sort());
  });

  it("have the same parameters in both languages, and none is empty", () => {
    for (const [key, russian] of Object.entries(TEXTS.ru)) {
      const parameters = (text) => [...text.matchAll(/\{\w+\}/g)].map(String).sort();
      assert.deepEqual(parameters(TEXTS.en[key]), parameters(russian), key);
      assert.ok(russian.trim() !== "" && TEXTS.en[key].trim() !== "", key);
    }
  });

  it("are in their language", () => {
    for (const [key, text] of Object.entries(TEXTS.en)) assert.doesNotMatch(text, /[а-яё]/i, key);
    const same = Object.entries(TEXTS.ru).filter(([, text]) => !/[а-яё]/i.test(text)).map(([key]) => key);
    assert.deepEqual(same, []);
  });

  it("say what happened and what to do for every error of the server", () => {
    const codes = [...read("whisperlivekit/errors.py").matchAll(/^\s+code(?:: ClassVar\[str\])? = "(\w+)"/gm)].map((match) => match[1]);
    assert.ok(codes.length >= 15 && codes.includes("server_full"));
    for (const code of codes) {
      assert.ok(TEXTS.ru[`error.${code}`], code);
      assert.ok(TEXTS.ru[`error.${code}.help`], code);
    }
  });

  it("say it for every code of the page itself", () => {
    const sources = ["connection", "microphone", "recorder", "access"].map((name) => read(`whisperlivekit/web/${name}.js`)).join("\n");
    const causes = [...sources.matchAll(/(?:retryLater|end|MicrophoneError)\("(\w+)"\)|\? "(\w+)" : "(\w+)"|return "(\w+_\w+)"/g)];
    const codes = causes.flatMap((match) => match.slice(1)).filter((code) => code !== undefined && code.includes("_"));
    for (const code of ["no_answer", "microphone_denied", "no_server", "tab_ended", "wrong_key"]) assert.ok(codes.includes(code), code);
    codes.push(...KEY_CODES);
    for (const code of codes) assert.ok(TEXTS.ru[`error.${code}.help`], code);
  });

  it("name every reason of a gap in the protocol", () => {
    const row = read("docs/protocol.md").split("\n").find((line) => line.startsWith("| `gap` |"));
    const reasons = [...row.slice(row.indexOf("not transcribed")).matchAll(/`(\w+)`: /g)].map((match) => match[1]);
    assert.ok(reasons.length >= 2);
    for (const reason of reasons) assert.ok(TEXTS.ru[`gap.${reason}`], reason);
  });

  it("exist for every key that the page uses", () => {
    const pages = read("whisperlivekit/web/index.html") + read("whisperlivekit/web/status.html");
    const used = [...pages.matchAll(/data-i18n(?:-label|-title|-placeholder)?="([^"]+)"/g)].map((match) => match[1]);
    const modules = ["app", "choices", "screen", "status-page"].map((name) => read(`whisperlivekit/web/${name}.js`)).join("\n");
    const coded = [...modules.matchAll(/translator\.text\("([\w.]+)"/g)].map((match) => match[1]);
    assert.ok(used.length > 10 && coded.length > 10);
    for (const key of [...used, ...coded]) assert.ok(TEXTS.ru[key], key);
  });

  it("are the Russian texts that stand in the pages", () => {
    const pages = read("whisperlivekit/web/index.html") + read("whisperlivekit/web/status.html");
    const written = [...pages.matchAll(/data-i18n="([^"]+)"[^>]*>([^<]*)</g)];
    assert.ok(written.length > 10);
    for (const [, key, text] of written) assert.equal(text, TEXTS.ru[key]);
  });
});

describe("Translator", () => {
  it("fills in parameters, and numbers as the language writes them", () => {
    assert.equal(new Translator("ru").gap({ start: 1, end: 3.25, reason: "decode_failed" }), "[пропуск 2,3 с: сбой распознавания]");
    assert.equal(new Translator("en").gap({ start: 1, end: 3.25, reason: "new" }), "[2.3 s missing: not recognised]");
  });

  it("has a general text for an unknown error", () => {
    assert.equal(new Translator("ru").error("from_the_future").title, TEXTS.ru["error.unknown"]);
  });

  it("rejects a key that does not exist", () => {
    assert.throws(() => new Translator("ru").text("no.such"), RangeError);
  });

  it("names every spoken language in both languages", () => {
    for (const language of ["ru", "en"]) {
      const translator = new Translator(language);
      for (const code of SPEECH_LANGUAGES) assert.match(translator.languageName(code), /^\p{Lu}/u, `${language} ${code}`);
    }
    assert.equal(new Translator("ru").languageName("ru"), "Русский");
  });

  it("offers common languages that exist, Russian first", () => {
    assert.equal(COMMON_LANGUAGES[0], "ru");
    for (const code of COMMON_LANGUAGES) assert.ok(SPEECH_LANGUAGES.includes(code));
  });
});
