/**
 * What was said: committed entries, to which new ones are only appended, and the partial text after them, which may change. Pure.
 *
 * One transcript can have several streams, one after the other (stop, then start again). Each begins where the last one ended, so
 * times go on counting. In a stereo stream each channel is a speaker: entries and partial texts have a `channel`, and a paragraph
 * ends where another speaker's words come.
 *
 * @typedef {import("./protocol.js").Word} Word
 * @typedef {import("./protocol.js").ServerEvent} ServerEvent
 * @typedef {{kind: "words", words: Word[], start: number, end: number, channel?: number}} WordsEntry
 * @typedef {{kind: "gap", start: number, end: number, reason: string, channel?: number}} GapEntry
 * @typedef {{kind: "paragraph", start: number, channel?: number}} ParagraphEntry begins a paragraph, which ends at the next one
 * @typedef {{text: string, start: number, end: number, channel?: number}} PartialText
 * @typedef {WordsEntry | GapEntry | ParagraphEntry} Entry
 * @typedef {(gap: GapEntry) => string} GapText
 */

import { spacedWords } from "./protocol.js";
import { SAMPLE_RATE } from "./pcm.js";

/** A pause this long begins a paragraph. */
const PARAGRAPH_PAUSE_S = 2;

/** A paragraph with more characters than this ends after its current sentence. */
const PARAGRAPH_CHARACTERS = 600;

/** Limits of one subtitle. Source: common practice of two lines of 42 characters, seven seconds at most. */
const CUE_LINE = 42;
const CUE_CHARACTERS = 2 * CUE_LINE;
const CUE_S = 7;
const CUE_PAUSE_S = 0.8;
const CUE_LEAST_S = 0.7;

export class Transcript {
  constructor() {
    /** Append-only. @type {Entry[]} */
    this.entries = [];
    /** The texts that may still change, at most one of each channel. They are appended to the committed text as they are. @type {PartialText[]} */
    this.partials = [];
    /** Where the current stream begins in the transcript, in seconds. */
    this.offset = 0;
    /** @private Seconds of the current stream so far. */
    this.duration = 0;
    /** @private Characters since the paragraph began. */
    this.characters = 0;
    /** @private End of the last word or gap in the transcript; null: the next entry begins a paragraph. @type {number | null} */
    this.end = null;
    /** @private Channel of the current paragraph. @type {number | undefined} */
    this.speaker = undefined;
  }

  /** Begins a new stream. Its second 0 is where the last stream ended. */
  beginStream() {
    this.offset += this.duration;
    this.duration = 0;
    this.end = null;
    this.partials = [];
  }

  /** Forgets everything, including what `resume` needs: call it between streams only. */
  clear() {
    this.entries.length = 0;
    this.partials = [];
    this.offset = this.duration = this.characters = 0;
    this.end = null;
    this.speaker = undefined;
  }

  /** Seconds of all streams together. */
  get length() {
    return this.offset + this.duration;
  }

  /** @returns {boolean} nothing has been committed yet */
  get empty() {
    return this.entries.length === 0;
  }

  /**
   * @param {PartialText} partial
   * @returns {boolean} it begins a paragraph
   */
  partialOpensParagraph({ start, channel }) {
    return this.opensParagraph(start, channel);
  }

  /** @param {ServerEvent} event */
  apply(event) {
    switch (event.type) {
      case "partial":
        this.extend(event.end);
        this.dropPartial(event.channel);
        if (event.text.trim() !== "") {
          this.partials.push({ text: event.text, start: event.start + this.offset, end: event.end + this.offset, ...of(event.channel) });
        }
        break;
      case "committed":
        this.extend(event.end);
        this.dropPartial(event.channel);
        this.commit(spacedWords(event.text, event.words), event.channel);
        break;
      case "utterance_ended":
        this.extend(event.end);
        this.dropPartial(event.channel);
        break;
      case "gap":
        this.extend(event.end);
        this.addGap(event);
        break;
      case "progress":
        this.extend(event.received_s);
        break;
      case "done":
        this.extend(event.audio_s);
        this.partials = [];
        break;
      default:
        break;
    }
  }

  /** For a lost connection: the next one sends what was not committed again. */
  dropPartials() {
    this.partials = [];
  }

