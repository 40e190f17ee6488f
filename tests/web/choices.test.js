import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { STEREO_TAB, TAB, languageChoices, sourceChoices } from "../../whisperlivekit/web/choices.js";
import { SPEECH_LANGUAGES, Translator } from "../../whisperlivekit/web/i18n.js";

describe("languageChoices", () => {
  for (const language of ["ru", "en"]) {
    it(`offers every language of Whisper once, and detection, in ${language}`, () => {
      const items = languageChoices(new Translator(language));
      const values = items.flatMap((item) => ("group" in item ? item.choices : [item])).map(({ value }) => value);
      assert.deepEqual([...values].sort(), [...SPEECH_LANGUAGES, "auto"].sort());
      assert.equal(values[0], "ru");
    });
  }

  it("sorts the other languages by their names", () => {
    const { choices } = languageChoices(new Translator("ru")).at(-1);
    const names = choices.map(({ text }) => text);
    assert.deepEqual(names, [...names].sort((a, b) => a.localeCompare(b, "ru")));
  });
});

describe("sourceChoices", () => {
  const translator = new Translator("ru");
  it("begins with the default, numbers microphones without a name, and ends with the tabs", () => {
    const devices = [{ deviceId: "a", label: "" }, { deviceId: "b", label: "Headset" }];
    assert.deepEqual(sourceChoices(devices, true, translator), [
      { text: "Микрофон по умолчанию", value: "" },
      { text: "Микрофон 1", value: "a" },
      { text: "Headset", value: "b" },
      { text: "Звук вкладки или экрана…", value: TAB },
      { text: "Вкладка, стерео: два говорящих…", value: STEREO_TAB },
    ]);
  });

  it("offers no tab where the browser cannot share one", () => {
    assert.deepEqual(sourceChoices([], false, translator).map(({ value }) => value), [""]);
  });
});
