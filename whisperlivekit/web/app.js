/**
 * The recording page: joins the other modules to the elements. The only module that knows the ids of index.html.
 *
 * What the page is doing is one value, `recorder.state` (state.js says what it can be). `render` shows it; nothing else is kept
 * here except what the transcript, the view and the storages keep themselves.
 */

import { KEY_CODES, KeyStore, keyProblem, subprotocols, takeKey } from "./access.js";
import { STEREO_TAB, TAB, languageChoices, sourceChoices } from "./choices.js";
import { Connection, diagnose, endpoints } from "./connection.js";
import { setText, translateDocument } from "./dom.js";
import { FORMATS, fileContent, fileName } from "./files.js";
import { Translator } from "./i18n.js";
import { KeyForm } from "./key-form.js";
import { LevelMeter } from "./level.js";
import { Microphone, canCaptureTab, listMicrophones } from "./microphone.js";
import { Recorder } from "./recorder.js";
import { present } from "./screen.js";
import { ScreenLock } from "./screen-lock.js";
import { SafeStorage } from "./storage.js";
import { Transcript } from "./transcript.js";
import { View } from "./view.js";

/** How long the copy button says that it has copied. */
const COPIED_MS = 1500;

/** Safari reads a download only some time after the click. */
const DOWNLOAD_MS = 10_000;

const $ = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const button = (/** @type {string} */ id) => /** @type {HTMLButtonElement} */ ($(id));
const select = (/** @type {string} */ id) => /** @type {HTMLSelectElement} */ ($(id));
const input = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ ($(id));

const elements = {
  pages: { ru: button("page-ru"), en: button("page-en") },
  keyButton: button("key-open"),
  source: select("source"),
  language: select("language"),
  suppression: input("suppression"),
  copy: button("copy"),
  copyText: $("copy-text"),
  save: { txt: button("save-txt"), srt: button("save-srt"), vtt: button("save-vtt") },
  clear: button("clear"),
  notice: $("notice"),
  noticeTitle: $("notice-title"),
  noticeHelp: $("notice-help"),
  noticeDetail: $("notice-detail"),
  noticeClose: button("notice-close"),
  retry: button("retry"),
  scroller: $("scroller"),
  empty: $("empty"),
  log: $("log"),
  toEnd: $("to-end"),
  dock: $("dock"),
  state: $("state"),
  timer: $("timer"),
  lag: $("lag"),
  level: /** @type {HTMLCanvasElement} */ ($("level")),
  record: button("record"),
  recordText: $("record-text"),
};

const preferences = new SafeStorage(() => localStorage);
const keys = new KeyStore({ tab: new SafeStorage(() => sessionStorage), device: preferences });
const translator = new Translator(preferences.get("page") === "en" ? "en" : "ru");
const gapText = (/** @type {import("./transcript.js").GapEntry} */ gap) => translator.gap(gap);
const transcript = new Transcript();
const view = new View({ scroller: elements.scroller, log: elements.log, toEnd: elements.toEnd, gapText });
const level = new LevelMeter(elements.level);
const screenLock = new ScreenLock(navigator.wakeLock);
const addresses = endpoints(document.baseURI);

const recorder = new Recorder({
  createMicrophone: (handlers) => new Microphone(handlers),
  openConnection: (handlers) => {
    transcript.beginStream();
    view.follow();
    elements.log.lang = elements.language.value === "auto" ? "" : elements.language.value;
    void screenLock.acquire();
    const { key } = keys;
    return new Connection({
      url: addresses.socket,
      protocols: subprotocols(key),
      start: { language: elements.language.value, ...(isStereo() ? { channels: 2, multichannel: true } : {}) },
      committedAfter: (position, channel) => transcript.wordsAfter(position, channel),
      diagnose: () => diagnose({ ...addresses, key }),
      ...handlers,
    });
  },
  onChange: ({ phase }) => {
    if (phase === "idle") void screenLock.release();
    render();
  },
  onEvent: (event) => {
    transcript.apply(event);
    if (event.type === "ready" && event.language !== null) elements.log.lang = event.language;
    view.render(transcript);
  },
  onConnectionDown: () => {
    // The next server says this part again.
    transcript.dropPartials();
    view.render(transcript);
  },
  onLoudness: (loudness, duration_s) => level.push(loudness, duration_s),
});

