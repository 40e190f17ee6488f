/**
 * What the page is doing, as one value, and the rules by which it changes. Pure: no page, no clock, no audio.
 *
 * The phases and what moves them are in `TRANSITIONS`. The connection has states of its own (connection.js), which stand beside
 * the phase: a connection can be lost while recording and while stopping.
 *
 * @typedef {"idle" | "asking" | "recording" | "stopping"} Phase
 * @typedef {import("./connection.js").Status} Status
 *
 * @typedef {object} Problem what the page reports while no recording runs
 * @property {string} code key of the error texts
 * @property {string | null} session id of the stream, to be quoted in a report
 * @property {boolean} endedRecording false: nothing was being recorded
 *
 * @typedef {object} State
 * @property {Phase} phase
 * @property {Status | null} connection last status of the current or last connection
 * @property {number | null} downSince_ms when the connection was last seen to be down; null while it is live
 * @property {boolean} speaking the server hears speech
 * @property {readonly number[]} speakers channels on which it does
 * @property {boolean} paused the system has paused the microphone
 * @property {number} recorded_s audio of the current stream that was recorded here
 * @property {number} received_s audio of it that the server has
 * @property {number} lag_s how far behind that the text is, as the server says: of the slower channel
 * @property {Readonly<Record<number, number>>} lags the same for each channel
 * @property {number} silent_s seconds during which the microphone has given nothing, not even noise
 * @property {Problem | null} problem
 * @property {readonly string[]} dismissed codes of hints that the user has closed during this recording
 *
 * @typedef {(
 *   {type: "start"} |
 *   {type: "opened"} |
 *   {type: "failed", code: string} |
 *   {type: "stop", code?: string} |
 *   {type: "status", status: Status, now_ms: number} |
 *   {type: "event", event: import("./protocol.js").ServerEvent} |
 *   {type: "audio", duration_s: number, recorded_s: number, loudness: number} |
 *   {type: "paused", paused: boolean} |
 *   {type: "report", code: string} |
 *   {type: "dismiss", code: string} |
  {type: "clear"}
 * )} Input
 */

/** Root mean square below which a microphone gives nothing at all: any working one has more noise than this. */
const SILENT_LOUDNESS = 1e-5;

/**
 * For each phase, the inputs that end it and the phase that follows. "ended" is a `status` input whose connection has ended.
 *
 * @type {Readonly<Record<Phase, Readonly<Record<string, Phase>>>>}
 */
export const TRANSITIONS = Object.freeze({
  // The user presses the button; the browser asks for the microphone.
  idle: { start: "asking" },
  // Audio arrives (the connection is opened at the same time, and audio waits for it), or there is none.
  asking: { opened: "recording", failed: "idle" },
  // The user presses the button or the source ends; or an error that trying again does not cure.
  recording: { stop: "stopping", ended: "idle" },
  // The last words have come, an error, or the user has given up.
  stopping: { ended: "idle" },
});

/** @type {State} */
const INITIAL = {
  phase: "idle",
  connection: null,
  downSince_ms: null,
  speaking: false,
  speakers: [],
  paused: false,
  recorded_s: 0,
  received_s: 0,
  lag_s: 0,
  lags: {},
  silent_s: 0,
  problem: null,
  dismissed: [],
};

/** @returns {State} */
export function initialState() {
  return INITIAL;
}

/**
 * The state after an input. An input that does not fit the phase changes nothing: a microphone can report its end while the page
 * is already stopping.
 *
 * @param {State} state not changed
 * @param {Input} input
 * @returns {State}
 */
export function reduce(state, input) {
  switch (input.type) {
    case "start":
      return move(INITIAL, state.phase, "start") ?? state;
    case "opened":
      return move(state, state.phase, "opened") ?? state;
    case "failed":
      return move(withProblem(state, input.code), state.phase, "failed") ?? state;
    case "stop":
      return move(input.code === undefined ? state : withProblem(state, input.code, true), state.phase, "stop") ?? state;
    case "status":
      return afterStatus(state, input.status, input.now_ms);
    case "event":
      return afterEvent(state, input.event);
    case "audio": {
      const silent_s = input.loudness < SILENT_LOUDNESS ? state.silent_s + input.duration_s : 0;
      return { ...state, recorded_s: state.recorded_s + input.recorded_s, silent_s };
    }
    case "paused":
      return { ...state, paused: input.paused };
    case "report":
      return withProblem(state, input.code);
    case "clear":
      return state.phase === "idle" ? INITIAL : state;
    case "dismiss":
      return { ...state, problem: null, dismissed: [...state.dismissed, input.code] };
  }
}

/**
 * @param {State} state
 * @param {Phase} phase
 * @param {string} input
 * @returns {State | null} null: the phase does not take this input
 */
function move(state, phase, input) {
  const next = TRANSITIONS[phase][input];
  return next === undefined ? null : { ...state, phase: next };
}

/**
 * @param {State} state
 * @param {Status} status
 * @param {number} now_ms
 * @returns {State}
 */
function afterStatus(state, status, now_ms) {
  const live = status.state === "live";
  const next = {
    ...state,
    connection: status,
    downSince_ms: live ? null : (state.downSince_ms ?? now_ms),
    speaking: live && state.speaking,
    speakers: live ? state.speakers : [],
  };
  if (status.state !== "ended") return next;
  const ended = { ...next, downSince_ms: null };
  const { cause, session } = status;
  return move(cause === null ? ended : withProblem(ended, cause, true, session), state.phase, "ended") ?? state;
}

/**
 * @param {State} state
 * @param {import("./protocol.js").ServerEvent} event
 * @returns {State}
 */
function afterEvent(state, event) {
  const { channel = 0 } = event;
  if (event.type === "speech_started" || event.type === "speech_stopped") {
    const others = state.speakers.filter((other) => other !== channel);
    const speakers = event.type === "speech_started" ? [...others, channel] : others;
    return { ...state, speakers, speaking: speakers.length > 0 };
  }
  if (event.type === "progress") {
    const lags = { ...state.lags, [channel]: event.lag_s };
    return { ...state, received_s: event.received_s, lags, lag_s: Math.max(...Object.values(lags)) };
  }
  return state;
}

/**
 * @param {State} state
 * @param {string} code
 * @param {boolean} [endedRecording]
 * @param {string | null} [session]
 * @returns {State} the problem is shown even if an earlier one with this code was closed
 */
function withProblem(state, code, endedRecording = false, session = null) {
  const dismissed = state.dismissed.filter((other) => other !== code);
  return { ...state, problem: { code, session, endedRecording }, dismissed };
}
