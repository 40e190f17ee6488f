/**
 * The transcript on the page. Committed text is appended once and never changed; only the partial text after it is replaced. In a
 * stereo stream each channel has a partial text of its own, and a paragraph begins with its speaker.
 *
 * Screen readers read out committed text only: the log is a polite live region, and the partial text is hidden from them.
 *
 * @typedef {import("./transcript.js").Transcript} Transcript
 * @typedef {import("./transcript.js").GapEntry} GapEntry
 *
 * @typedef {object} Partial what a channel shows after its committed text
 * @property {HTMLElement} text
 * @property {HTMLElement | null} pending a paragraph that only has this text so far; the channel's next paragraph entry uses it
 */

import { timeText } from "./screen.js";
import { speakerLabel } from "./transcript.js";

/** A reader who is fewer pixels than this away from the end counts as being there. */
const NEAR_END = 48;

export class View {
  /**
   * @param {object} parts
   * @param {HTMLElement} parts.scroller
   * @param {HTMLElement} parts.log where paragraphs go
   * @param {HTMLElement} parts.toEnd button, shown while the reader is not at the end
   * @param {(gap: GapEntry) => string} parts.gapText
   */
  constructor({ scroller, log, toEnd, gapText }) {
    /** @private */
    this.scroller = scroller;
    /** @private */
    this.log = log;
    /** @private */
    this.toEnd = toEnd;
    /** @private */
    this.gapText = gapText;
    /** @private Entries that are on the page. */
    this.shown = 0;
    /** @private The paragraph that is being written. @type {HTMLElement | null} */
    this.paragraph = null;
    /** @private By channel; a stream of one channel has the key undefined. @type {Map<number | undefined, Partial>} */
    this.partials = new Map();
    /** @private The reader has not scrolled away from the end. */
    this.following = true;
    scroller.addEventListener("scroll", () => this.onScroll(), { passive: true });
    toEnd.addEventListener("click", () => this.follow());
    new ResizeObserver(() => this.scrollToEnd()).observe(scroller);
  }

  /** @param {Transcript} transcript */
  render(transcript) {
    for (; this.shown < transcript.entries.length; this.shown += 1) this.append(transcript.entries[this.shown]);
    for (const { channel } of transcript.partials) this.partialOf(channel);
    for (const channel of this.partials.keys()) this.renderPartial(transcript, channel);
    this.scrollToEnd();
  }

  /** Removes everything from the page. */
  clear() {
    this.log.replaceChildren();
    this.partials.clear();
    this.paragraph = null;
    this.shown = 0;
    this.follow();
  }

  /** Goes to the newest text and stays there. */
  follow() {
    this.following = true;
    this.scrollToEnd();
  }

  /**
   * @private
   * @param {import("./transcript.js").Entry} entry
   */
  append(entry) {
    const partial = this.partialOf(entry.channel);
    if (entry.kind === "paragraph") {
      this.paragraph = partial.pending ?? this.openParagraph(entry.channel);
      partial.pending = null;
      // Before the paragraphs of other speakers that only have partial text.
      const others = [...this.partials.values()].map(({ pending }) => pending?.parentElement).filter((block) => block != null);
      if (others.length > 0) this.log.insertBefore(/** @type {HTMLElement} */ (this.paragraph.parentElement), others[0] ?? null);
      setTime(this.paragraph, entry.start);
      return;
    }
    const paragraph = /** @type {HTMLElement} */ (this.paragraph);
    const span = document.createElement("span");
    span.className = entry.kind === "gap" ? "gap" : "committed";
    span.textContent = entry.kind === "gap" ? ` ${this.gapText(entry)}` : entry.words.map((word) => word.text).join("");
    paragraph.insertBefore(span, partial.text.parentNode === paragraph ? partial.text : null);
  }

  /**
   * @private
   * @param {Transcript} transcript
   * @param {number} [channel]
   */
  renderPartial(transcript, channel) {
    const found = transcript.partials.find((partial) => partial.channel === channel);
    const shown = this.partialOf(channel);
    if (shown.text.textContent !== (found?.text ?? "")) shown.text.textContent = found?.text ?? "";
    if (found !== undefined && transcript.partialOpensParagraph(found)) {
      shown.pending ??= this.openParagraph(channel);
      setTime(shown.pending, found.start);
    } else if (shown.pending !== null) {
      shown.pending.parentElement?.remove();
      shown.pending = null;
    }
    const place = found === undefined ? null : (shown.pending ?? this.paragraph);
    if (place === null) shown.text.remove();
    else if (shown.text.parentNode !== place) place.append(shown.text);
  }

  /**
   * @private
   * @param {number} [channel]
   * @returns {Partial}
   */
  partialOf(channel) {
    let partial = this.partials.get(channel);
    if (partial === undefined) {
      const text = document.createElement("span");
      text.className = "partial";
      text.setAttribute("aria-hidden", "true");
      partial = { text, pending: null };
      this.partials.set(channel, partial);
    }
    return partial;
  }

  /**
   * @private
   * @param {number} [channel]
   * @returns {HTMLElement}
   */
  openParagraph(channel) {
    const block = document.createElement("div");
    block.className = "paragraph";
    const time = document.createElement("span");
    time.className = "time";
    time.setAttribute("aria-hidden", "true");
    const paragraph = document.createElement("p");
    if (channel !== undefined) {
      const speaker = document.createElement("b");
      speaker.className = "speaker";
      speaker.textContent = speakerLabel(channel).trim();
      paragraph.append(speaker);
    }
    block.append(time, paragraph);
    this.log.append(block);
    return paragraph;
  }

  /** @private */
  onScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.following = scrollHeight - scrollTop - clientHeight < NEAR_END;
    this.toEnd.hidden = this.following;
  }

  /** @private */
  scrollToEnd() {
    if (this.following) this.scroller.scrollTop = this.scroller.scrollHeight;
    this.toEnd.hidden = this.following;
  }
}

/**
 * @param {HTMLElement} paragraph
 * @param {number} start seconds
 */
function setTime(paragraph, start) {
  const time = paragraph.previousElementSibling;
  if (time !== null && time.textContent !== timeText(start)) time.textContent = timeText(start);
}
