/**
 * Everything that the recording page shows besides the transcript, from the state alone. Pure.
 *
 * @typedef {import("./state.js").State} State
 * @typedef {import("./i18n.js").Translator} Translator
 * @typedef {"calm" | "busy" | "live" | "speech" | "warn" | "error"} Tone
 * @typedef {"idle" | "done" | "failed" | "asking" | "loading" | "full" | "stopping" | "connecting" | "retrying" | "reconnecting" |
 *   "paused" | "speaking" | "listening"} Activity
 *
 * @typedef {object} Notice
 * @property {string} code
 * @property {"info" | "warn" | "error"} tone
 * @property {string} title what happened
 * @property {string} help what to do about it
 * @property {string} detail
 * @property {boolean} retry offer to connect now; otherwise the notice can be closed
 * @property {boolean} keyForm offer a field for the access key
 *
 * @typedef {object} Surroundings what the page shows that is not in the state
 * @property {boolean} hasText the transcript has committed text
 * @property {boolean} hasPartial
 * @property {number} length_s of the transcript, all streams together
 * @property {number} offset_s where the current stream begins in it
 * @property {number} unsent_s
 * @property {number} now_ms
 *
 * @typedef {object} Screen
 * @property {string} state
 * @property {Tone} tone
 * @property {Notice | null} notice
 * @property {string} timer
 * @property {string} lag empty: the text keeps up
 * @property {string} button what the record button does
 * @property {string} title of the document
 * @property {boolean} idle choices can be changed
 * @property {boolean} empty show how to begin
 * @property {boolean} canSave
 * @property {boolean} canClear
 */

import { KEY_CODES } from "./access.js";

/** An outage shorter than this is shown in the state line alone. */
const OUTAGE_MS = 2500;

/** Seconds of a microphone that gives nothing at all before the page says so. */
const SILENT_S = 6;

/** A smaller lag is not shown. */
const LAG_S = 0.05;

/** Causes of an outage that are explained at once, because the wait is long as a rule. */
const EXPLAINED_AT_ONCE = new Set(["server_full", "model_loading"]);

/** @type {Record<Activity, Tone>} */
const TONES = {
  idle: "calm",
  done: "calm",
  failed: "error",
  asking: "busy",
  loading: "busy",
  full: "warn",
  stopping: "busy",
  connecting: "busy",
  retrying: "warn",
  reconnecting: "warn",
  paused: "warn",
  speaking: "speech",
  listening: "live",
};

/** @type {Record<import("./state.js").Phase, (hasText: boolean) => string>} */
const BUTTONS = {
  idle: (hasText) => (hasText ? "continue" : "start"),
  asking: () => "wait",
  recording: () => "stop",
  stopping: () => "abandon",
};

/**
 * @param {State} state
 * @param {Surroundings} surroundings
 * @param {Translator} translator
 * @returns {Screen}
 */
export function present(state, surroundings, translator) {
  const { hasText, hasPartial, length_s, offset_s } = surroundings;
  const idle = state.phase === "idle";
  const now = activity(state, surroundings);
  const lag = lag_s(state);
  const title = translator.text("page.title");
  return {
    // No countdown in the state line: a screen reader would read out every second of it.
    state: translator.text(`state.${now}`),
    tone: TONES[now],
    notice: notice(state, surroundings, translator),
    timer: timeText(idle ? length_s : offset_s + state.recorded_s),
    lag: !idle && lag >= LAG_S ? translator.text("state.lag", { seconds: translator.number(lag) }) : "",
    button: translator.text(`button.${BUTTONS[state.phase](hasText)}`),
    title: idle ? title : `${translator.text("page.recording")} · ${title}`,
    idle,
    empty: !hasText && !hasPartial,
    canSave: hasText,
    canClear: hasText && idle,
  };
}

/**
 * The one word for what goes on, for the state line.
 *
 * @param {State} state
 * @param {{hasText: boolean, now_ms: number}} surroundings
 * @returns {Activity}
 */
