/**
 * Wires the modules to the page; the only file that knows its element ids.
 *
 *   idle       -> starting    the button; the browser asks for the microphone
 *   starting   -> recording   there is sound; the connection is made beside it, sound waits for it
 *   recording  -> finishing   the button, or the sound ended: the last words are on their way
 *   finishing  -> idle        `done`, or the user gave up
 *   any        -> idle        an error that trying again does not cure
 *
 * Long because the page has many elements; what can be tested without them is in the other modules.
 */

import { Connection, askWhy } from "./connection.js";
import { COMMON, SPOKEN, Translator } from "./i18n.js";
import { LevelMeter } from "./level.js";
import { Microphone, MicrophoneError, canCaptureTab, listMicrophones } from "./microphone.js";
import { Resampler, SAMPLE_RATE, loudness, toInt16 } from "./pcm.js";
import { Transcript } from "./transcript.js";
import { View, timeText } from "./view.js";

/** An outage shorter than this is told by the state line alone. */
const OUTAGE_MS = 2500;

/** Below this loudness a microphone gives nothing, not even noise; seconds of it before the page says so. */
const DEAD_LOUDNESS = 1e-5;
const DEAD_S = 6;

/** Value of the choice of sources that stands for a tab; device ids have no spaces. */
const TAB = "a tab";

const $ = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const parts = {
  pageRu: $("page-ru"),
  pageEn: $("page-en"),
  source: /** @type {HTMLSelectElement} */ ($("source")),
  language: /** @type {HTMLSelectElement} */ ($("language")),
  suppression: /** @type {HTMLInputElement} */ ($("suppression")),
  copy: /** @type {HTMLButtonElement} */ ($("copy")),
  copyText: $("copy-text"),
  save: {
    txt: /** @type {HTMLButtonElement} */ ($("save-txt")),
    srt: /** @type {HTMLButtonElement} */ ($("save-srt")),
    vtt: /** @type {HTMLButtonElement} */ ($("save-vtt")),
  },
  clear: /** @type {HTMLButtonElement} */ ($("clear")),
  notice: $("notice"),
  noticeTitle: $("notice-title"),
  noticeHelp: $("notice-help"),
  noticeDetail: $("notice-detail"),
  noticeClose: $("notice-close"),
  retry: $("retry"),
  scroller: $("scroller"),
  empty: $("empty"),
  log: $("log"),
  toEnd: $("to-end"),
  dock: $("dock"),
  state: $("state"),
  timer: $("timer"),
  lag: $("lag"),
  level: /** @type {HTMLCanvasElement} */ ($("level")),
  record: /** @type {HTMLButtonElement} */ ($("record")),
  recordText: $("record-text"),
};

const translator = new Translator(recall("page") === "en" ? "en" : "ru");
const transcript = new Transcript();
const level = new LevelMeter(parts.level);
const view = new View({ scroller: parts.scroller, log: parts.log, toEnd: parts.toEnd, gapText: (gap) => translator.gap(gap) });

/** @type {"idle" | "starting" | "recording" | "finishing"} */
let phase = "idle";
/** @type {Microphone | null} */
let microphone = null;
/** @type {Resampler | null} */
let resampler = null;
/** @type {Connection | null} */
let connection = null;
/** @type {import("./connection.js").Status | null} */
let status = null;
/** When the connection was last other than live. @type {number | null} */
let outage = null;
let speaking = false;
let paused = false;
/** Seconds of the current stream: recorded here, received there, and how far behind that the text is. */
let recorded = 0;
let received = 0;
let behind = 0;
/** Seconds without any sound at all. */
let dead = 0;
/** What ended the last recording; stays until the next one. @type {{code: string, session: string | null} | null} */
let failure = null;
/** Codes of hints that the user closed during this recording. @type {Set<string>} */
const dismissed = new Set();
/** @type {number | undefined} */
let ticking;
/** @type {WakeLockSentinel | null} */
let wakeLock = null;

// Recording

