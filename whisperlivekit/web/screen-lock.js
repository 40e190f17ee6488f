/** Keeps the screen on while recording: a phone that goes to sleep stops listening. */
export class ScreenLock {
  /** @param {Pick<WakeLock, "request"> | undefined} source `navigator.wakeLock`; undefined where a browser has none */
  constructor(source) {
    /** @private */
    this.source = source;
    /** @private */
    this.wanted = false;
    /** @private @type {Pick<WakeLockSentinel, "release"> | null} */
    this.sentinel = null;
  }

  /** May be called again: the browser drops a lock whenever the page is hidden. */
  async acquire() {
    this.wanted = true;
    if (this.source === undefined) return;
    try {
      const sentinel = await this.source.request("screen");
      await this.drop();
      this.sentinel = sentinel;
      // The recording can have ended while the browser took its time.
      if (!this.wanted) await this.drop();
    } catch {
      // Refused, for instance because of a low battery. Recording works without it.
    }
  }

  async release() {
    this.wanted = false;
    await this.drop();
  }

  /** @private */
  async drop() {
    const { sentinel } = this;
    this.sentinel = null;
    await sentinel?.release().catch(() => {});
  }
}
