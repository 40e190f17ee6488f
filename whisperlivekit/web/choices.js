/**
 * What the lists of languages and sources offer. Pure.
 *
 * @typedef {{text: string, value: string}} Choice
 * @typedef {{group: string, choices: Choice[]}} Group
 * @typedef {import("./i18n.js").Translator} Translator
 */

import { COMMON_LANGUAGES, SPEECH_LANGUAGES } from "./i18n.js";

/** Values of the sources that are a tab or the screen; ids of devices have no spaces. */
export const TAB = "a tab";
export const STEREO_TAB = "a stereo tab";

/** Languages that stand above all groups. */
const FIRST = 2;

/**
 * @param {Translator} translator
 * @returns {(Choice | Group)[]} the most used languages first, the others by their names
 */
export function languageChoices(translator) {
  const named = (/** @type {readonly string[]} */ codes) =>
    codes.map((code) => ({ text: translator.languageName(code), value: code }));
  const others = SPEECH_LANGUAGES.filter((code) => !COMMON_LANGUAGES.includes(code));
  return [
    ...named(COMMON_LANGUAGES.slice(0, FIRST)),
    { text: translator.text("option.auto"), value: "auto" },
    { group: translator.text("option.common"), choices: named(COMMON_LANGUAGES.slice(FIRST)) },
    {
      group: translator.text("option.all"),
      choices: named(others).sort((a, b) => a.text.localeCompare(b.text, translator.language)),
    },
  ];
}

/**
 * @param {readonly {deviceId: string, label: string}[]} devices
 * @param {boolean} withTab the browser can share the sound of a tab
 * @param {Translator} translator
 * @returns {Choice[]} the default microphone first; its value is empty
 */
export function sourceChoices(devices, withTab, translator) {
  const named = devices.map(({ deviceId, label }, index) => ({
    text: label || translator.text("option.microphone", { number: index + 1 }),
    value: deviceId,
  }));
  const tabs = [
    { text: translator.text("option.tab"), value: TAB },
    { text: translator.text("option.tab.stereo"), value: STEREO_TAB },
  ];
  return [{ text: translator.text("option.default"), value: "" }, ...named, ...(withTab ? tabs : [])];
}