async function start() {
  if (phase !== "idle") return;
  phase = "starting";
  failure = null;
  status = null;
  speaking = paused = false;
  recorded = received = behind = dead = 0;
  dismissed.clear();
  level.clear();
  const tab = parts.source.value === TAB;
  const opened = new Microphone({
    onSamples: hear,
    onEnded: () => stop(tab ? "tab_ended" : "microphone_lost"),
    onPaused: (now) => {
      paused = now;
      render();
    },
  });
  microphone = opened;
  render();
  try {
    await opened.start({
      kind: tab ? "tab" : "microphone",
      deviceId: tab ? undefined : parts.source.value,
      noiseSuppression: parts.suppression.checked,
    });
  } catch (error) {
    microphone = null;
    phase = "idle";
    failure = { code: error instanceof MicrophoneError ? error.code : "unknown", session: null };
    render();
    if (!(error instanceof MicrophoneError)) throw error;
    return;
  }
  phase = "recording";
  resampler = new Resampler(opened.sampleRate);
  transcript.beginStream();
  view.follow();
  const { socket, protocols, why } = addresses();
  connection = new Connection({
    url: socket,
    protocols,
    start: { language: parts.language.value },
    onEvent: receive,
    onStatus: follow,
    committedAfter: (position) => transcript.after(position),
    probe: () => askWhy(why),
  });
  ticking = window.setInterval(render, 250);
  parts.log.lang = parts.language.value === "auto" ? "" : parts.language.value;
  keepAwake();
  fillSources();
  render();
}

/**
 * Where the server is: beside the page, wherever a proxy has put that. A link to the page can carry a key (`#key=...`): what
 * follows the # is not sent and stands in no log.
 */