const keyForm = new KeyForm({
  form: /** @type {HTMLFormElement} */ ($("key-form")),
  input: input("key"),
  remember: input("key-remember"),
  forget: button("key-forget"),
  keys,
  invalidText: () => translator.text("key.invalid"),
  onChange: () => void checkKey(true),
});

// What the page shows

function render() {
  const { state } = recorder;
  const screen = present(
    state,
    {
      hasText: !transcript.empty,
      hasPartial: transcript.partials.length > 0,
      length_s: transcript.length,
      offset_s: transcript.offset,
      unsent_s: recorder.unsent_s,
      now_ms: Date.now(),
    },
    translator,
  );
  setText(elements.state, screen.state);
  setText(elements.timer, screen.timer);
  setText(elements.lag, screen.lag);
  setText(elements.recordText, screen.button);
  elements.dock.dataset.phase = state.phase;
  elements.dock.dataset.tone = screen.tone;
  renderNotice(screen.notice);
  for (const choice of [elements.source, elements.language, elements.suppression]) choice.disabled = !screen.idle;
  for (const control of [elements.copy, ...Object.values(elements.save)]) control.disabled = !screen.canSave;
  elements.clear.disabled = !screen.canClear;
  elements.empty.hidden = !screen.empty;
  // Not `disabled`: that would take the keyboard's focus away from the button that is needed next.
  elements.record.setAttribute("aria-disabled", String(state.phase === "asking"));
  elements.keyButton.hidden = keys.key === null;
  elements.keyButton.disabled = !screen.idle;
  if (document.title !== screen.title) document.title = screen.title;
}

/** @param {import("./screen.js").Notice | null} notice */
function renderNotice(notice) {
  elements.notice.hidden = notice === null;
  keyForm.show(notice?.keyForm ?? false);
  if (notice === null) return;
  elements.notice.dataset.code = notice.code;
  elements.notice.dataset.tone = notice.tone;
  setText(elements.noticeTitle, notice.title);
  setText(elements.noticeHelp, notice.help);
  setText(elements.noticeDetail, notice.detail);
  elements.retry.hidden = !notice.retry;
  elements.noticeClose.hidden = notice.retry;
}

/** Writes all texts of the page in its language. */
function translate() {
  for (const [language, choice] of Object.entries(elements.pages)) {
    choice.setAttribute("aria-pressed", String(language === translator.language));
  }
  translateDocument(translator);
  setText(elements.copyText, translator.text("button.copy"));
  elements.copy.title = translator.text("button.copy");
  for (const format of FORMATS) {
    const name = translator.text("button.save.as", { format: format.toUpperCase() });
    elements.save[format].title = name;
    elements.save[format].setAttribute("aria-label", name);
  }
  const language = elements.language.value || preferences.get("language") || "ru";
  fill(elements.language, languageChoices(translator), language, "ru");
  void fillSources();
  render();
}

async function fillSources() {
  const choices = sourceChoices(await listMicrophones(), canCaptureTab(), translator);
  fill(elements.source, choices, elements.source.value || preferences.get("source") || "", "");
}

/**
 * @param {HTMLSelectElement} list
 * @param {(import("./choices.js").Choice | import("./choices.js").Group)[]} content
 * @param {string} chosen
 * @param {string} otherwise chosen where the list does not have `chosen`
 */
function fill(list, content, chosen, otherwise) {
  list.replaceChildren(
    ...content.map((item) => {
      if (!("group" in item)) return new Option(item.text, item.value);
      const group = document.createElement("optgroup");
      group.label = item.group;
      group.append(...item.choices.map(({ text, value }) => new Option(text, value)));
      return group;
    }),
  );
  list.value = chosen;
  if (list.selectedIndex < 0) list.value = otherwise;
}

// Recording

/** @returns {boolean} each channel of the source is a speaker */
function isStereo() {
  return elements.source.value === STEREO_TAB;
}

