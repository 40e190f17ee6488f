/**
 * The transcript on the page: committed text is appended once and never touched again, only the partial tail is replaced.
 *
 * Screen readers hear committed text alone: the log is a polite live region, and the partial is hidden from them.
 *
 * @typedef {import("./transcript.js").Transcript} Transcript
 * @typedef {import("./transcript.js").GapEntry} GapEntry
 */

/** Pixels from the end within which the reader counts as being at the end. */
const NEAR_END = 48;

export class View {
  /**
   * @param {object} parts
   * @param {HTMLElement} parts.scroller
   * @param {HTMLElement} parts.log where paragraphs go
   * @param {HTMLElement} parts.toEnd shown while new text comes in below what is being read
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
    /** @private One that only a partial has opened: the next paragraph entry takes it over. @type {HTMLElement | null} */
    this.pending = null;
    /** @private */
    this.partial = document.createElement("span");
    this.partial.className = "partial";
    this.partial.setAttribute("aria-hidden", "true");
    /** @private The reader has not scrolled away from the end. */
    this.following = true;
    scroller.addEventListener("scroll", () => this.look(), { passive: true });
    toEnd.addEventListener("click", () => this.follow());
    new ResizeObserver(() => this.settle()).observe(scroller);
  }

  /** @param {Transcript} transcript */
  render(transcript) {
    for (; this.shown < transcript.entries.length; this.shown += 1) this.append(transcript.entries[this.shown]);
    this.renderPartial(transcript);
    this.settle();
  }

  /** Takes everything off the page. */
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
    this.settle();
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
  look() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.following = scrollHeight - scrollTop - clientHeight < NEAR_END;
    this.toEnd.hidden = this.following;
  }

  /** @private */
  settle() {
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