export function activity(state, { hasText, now_ms }) {
  const { phase, connection, problem } = state;
  if (phase === "idle") {
    if (problem?.endedRecording && state.recorded_s > 0) return "failed";
    return hasText ? "done" : "idle";
  }
  if (phase === "asking") return "asking";
  if (connection?.state !== "live") {
    if (connection?.cause === "model_loading") return "loading";
    if (connection?.cause === "server_full") return "full";
    if (phase === "stopping") return "stopping";
    if (connection?.cause === null && connection.session === null) return "connecting";
    return connection?.retryAt && outageLasts(state, now_ms) ? "retrying" : "reconnecting";
  }
  if (phase === "stopping") return "stopping";
  if (state.paused) return "paused";
  return state.speaking ? "speaking" : "listening";
}

/**
 * Seconds between what is being said and what is committed; 0 in silence.
 *
 * @param {State} state
 * @returns {number}
 */
export function lag_s({ connection, recorded_s, received_s, lag_s }) {
  const waiting_s = Math.max(0, recorded_s - received_s);
  if (connection?.state !== "live") return waiting_s > 1 ? waiting_s : 0;
  // `progress` comes once a second of audio, so about a second is always on its way.
  return lag_s + (waiting_s > 1.5 ? waiting_s - 1 : 0);
}

/**
 * @param {State} state
 * @param {Surroundings} surroundings
 * @param {Translator} translator
 * @returns {Notice | null}
 */
function notice(state, { now_ms, unsent_s }, translator) {
  const found = outageNotice(state, now_ms, unsent_s, translator) ?? problemNotice(state, translator) ?? silenceNotice(state);
  if (found === null || state.dismissed.includes(found.code)) return null;
  return { ...translator.error(found.code), detail: "", retry: false, keyForm: false, ...found };
}

/**
 * @param {State} state
 * @param {number} now_ms
 * @param {number} unsent_s
 * @param {Translator} translator
 * @returns {Partial<Notice> & Pick<Notice, "code" | "tone"> | null}
 */
function outageNotice(state, now_ms, unsent_s, translator) {
  const { phase, connection } = state;
  if (phase === "idle" || !connection?.cause || connection.state === "live") return null;
  if (!EXPLAINED_AT_ONCE.has(connection.cause) && !outageLasts(state, now_ms)) return null;
  const waiting = connection.state === "waiting";
  let detail = "";
  if (phase === "stopping") {
    detail = translator.text("notice.kept", { seconds: translator.number(unsent_s) });
  } else if (waiting) {
    const left_s = Math.max(1, Math.ceil(((connection.retryAt ?? 0) - now_ms) / 1000));
    detail = translator.text("notice.retry", { seconds: left_s });
  }
  return { code: connection.cause, tone: "warn", detail, retry: waiting };
}

/**
 * @param {State} state
 * @param {Translator} translator
 * @returns {Partial<Notice> & Pick<Notice, "code" | "tone"> | null}
 */
function problemNotice({ problem }, translator) {
  if (problem === null) return null;
  const { code, session } = problem;
  // The code helps the administrator. It is not shown where the user can solve the problem alone.
  const report = session === null ? "" : `${translator.text("notice.report", { code })}, ${translator.text("notice.session", { session })}`;
  return { code, tone: code === "key_saved" ? "info" : "error", detail: report, keyForm: KEY_CODES.has(code) };
}

/**
 * @param {State} state
 * @returns {Partial<Notice> & Pick<Notice, "code" | "tone"> | null}
 */
function silenceNotice({ phase, silent_s }) {
  return phase === "recording" && silent_s > SILENT_S ? { code: "silent_microphone", tone: "warn" } : null;
}

/**
 * @param {State} state
 * @param {number} now_ms
 * @returns {boolean}
 */
function outageLasts({ downSince_ms }, now_ms) {
  return downSince_ms !== null && now_ms - downSince_ms > OUTAGE_MS;
}

/**
 * @param {number} seconds
 * @returns {string} m:ss, or h:mm:ss
 */
export function timeText(seconds) {
  const whole = Math.floor(seconds);
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  const rest = String(whole % 60).padStart(2, "0");
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}
