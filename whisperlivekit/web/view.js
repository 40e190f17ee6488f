/**
 * The transcript on the page. Committed text is appended once and never changed; only the partial text after it is replaced.
 *
 * Screen readers read out committed text only: the log is a polite live region, and the partial text is hidden from them.
 *
 * @typedef {import("./transcript.js").Transcript} Transcript
 * @typedef {import("./transcript.js").GapEntry} GapEntry
 */

import { timeText } from "./screen.js";

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
    /** @private A paragraph that only has partial text so far. The next paragraph entry uses it. @type {HTMLElement | null} */
    this.pending = null;
    /** @private */
    this.partial = document.createElement("span");
    this.partial.className = "partial";
    this.partial.setAttribute("aria-hidden", "true");
    /** @private The reader has not scrolled away from the end. */
    this.following = true;
    scroller.addEventListener("scroll", () => this.onScroll(), { passive: true });
    toEnd.addEventListener("click", () => this.follow());
    new ResizeObserver(() => this.scrollToEnd()).observe(scroller);
  }

  /** @param {Transcript} transcript */
  render(transcript) {
    for (; this.shown < transcript.entries.length; this.shown += 1) this.append(transcript.entries[this.shown]);
    this.renderPartial(transcript);
    this.scrollToEnd();
  }

  /** Removes everything from the page. */
  clear() {
    this.log.replaceChildren();
    this.partial.remove();
    this.paragraph = null;
    this.pending = null;
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
    if (entry.kind === "paragraph") {
      this.paragraph = this.pending ?? this.openParagraph();
      this.pending = null;
      setTime(this.paragraph, entry.start);
      return;
    }
    const paragraph = /** @type {HTMLElement} */ (this.paragraph);
    const span = document.createElement("span");
    span.className = entry.kind === "gap" ? "gap" : "committed";
    span.textContent = entry.kind === "gap" ? ` ${this.gapText(entry)}` : entry.words.map((word) => word.text).join("");
    paragraph.insertBefore(span, this.partial.parentNode === paragraph ? this.partial : null);
  }

  /**
   * @private
   * @param {Transcript} transcript
   */
  renderPartial({ partial, partialOpensParagraph }) {
    if (this.partial.textContent !== (partial?.text ?? "")) this.partial.textContent = partial?.text ?? "";
    if (partial !== null && partialOpensParagraph) {
      this.pending ??= this.openParagraph();
      setTime(this.pending, partial.start);
    } else if (this.pending !== null) {
      this.pending.parentElement?.remove();
      this.pending = null;
    }
    const place = partial === null ? null : (this.pending ?? this.paragraph);
    if (place === null) this.partial.remove();
    else if (this.partial.parentNode !== place) place.append(this.partial);
  }

  /**
   * @private
   * @returns {HTMLElement}
   */
  openParagraph() {
    const block = document.createElement("div");
    block.className = "paragraph";
    const time = document.createElement("span");
    time.className = "time";
    time.setAttribute("aria-hidden", "true");
    const paragraph = document.createElement("p");
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