async function start() {
  level.clear();
  const tab = elements.source.value === TAB || isStereo();
  await recorder.start({
    kind: tab ? "tab" : "microphone",
    deviceId: tab ? undefined : elements.source.value,
    noiseSuppression: elements.suppression.checked,
    stereo: isStereo(),
  });
  // Browsers give the names of microphones only when one has been allowed.
  if (recorder.state.phase === "recording") void fillSources();
}

// The access key

/** @param {boolean} byUser the user waits for the answer */
async function checkKey(byUser) {
  const problem = await keyProblem(addresses.stream, keys.key);
  if (recorder.state.phase !== "idle") return; // the connection has its own answer by now
  if (problem !== null) {
    if (byUser || recorder.state.problem === null) recorder.report(problem);
    if (byUser) keyForm.focus();
  } else if (byUser) {
    dismissKey();
    elements.record.focus();
  }
}

function dismissKey() {
  const code = recorder.state.problem?.code;
  if (code !== undefined && KEY_CODES.has(code)) recorder.dismiss(code);
  else render();
}

function toggleKeyForm() {
  if (KEY_CODES.has(recorder.state.problem?.code ?? "")) {
    dismissKey();
    return;
  }
  recorder.report("key_saved");
  keyForm.focus();
}

// Taking the text away

async function copy() {
  try {
    await navigator.clipboard.writeText(fileContent(transcript, "txt", gapText));
  } catch {
    // Forbidden, or the page is not secure: the clipboard's errors do not say which.
    recorder.report("copy_failed");
    return;
  }
  setText(elements.copyText, translator.text("button.copied"));
  window.setTimeout(() => setText(elements.copyText, translator.text("button.copy")), COPIED_MS);
}

/** @param {import("./files.js").Format} format */
function save(format) {
  const url = URL.createObjectURL(new Blob([fileContent(transcript, format, gapText)], { type: "text/plain;charset=utf-8" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = fileName(new Date(), format);
  link.click();
  window.setTimeout(() => URL.revokeObjectURL(url), DOWNLOAD_MS);
}

function clear() {
  if (recorder.state.phase !== "idle" || !window.confirm(translator.text("button.clear.confirm"))) return;
  transcript.clear();
  view.clear();
  level.clear();
  recorder.clear();
  elements.record.focus();
}

// Events of the page

elements.record.addEventListener("click", () => {
  const { phase } = recorder.state;
  if (phase === "idle") void start();
  else if (phase === "recording") void recorder.stop();
  else recorder.abandon();
});
for (const language of /** @type {const} */ (["ru", "en"])) {
  elements.pages[language].addEventListener("click", () => {
    translator.language = language;
    preferences.set("page", language);
    translate();
  });
}
elements.source.addEventListener("change", () => preferences.set("source", elements.source.value));
elements.language.addEventListener("change", () => preferences.set("language", elements.language.value));
elements.suppression.addEventListener("change", () => preferences.set("suppression", String(elements.suppression.checked)));
elements.copy.addEventListener("click", () => void copy());
for (const format of FORMATS) elements.save[format].addEventListener("click", () => save(format));
elements.clear.addEventListener("click", clear);
elements.keyButton.addEventListener("click", toggleKeyForm);
elements.retry.addEventListener("click", () => recorder.retryNow());
elements.noticeClose.addEventListener("click", () => recorder.dismiss(elements.notice.dataset.code ?? ""));
navigator.mediaDevices?.addEventListener?.("devicechange", () => void fillSources());
window.addEventListener("online", () => recorder.retryNow());
window.addEventListener("hashchange", () => {
  if (takeKey(keys, location, history)) void checkKey(true);
});
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "visible" || recorder.state.phase === "idle") return;
  recorder.resumeSound();
  void screenLock.acquire();
});
window.addEventListener("beforeunload", (event) => {
  const { phase } = recorder.state;
  if (phase === "recording" || phase === "stopping") event.preventDefault();
});

takeKey(keys, location, history);
elements.suppression.checked = preferences.get("suppression") === "true";
translate();
if (window.isSecureContext) void checkKey(false);
else recorder.report("not_secure");