  /**
   * @private
   * @param {number} [channel]
   */
  dropPartial(channel) {
    this.partials = this.partials.filter((partial) => partial.channel !== channel);
  }

  /**
   * What `resume` tells the server that continues the current stream.
   *
   * @param {number} position in samples
   * @param {number} [channel] of a stereo stream
   * @returns {Word[]} the committed words that end after it, with times of the current stream
   */
  wordsAfter(position, channel) {
    const from = this.offset + position / SAMPLE_RATE;
    return this.entries
      .flatMap((entry) => (entry.kind === "words" && entry.channel === channel ? entry.words : []))
      .filter((word) => word.end > from)
      .map((word) => ({ ...word, start: round(word.start - this.offset), end: round(word.end - this.offset) }));
  }

  /**
   * @private
   * @param {number} end seconds of the current stream
   */
  extend(end) {
    this.duration = Math.max(this.duration, end);
  }

  /**
   * @private
   * @param {Word[]} words
   * @param {number} [channel]
   */
  commit(words, channel) {
    if (words.length === 0) return;
    const timed = words.map((word) => ({ ...word, start: word.start + this.offset, end: word.end + this.offset }));
    const start = timed[0].start;
    const end = timed[timed.length - 1].end;
    this.openParagraph(start, channel);
    this.entries.push({ kind: "words", words: timed, start, end, ...of(channel) });
    this.characters += timed.reduce((sum, word) => sum + word.text.length, 0);
    this.end = end;
  }

  /**
   * @private
   * @param {{start: number, end: number, reason: string, channel?: number}} gap
   */
  addGap(gap) {
    const start = gap.start + this.offset;
    const end = gap.end + this.offset;
    const last = this.entries[this.entries.length - 1];
    const earlier = last?.kind === "gap" && last.channel === gap.channel ? last : null;
    // Entries are never changed. Of a gap that has grown, only the new part is appended.
    if (earlier !== null && end <= earlier.end) return;
    if (this.end === null || gap.channel !== this.speaker) this.openParagraph(start, gap.channel);
    const from = earlier === null ? start : Math.max(start, earlier.end);
    this.entries.push({ kind: "gap", start: from, end, reason: gap.reason, ...of(gap.channel) });
    this.end = end;
  }

  /**
   * @private
   * @param {number} start of what comes next
   * @param {number} [channel]
   */
  openParagraph(start, channel) {
    if (!this.opensParagraph(start, channel)) return;
    this.entries.push({ kind: "paragraph", start, ...of(channel) });
    this.characters = 0;
    this.speaker = channel;
  }

  /**
   * @private
   * @param {number} start of what comes next
   * @param {number} [channel]
   * @returns {boolean}
   */
  opensParagraph(start, channel) {
    if (this.end === null || channel !== this.speaker || start - this.end >= PARAGRAPH_PAUSE_S) return true;
    return this.characters > PARAGRAPH_CHARACTERS && this.endsSentence();
  }

  /** @private */
  endsSentence() {
    const last = this.entries[this.entries.length - 1];
    return last?.kind === "words" && isSentenceEnd(last.words[last.words.length - 1].text);
  }

  /**
   * @param {GapText} gapText what stands in the text for a gap
   * @returns {string} paragraphs separated by an empty line, with a line break at the end; in a stereo stream with their speakers
   */
  toText(gapText) {
    /** @type {{label: string, text: string}[]} */
    const paragraphs = [];
    for (const entry of this.entries) {
      if (entry.kind === "paragraph") paragraphs.push({ label: speakerLabel(entry.channel), text: "" });
      else paragraphs[paragraphs.length - 1].text += entry.kind === "gap" ? ` ${gapText(entry)}` : entry.words.map((word) => word.text).join("");
    }
    return paragraphs.length === 0 ? "" : `${paragraphs.map(({ label, text }) => label + text.trim()).join("\n\n")}\n`;
  }

  /**
   * @param {GapText} gapText
   * @returns {string}
   */
  toSrt(gapText) {
    return this.cues(gapText)
      .map((cue, index) => `${index + 1}\n${clock(cue.start, ",")} --> ${clock(cue.end, ",")}\n${wrap(cue.text)}\n`)
      .join("\n");
  }

