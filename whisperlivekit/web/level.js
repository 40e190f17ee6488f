/** Draws the loudness of the last seconds as a row of bars, the newest on the right. */

/** Seconds per bar: long enough for a calm picture, short enough to show words. */
const BAR_S = 0.06;
const BAR_PX = 3;
const STEP_PX = 6;

/** Loudness, in dB, below which a bar is a dot, and from which it has its full height. */
const FLOOR_DB = -55;
const CEILING_DB = -6;

export class LevelMeter {
  /** @param {HTMLCanvasElement} canvas drawn in its CSS colour */
  constructor(canvas) {
    /** @private */
    this.canvas = canvas;
    /** @private Heights, 0 to 1, oldest first. @type {number[]} */
    this.bars = [];
    /** @private Height of the bar that is not complete yet. */
    this.peak = 0;
    /** @private Seconds of sound in that bar. */
    this.filled = 0;
    /** @private */
    this.frame = 0;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /**
   * @param {number} loudness root mean square, 0 to 1
   * @param {number} seconds of sound it was measured on
   */
  push(loudness, seconds) {
    this.peak = Math.max(this.peak, height(loudness));
    this.filled += seconds;
    if (this.filled < BAR_S) return;
    this.bars.push(this.peak);
    this.peak = 0;
    this.filled = 0;
    const most = Math.ceil(this.canvas.clientWidth / STEP_PX) + 1;
    if (this.bars.length > most) this.bars.splice(0, this.bars.length - most);
    this.draw();
  }

  clear() {
    this.bars = [];
    this.draw();
  }

  /** Draws in the next frame, once per frame however often this is called. */
  draw() {
    if (this.frame === 0) this.frame = requestAnimationFrame(() => this.paint());
  }

  /** @private */
  paint() {
    this.frame = 0;
    const { canvas } = this;
    const scale = globalThis.devicePixelRatio;
    const { clientWidth: width, clientHeight: tall } = canvas;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(tall * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(tall * scale);
    }
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, tall);
    context.strokeStyle = getComputedStyle(canvas).color;
    context.lineWidth = BAR_PX;
    context.lineCap = "round";
    const count = Math.floor(width / STEP_PX);
    for (let index = 0; index < count; index += 1) {
      const bar = this.bars[this.bars.length - 1 - index] ?? 0;
      const x = width - STEP_PX / 2 - index * STEP_PX;
      const half = (bar * (tall - BAR_PX)) / 2;
      // Older bars are fainter.
      context.globalAlpha = (bar > 0 ? 0.95 : 0.5) * (1 - 0.75 * (index / count));
      context.beginPath();
      context.moveTo(x, tall / 2 - half);
      context.lineTo(x, tall / 2 + half + 0.01);
      context.stroke();
    }
  }
}

/**
 * @param {number} loudness
 * @returns {number}
 */
function height(loudness) {
  if (loudness <= 0) return 0;
  const decibels = 20 * Math.log10(loudness);
  const share = Math.max(0, Math.min(1, (decibels - FLOOR_DB) / (CEILING_DB - FLOOR_DB)));
  // On a plain decibel scale all speech has nearly the same height. Squared, syllables can be seen.
  return share * share;
}
