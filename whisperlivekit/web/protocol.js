/**
 * The native protocol, version 1 (docs/protocol.md): messages to objects and back. Pure.
 *
 * @typedef {{text: string, start: number, end: number, probability: number}} Word
 *   Times are seconds from the beginning of the stream. In `committed`, `text` has no spaces around it. In `resume` and in the
 *   transcript it begins with a space if the whole text has one before the word.
 *
 * @typedef {{session?: string, position: number, live_from?: number, words: Word[]}} Resume
 *
 * @typedef {object} StartOptions
 * @property {string} [language] a Whisper language code or "auto"
 * @property {string} [prompt]
 * @property {string[]} [hotwords]
 * @property {"words" | "utterance"} [commit] when words are committed
 * @property {boolean} [refine] the server sends `refined` events
 * @property {Resume} [resume]
 *
 * @typedef {(
 *   {type: "ready", seq: number, session: string, protocol: number, model: string, language: string | null,
 *    position: number, max_message_bytes: number} |
 *   {type: "speech_started", seq: number, at: number} |
 *   {type: "speech_stopped", seq: number, at: number} |
 *   {type: "partial", seq: number, text: string, start: number, end: number} |
 *   {type: "committed", seq: number, text: string, words: Word[], start: number, end: number, kept_from: number} |
 *   {type: "refined", seq: number, text: string, words: Word[], start: number, end: number, replaces: number, kept_from: number,
 *    live_from: number} |
 *   {type: "utterance_ended", seq: number, start: number, end: number, kept_from: number} |
 *   {type: "flushed", seq: number, at: number, kept_from: number} |
 *   {type: "gap", seq: number, start: number, end: number, reason: string, kept_from: number} |
 *   {type: "progress", seq: number, received_s: number, settled_s: number, lag_s: number, kept_from: number} |
 *   {type: "draining", seq: number} |
 *   {type: "error", seq: number, code: string, message: string, session: string} |
 *   {type: "done", seq: number, audio_s: number, speech_s: number, words: number, utterances: number, gap_s: number}
 * )} ServerEvent
 */

import { SAMPLE_RATE } from "./pcm.js";

/** The version of the protocol that this page uses. */
export const VERSION = 1;

/** Fields that an event must have, with their types. Later servers may send more fields. */
const FIELDS = {
  ready: { session: "string", position: "number", max_message_bytes: "number" },
  speech_started: { at: "number" },
  speech_stopped: { at: "number" },
  partial: { text: "string", start: "number", end: "number" },
  committed: { text: "string", words: "object", start: "number", end: "number", kept_from: "number" },
  refined: { text: "string", words: "object", start: "number", end: "number", replaces: "number", kept_from: "number" },
  utterance_ended: { start: "number", end: "number", kept_from: "number" },
  flushed: { at: "number", kept_from: "number" },
  gap: { start: "number", end: "number", reason: "string", kept_from: "number" },
  progress: { received_s: "number", settled_s: "number", lag_s: "number", kept_from: "number" },
  draining: {},
  error: { code: "string", message: "string" },
  done: { audio_s: "number" },
};

/** Every event type of the protocol. */
export const EVENT_TYPES = Object.freeze(Object.keys(FIELDS));

/** The server sent a message that is not in the protocol. */
export class ProtocolError extends Error {}

/**
 * @param {StartOptions} [options] an option that is missing or undefined gets the server's default
 * @returns {string}
 */
export function startMessage(options = {}) {
  const { language, prompt, hotwords, commit, refine, resume } = options;
  const format = { encoding: "pcm_s16le", sample_rate: SAMPLE_RATE };
  return JSON.stringify({ type: "start", ...format, language, prompt, hotwords, commit, refine, resume });
}

/** @returns {string} */
export function stopMessage() {
  return JSON.stringify({ type: "stop" });
}

/**
 * @param {unknown} message from the WebSocket
 * @returns {ServerEvent | null} null for an event of a later protocol, which is not an error
 * @throws {ProtocolError}
 */
export function parseEvent(message) {
  if (typeof message !== "string") throw new ProtocolError("found a binary message, expected JSON text");
  let event;
  try {
    event = JSON.parse(message);
  } catch {
    throw new ProtocolError("found text that is not JSON, expected an event");
  }
  if (typeof event !== "object" || event === null || typeof event.type !== "string") {
    throw new ProtocolError("found JSON without a type, expected an event");
  }
  if (!Object.hasOwn(FIELDS, event.type)) return null;
  for (const [name, type] of Object.entries(FIELDS[event.type])) {
    if (typeof event[name] !== type || event[name] === null) {
      throw new ProtocolError(`found ${event.type}.${name} of type ${typeof event[name]}, expected ${type}`);
    }
  }
  return event;
}

/**
 * Adds to the words of a `committed` event the spaces that stand before them in its text. The words joined are the text.
 *
 * @param {string} text
 * @param {Word[]} words texts without spaces around them
 * @returns {Word[]}
 */
export function spacedWords(text, words) {
  let from = 0;
  return words.map((word) => {
    const found = text.indexOf(word.text, from);
    if (found < 0) return { ...word, text: ` ${word.text}` };
    const spaced = text.slice(from, found) + word.text;
    from = found + word.text.length;
    return { ...word, text: spaced };
  });
}