function addresses() {
  const stream = new URL("ws", document.baseURI);
  const key = new URLSearchParams(location.hash.slice(1)).get("key");
  // A browser cannot set headers of a WebSocket. A subprotocol takes most keys, and unlike the address nobody logs it.
  const fits = key !== null && /^[\w!#$%&'*+.^`|~-]+$/.test(key);
  if (key !== null && !fits) stream.searchParams.set("token", key);
  const socket = new URL(stream);
  socket.protocol = socket.protocol === "https:" ? "wss:" : "ws:";
  const why = { ready: new URL("ready", document.baseURI).href, stream: stream.href, key };
  return { socket: socket.href, protocols: key !== null && fits ? ["token", key] : [], why };
}

/** @param {string} [code] why, if not because the user wants to */
async function stop(code) {
  if (phase !== "recording") return;
  phase = "finishing";
  if (code !== undefined) failure = { code, session: null };
  render();
  const stream = connection;
  await microphone?.stop();
  // Meanwhile the stream can have ended, and even a new one begun.
  if (stream === null || stream !== connection) return;
  microphone = null;
  if (resampler !== null) stream.push(toInt16(resampler.flush()));
  stream.stop();
  render();
}

/** @param {Float32Array} samples a chunk in the microphone's rate */
function hear(samples) {
  if (resampler === null || connection === null || microphone === null) return;
  const seconds = samples.length / microphone.sampleRate;
  const loud = loudness(samples);
  level.push(loud, seconds);
  dead = loud < DEAD_LOUDNESS ? dead + seconds : 0;
  const output = toInt16(resampler.feed(samples));
  recorded += output.length / SAMPLE_RATE;
  connection.push(output);
}

/** @param {import("./protocol.js").ServerEvent} event */
function receive(event) {
  transcript.apply(event);
  if (event.type === "speech_started") speaking = true;
  else if (event.type === "speech_stopped") speaking = false;
  else if (event.type === "ready" && event.language !== null) parts.log.lang = event.language;
  else if (event.type === "progress") {
    received = event.received_s;
    behind = event.lag_s;
  }
  view.render(transcript);
  render();
}

/** @param {import("./connection.js").Status} now */
function follow(now) {
  status = now;
  if (now.state === "live") outage = null;
  else outage ??= Date.now();
  if (now.state !== "live") {
    speaking = false;
    // The next server says this part again.
    transcript.dropPartial();
    view.render(transcript);
  }
  if (now.state === "ended") void end(now);
  else render();
}

/** @param {import("./connection.js").Status} last */
async function end({ cause, session }) {
  window.clearInterval(ticking);
  if (cause !== null) failure = { code: cause, session };
  const open = microphone;
  microphone = connection = resampler = null;
  outage = null;
  phase = "idle";
  letSleep();
  render();
  await open?.stop();
}

// What the page shows

/** @returns {{text: string, tone: string}} */
function stateLine() {
  // No countdown here: a screen reader would speak every second of it.
  const t = (/** @type {string} */ key) => translator.text(key);
  if (phase === "idle") {
    if (failure !== null && failure.code !== "copy_failed" && recorded > 0) return { text: t("state.failed"), tone: "error" };
    return { text: t(transcript.empty ? "state.idle" : "state.done"), tone: "calm" };
  }
  if (phase === "starting") return { text: t("state.starting"), tone: "busy" };
  if (status?.state !== "live") {
    if (status?.cause === "model_loading") return { text: t("state.loading"), tone: "busy" };
    if (status?.cause === "server_full") return { text: t("state.full"), tone: "warn" };
    if (phase === "finishing") return { text: t("state.finishing"), tone: "busy" };
    if (status?.cause === null && status.session === null) return { text: t("state.connecting"), tone: "busy" };
    if (status?.retryAt && lasts() && phase === "recording") return { text: t("state.retrying"), tone: "warn" };
    return { text: t("state.reconnecting"), tone: "warn" };
  }
  if (phase === "finishing") return { text: t("state.finishing"), tone: "busy" };
  if (paused) return { text: t("state.paused"), tone: "warn" };
  return speaking ? { text: t("state.speaking"), tone: "speech" } : { text: t("state.listening"), tone: "live" };
}

/** @returns {boolean} the outage is long enough to be explained */
function lasts() {
  return outage !== null && Date.now() - outage > OUTAGE_MS;
}

/** @returns {string} seconds */
function untilRetry() {
  return String(Math.max(1, Math.ceil(((status?.retryAt ?? 0) - Date.now()) / 1000)));
}

/** @returns {{code: string, tone: "warn" | "error", detail: string, retry: boolean} | null} */
function noticeNow() {
  const explained = status?.cause === "server_full" || status?.cause === "model_loading";
  if (phase !== "idle" && status?.cause && status.state !== "live" && (lasts() || explained)) {
    const waits = status.state === "waiting" && phase === "recording";
    const unsent = phase === "finishing" ? translator.text("notice.kept", { seconds: translator.number(connection?.unsent_s ?? 0) }) : "";
    const detail = waits ? translator.text("notice.retry", { seconds: untilRetry() }) : unsent;
    return { code: status.cause, tone: "warn", detail, retry: status.state === "waiting" };
  }
  if (failure !== null) {
    const report = [translator.text("notice.report", { code: failure.code })];
    if (failure.session !== null) report.push(translator.text("notice.session", { session: failure.session }));
    // A code helps the administrator; it would only frighten where the user can help himself.
    return { code: failure.code, tone: "error", detail: failure.session === null ? "" : report.join(", "), retry: false };
  }
  if (phase === "recording" && dead > DEAD_S) return { code: "silent_microphone", tone: "warn", detail: "", retry: false };
  return null;
}

function render() {
  const line = stateLine();
  put(parts.state, line.text);
  parts.dock.dataset.phase = phase;
  parts.dock.dataset.tone = line.tone;

  const notice = noticeNow();
  const shown = notice !== null && !dismissed.has(notice.code);
  parts.notice.hidden = !shown;
  if (shown) {
    const { title, help } = translator.error(notice.code);
    parts.notice.dataset.tone = notice.tone;
    put(parts.noticeTitle, title);
    put(parts.noticeHelp, help);
    put(parts.noticeDetail, notice.detail);
    parts.retry.hidden = !notice.retry;
    parts.noticeClose.hidden = notice.retry;
    parts.notice.dataset.code = notice.code;
  }

  const seconds = phase === "idle" ? transcript.length : transcript.offset + recorded;
  put(parts.timer, timeText(seconds));
  const lag = lagNow();
  put(parts.lag, phase !== "idle" && lag >= 0.05 ? translator.text("state.lag", { seconds: translator.number(lag) }) : "");

  const idle = phase === "idle";
  parts.source.disabled = parts.language.disabled = parts.suppression.disabled = !idle;
  parts.empty.hidden = !transcript.empty || transcript.partial !== null;
  parts.copy.disabled = transcript.empty;
  for (const button of Object.values(parts.save)) button.disabled = transcript.empty;
  parts.clear.disabled = transcript.empty || !idle;
  const action = { idle: transcript.empty ? "start" : "continue", starting: "abandon", recording: "stop", finishing: "abandon" }[phase];
  put(parts.recordText, translator.text(`button.${action}`));
  // Not `disabled`: that would take the keyboard's focus away from the button that is needed next.
  parts.record.setAttribute("aria-disabled", String(phase === "starting"));
  const title = translator.text("page.title");
  const wanted = idle ? title : `${translator.text("page.recording")} · ${title}`;
  if (document.title !== wanted) document.title = wanted;
}

/** @returns {number} seconds between what is being said and what is settled; 0 in silence */
function lagNow() {
  const waiting = Math.max(0, recorded - received);
  if (status?.state !== "live") return waiting > 1 ? waiting : 0;
  // Progress comes once a second of audio, so about a second is always on its way.
  return behind + (waiting > 1.5 ? waiting - 1 : 0);
}

/**
 * Screen readers speak what changes, so only what changes is written.
 *
 * @param {HTMLElement} element
 * @param {string} text
 */
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Writes all texts of the page in its language. */
function translate() {
  document.documentElement.lang = translator.language;
  parts.pageRu.setAttribute("aria-pressed", String(translator.language === "ru"));
  parts.pageEn.setAttribute("aria-pressed", String(translator.language === "en"));
  for (const element of document.querySelectorAll("[data-i18n]")) {
    element.textContent = translator.text(/** @type {HTMLElement} */ (element).dataset.i18n ?? "");
  }
  for (const element of document.querySelectorAll("[data-i18n-label]")) {
    element.setAttribute("aria-label", translator.text(/** @type {HTMLElement} */ (element).dataset.i18nLabel ?? ""));
  }
  for (const element of document.querySelectorAll("[data-i18n-title]")) {
    element.setAttribute("title", translator.text(/** @type {HTMLElement} */ (element).dataset.i18nTitle ?? ""));
  }
  put(parts.copyText, translator.text("button.copy"));
  for (const [format, button] of Object.entries(parts.save)) {
    const name = translator.text("button.save.as", { format: format.toUpperCase() });
    button.title = name;
    button.setAttribute("aria-label", name);
  }
  parts.copy.title = translator.text("button.copy");
  fillLanguages();
  fillSources();
  render();
}

function fillLanguages() {
  const chosen = parts.language.value || recall("language") || "ru";
  const named = (/** @type {readonly string[]} */ codes) => codes.map((code) => new Option(translator.languageName(code), code));
  const others = named(SPOKEN.filter((code) => !COMMON.includes(code))).sort((a, b) => a.text.localeCompare(b.text, translator.language));
  parts.language.replaceChildren(
    ...named(COMMON.slice(0, 2)),
    new Option(translator.text("option.auto"), "auto"),
    group(translator.text("option.common"), named(COMMON.slice(2))),
    group(translator.text("option.all"), others),
  );
  parts.language.value = chosen;
  if (parts.language.selectedIndex < 0) parts.language.value = "ru";
}

async function fillSources() {
  const devices = await listMicrophones();
  const chosen = parts.source.value || recall("source") || "";
  parts.source.replaceChildren(
    new Option(translator.text("option.default"), ""),
    ...devices.map(({ deviceId, label }, index) => new Option(label || translator.text("option.microphone", { number: index + 1 }), deviceId)),
  );
  if (canCaptureTab()) parts.source.append(new Option(translator.text("option.tab"), TAB));
  parts.source.value = chosen;
  if (parts.source.selectedIndex < 0) parts.source.value = "";
}

/**
 * @param {string} label
 * @param {HTMLOptionElement[]} options
 * @returns {HTMLOptGroupElement}
 */
function group(label, options) {
  const element = document.createElement("optgroup");
  element.label = label;
  element.append(...options);
  return element;
}

// Taking the text away

async function copy() {
  try {
    await navigator.clipboard.writeText(transcript.toText((gap) => translator.gap(gap)));
  } catch {
    // Not allowed, or not a secure page. The error tree of the clipboard says no more than that.
    failure = { code: "copy_failed", session: null };
    render();
    return;
  }
  put(parts.copyText, translator.text("button.copied"));
  window.setTimeout(() => put(parts.copyText, translator.text("button.copy")), 1500);
}

/** @param {"txt" | "srt" | "vtt"} format */
function save(format) {
  const gapText = (/** @type {import("./transcript.js").GapEntry} */ gap) => translator.gap(gap);
  const text = { txt: () => transcript.toText(gapText), srt: () => transcript.toSrt(gapText), vtt: () => transcript.toVtt(gapText) }[format]();
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = `${stamp(new Date())}.${format}`;
  link.click();
  // Safari reads the blob only after the click has been handled.
  window.setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/**
 * @param {Date} date
 * @returns {string} a file name in local time that sorts by it
 */
function stamp(date) {
  const local = new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString();
  return `transcript-${local.slice(0, 10)}-${local.slice(11, 16).replace(":", "")}`;
}

function clear() {
  if (phase !== "idle" || !window.confirm(translator.text("button.clear.confirm"))) return;
  transcript.clear();
  failure = null;
  view.clear();
  level.clear();
  render();
  parts.record.focus();
}

// Small things

/** A phone that falls asleep would stop listening. */
async function keepAwake() {
  if (!("wakeLock" in navigator) || document.visibilityState !== "visible") return;
  try {
    wakeLock = await navigator.wakeLock.request("screen");
  } catch {
    // A low battery refuses it; recording works all the same.
    wakeLock = null;
  }
}

function letSleep() {
  wakeLock?.release().catch(() => {});
  wakeLock = null;
}

/**
 * @param {string} name
 * @returns {string | null}
 */
function recall(name) {
  try {
    return localStorage.getItem(`speech.${name}`);
  } catch {
    // Storage can be forbidden altogether; choices are then not remembered.
    return null;
  }
}

/**
 * @param {string} name
 * @param {string} value
 */
function remember(name, value) {
  try {
    localStorage.setItem(`speech.${name}`, value);
  } catch {
    // See recall.
  }
}

/** @param {"ru" | "en"} language */
function choosePage(language) {
  translator.language = language;
  remember("page", language);
  translate();
}

parts.record.addEventListener("click", () => {
  if (phase === "idle") void start();
  else if (phase === "recording") void stop();
  else if (phase === "finishing") connection?.abandon();
});
parts.pageRu.addEventListener("click", () => choosePage("ru"));
parts.pageEn.addEventListener("click", () => choosePage("en"));
parts.source.addEventListener("change", () => remember("source", parts.source.value));
parts.language.addEventListener("change", () => remember("language", parts.language.value));
parts.suppression.addEventListener("change", () => remember("suppression", String(parts.suppression.checked)));
parts.copy.addEventListener("click", copy);
for (const [format, button] of Object.entries(parts.save)) {
  button.addEventListener("click", () => save(/** @type {"txt" | "srt" | "vtt"} */ (format)));
}
parts.clear.addEventListener("click", clear);
parts.retry.addEventListener("click", () => connection?.retryNow());
parts.noticeClose.addEventListener("click", () => {
  dismissed.add(parts.notice.dataset.code ?? "");
  failure = null;
  render();
});
navigator.mediaDevices?.addEventListener?.("devicechange", fillSources);
window.addEventListener("online", () => connection?.retryNow());
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "visible" || phase === "idle") return;
  microphone?.resume();
  void keepAwake();
});
window.addEventListener("beforeunload", (event) => {
  if (phase === "recording" || phase === "finishing") event.preventDefault();
});

parts.suppression.checked = recall("suppression") === "true";
translate();
if (!window.isSecureContext) {
  failure = { code: "not_secure", session: null };
  render();
}
