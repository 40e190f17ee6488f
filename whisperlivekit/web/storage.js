/** Browser storage that may be missing: a browser can forbid it altogether, and then values last as long as the page is open. */
export class SafeStorage {
  /** @param {() => Pick<Storage, "getItem" | "setItem" | "removeItem">} open the storage; may throw */
  constructor(open) {
    /** @private */
    this.open = open;
    /** @private Used where the storage is forbidden or full. @type {Map<string, string>} */
    this.memory = new Map();
  }

  /**
   * @param {string} name
   * @returns {string | null}
   */
  get(name) {
    const kept = this.memory.get(name);
    if (kept !== undefined) return kept;
    try {
      return this.open().getItem(PREFIX + name);
    } catch {
      return null;
    }
  }

  /**
   * @param {string} name
   * @param {string} value
   */
  set(name, value) {
    this.memory.delete(name);
    try {
      this.open().setItem(PREFIX + name, value);
    } catch {
      this.memory.set(name, value);
    }
  }

  /** @param {string} name */
  remove(name) {
    this.memory.delete(name);
    try {
      this.open().removeItem(PREFIX + name);
    } catch {
      // There is nothing to remove.
    }
  }
}

/** Other applications of the same origin have names of their own. */
const PREFIX = "speech.";
