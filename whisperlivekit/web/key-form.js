/** The form for the access key, as both pages have it. It knows no ids. */

import { isKey } from "./access.js";

export class KeyForm {
  /**
   * @param {object} options
   * @param {HTMLFormElement} options.form
   * @param {HTMLInputElement} options.input without a name, so that no browser can put the key into an address
   * @param {HTMLInputElement} options.remember
   * @param {HTMLButtonElement} options.forget
   * @param {import("./access.js").KeyStore} options.keys
   * @param {() => string} options.invalidText says what a key may contain
   * @param {() => void} options.onChange the key was entered or removed
   */
  constructor({ form, input, remember, forget, keys, invalidText, onChange }) {
    /** @private */
    this.form = form;
    /** @private */
    this.input = input;
    /** @private */
    this.remember = remember;
    /** @private */
    this.forget = forget;
    /** @private */
    this.keys = keys;
    input.addEventListener("input", () => input.setCustomValidity(""));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const key = input.value.trim();
      if (!isKey(key)) {
        input.setCustomValidity(invalidText());
        input.reportValidity();
        return;
      }
      keys.keep(key, remember.checked);
      input.value = "";
      onChange();
    });
    forget.addEventListener("click", () => {
      keys.forget();
      onChange();
    });
  }

  /** @param {boolean} shown */
  show(shown) {
    this.forget.hidden = this.keys.key === null;
    if (this.form.hidden === !shown) return;
    this.form.hidden = !shown;
    if (shown) this.remember.checked = this.keys.remembered;
  }

  /** Puts the keyboard's focus into the field. */
  focus() {
    this.input.focus();
  }
}
