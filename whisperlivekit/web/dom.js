/** Small things that both pages do with their elements. */

/**
 * Screen readers read out what changes, so a text is written only when it is another one.
 *
 * @param {HTMLElement} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Writes the texts of all elements that name one: as content (`data-i18n`), as name (`data-i18n-label`), as tooltip
 * (`data-i18n-title`), as placeholder (`data-i18n-placeholder`).
 *
 * @param {import("./i18n.js").Translator} translator
 */
export function translateDocument(translator) {
  document.documentElement.lang = translator.language;
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-i18n]"))) {
    setText(element, translator.text(element.dataset.i18n ?? ""));
  }
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-i18n-label]"))) {
    element.setAttribute("aria-label", translator.text(element.dataset.i18nLabel ?? ""));
  }
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-i18n-title]"))) {
    element.title = translator.text(element.dataset.i18nTitle ?? "");
  }
  for (const input of /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll("[data-i18n-placeholder]"))) {
    input.placeholder = translator.text(input.dataset.i18nPlaceholder ?? "");
  }
}