  /**
   * @param {GapText} gapText
   * @returns {string}
   */
  toVtt(gapText) {
    const cues = this.cues(gapText).map((cue) => `${clock(cue.start, ".")} --> ${clock(cue.end, ".")}\n${escapeVtt(wrap(cue.text))}\n`);
    return ["WEBVTT\n", ...cues].join("\n");
  }

  /**
   * Divides the words into subtitles: at pauses and ends of sentences where possible, otherwise at the limits of length.
   *
   * @private
   * @param {GapText} gapText
   * @returns {{start: number, end: number, text: string, channel?: number}[]} in the order in which they begin, without overlaps
   *   of one speaker
   */
  cues(gapText) {
    /** @type {{start: number, end: number, text: string, channel?: number}[]} */
    const cues = [];
    /** @type {{start: number, end: number, text: string, channel?: number} | null} */
    let open = null;
    for (const entry of this.entries) {
      if (entry.kind === "paragraph") {
        open = null;
      } else if (entry.kind === "gap") {
        cues.push({ start: entry.start, end: entry.end, text: speakerLabel(entry.channel) + gapText(entry), channel: entry.channel });
        open = null;
      } else {
        for (const word of entry.words) {
          const fits =
            open !== null &&
            open.text.length + word.text.length <= CUE_CHARACTERS &&
            word.end - open.start <= CUE_S &&
            word.start - open.end < CUE_PAUSE_S &&
            !(isSentenceEnd(open.text) && open.text.length > CUE_LINE / 2);
          if (open !== null && fits) {
            open.text += word.text;
            open.end = word.end;
          } else {
            const text = speakerLabel(entry.channel) + word.text.trimStart();
            open = { start: word.start, end: word.end, text, channel: entry.channel };
            cues.push(open);
          }
        }
      }
    }
    cues.sort((a, b) => a.start - b.start);
    /** Where the next cue of a speaker begins. @type {Map<number | undefined, number>} */
    const next = new Map();
    for (const cue of [...cues].reverse()) {
      const latest = Math.max(next.get(cue.channel) ?? Infinity, cue.start);
      cue.end = Math.min(Math.max(cue.end, cue.start + CUE_LEAST_S), latest);
      next.set(cue.channel, cue.start);
    }
    return cues;
  }
}

/**
 * @param {number} [channel]
 * @returns {string} what stands before the words of a speaker
 */
export function speakerLabel(channel) {
  return channel === undefined ? "" : `${channel + 1}: `;
}

/**
 * @param {number} [channel]
 * @returns {{channel?: number}} only a stereo stream has the field
 */
function of(channel) {
  return channel === undefined ? {} : { channel };
}

/**
 * @param {string} text
 * @returns {boolean}
 */
function isSentenceEnd(text) {
  return /[.!?…]["»”)]?$/u.test(text);
}

/**
 * @param {number} seconds
 * @param {string} point separates seconds and milliseconds
 * @returns {string} hours, minutes, seconds and milliseconds
 */
function clock(seconds, point) {
  const total = Math.round(seconds * 1000);
  const part = (/** @type {number} */ value, /** @type {number} */ width) => String(Math.floor(value)).padStart(width, "0");
  return `${part(total / 3600000, 2)}:${part((total / 60000) % 60, 2)}:${part((total / 1000) % 60, 2)}${point}${part(total % 1000, 3)}`;
}

/**
 * Divides a text that is too long for one line into two of about the same length.
 *
 * @param {string} text
 * @returns {string}
 */
function wrap(text) {
  if (text.length <= CUE_LINE) return text;
  const middle = text.length / 2;
  let best = -1;
  for (let at = text.indexOf(" "); at >= 0; at = text.indexOf(" ", at + 1)) {
    if (best < 0 || Math.abs(at - middle) < Math.abs(best - middle)) best = at;
  }
  return best < 0 ? text : `${text.slice(0, best)}\n${text.slice(best + 1)}`;
}

/**
 * @param {string} text
 * @returns {string}
 */
function escapeVtt(text) {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

/**
 * @param {number} seconds
 * @returns {number} to the millisecond
 */
function round(seconds) {
  return Math.round(seconds * 1000) / 1000;
}
