/**
 * The access key of a server with WLK_API_KEYS: where it comes from, where it is kept, how it is sent.
 *
 * It comes from a link (`#key=...`, the part of an address that is never sent) or from the key form. It is kept until the tab is
 * closed, or on this device if the user agrees to that. It is never part of an address that is requested, so no log has it.
 */

/** Codes of the notices that offer the key form. `key_saved` is no error: the user has opened the form. */
export const KEY_CODES = Object.freeze(new Set(["unauthorized", "wrong_key", "key_saved"]));

const NAME = "key";

/** What a header can carry. */
const KEY = /^[\x21-\x7e]+$/;

/** What a subprotocol can carry. Source: RFC 9110, 5.6.2, "token". */
const TOKEN = /^[\w!#$%&'*+.^`|~-]+$/;

export class KeyStore {
  /**
   * @param {object} storages
   * @param {import("./storage.js").SafeStorage} storages.tab forgotten when the tab is closed
   * @param {import("./storage.js").SafeStorage} storages.device
   */
  constructor({ tab, device }) {
    /** @private */
    this.tab = tab;
    /** @private */
    this.device = device;
  }

  /** @returns {string | null} */
  get key() {
    return this.tab.get(NAME) ?? this.device.get(NAME);
  }

  /** @returns {boolean} the user wants the key to be kept on this device */
  get remembered() {
    return this.device.get(NAME) !== null;
  }

  /**
   * @param {string} key
   * @param {boolean} remember on this device
   */
  keep(key, remember) {
    this.forget();
    (remember ? this.device : this.tab).set(NAME, key);
  }

  forget() {
    this.tab.remove(NAME);
    this.device.remove(NAME);
  }
}

/**
 * Takes the key out of a link `.../#key=KEY` and out of the address bar, from where it would be copied, shown and bookmarked.
 *
 * @param {KeyStore} keys
 * @param {Pick<Location, "hash" | "pathname" | "search">} location
 * @param {Pick<History, "replaceState">} history
 * @returns {boolean} the link had a key
 */
export function takeKey(keys, location, history) {
  const key = keyFromHash(location.hash);
  if (key === null) return false;
  history.replaceState(null, "", location.pathname + location.search);
  keys.keep(key, keys.remembered);
  return true;
}

/**
 * @param {string} hash of an address, with its "#"
 * @returns {string | null} null: it has no key that could be one
 */
export function keyFromHash(hash) {
  const [, value = ""] = /^#(?:.*&)?key=([^&]*)/.exec(hash) ?? [];
  let key = value;
  try {
    // Not URLSearchParams: it takes a "+" for a space, and keys in Base64 have "+".
    key = decodeURIComponent(value);
  } catch {
    // The key has a "%" and was put into the link as it is.
  }
  return isKey(key) ? key : null;
}

/**
 * @param {string} text
 * @returns {boolean}
 */
export function isKey(text) {
  return KEY.test(text);
}

/**
 * The subprotocols that carry a key: a browser cannot set headers of a WebSocket, and unlike an address a subprotocol is not
 * logged. What a subprotocol cannot carry is percent-encoded.
 *
 * @param {string | null} key
 * @returns {string[]}
 */
export function subprotocols(key) {
  if (key === null) return [];
  const encode = () => encodeURIComponent(key).replace(/[()]/g, (sign) => `%${sign.charCodeAt(0).toString(16)}`);
  return ["token", TOKEN.test(key) ? key : encode()];
}

/**
 * @param {string | null} key
 * @returns {Record<string, string>} headers of a request
 */
export function authorization(key) {
  return key === null ? {} : { Authorization: `Bearer ${key}` };
}

/**
 * Asks whether the server would take a stream with this key.
 *
 * @param {string} stream address of the WebSocket, by http: there the server says why it would refuse one
 * @param {string | null} key
 * @param {typeof fetch} [fetch]
 * @returns {Promise<"unauthorized" | "wrong_key" | null>} null: the key is not the problem
 */
export async function keyProblem(stream, key, fetch = globalThis.fetch) {
  try {
    const { status } = await fetch(stream, { cache: "no-store", headers: authorization(key) });
    return status === 401 ? missingOrWrong(key) : null;
  } catch {
    // The server is gone. That is said when a recording is started.
    return null;
  }
}

/**
 * @param {string | null} key that a server has refused
 * @returns {"unauthorized" | "wrong_key"}
 */
export function missingOrWrong(key) {
  return key === null ? "unauthorized" : "wrong_key";
}
