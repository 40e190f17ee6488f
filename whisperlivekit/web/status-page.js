/** The page /status: asks the server again and again and shows what status.js makes of the answers. Knows the ids of status.html. */

import { KeyStore, authorization, missingOrWrong, takeKey } from "./access.js";
import { setText, translateDocument } from "./dom.js";
import { Translator } from "./i18n.js";
import { KeyForm } from "./key-form.js";
import { parse, statusText, summarise } from "./status.js";
import { SafeStorage } from "./storage.js";

/** @typedef {import("./status.js").Reading} Reading */

const EVERY_S = 3;

/** Readings that percentiles go back over: half a minute. */
const READINGS = 10;

const preferences = new SafeStorage(() => localStorage);
const keys = new KeyStore({ tab: new SafeStorage(() => sessionStorage), device: preferences });
const translator = new Translator(preferences.get("page") === "en" ? "en" : "ru");

const element = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** What the last request has brought. */
const answer = {
  /** @type {Reading[]} */
  readings: [],
  /** What /ready says. @type {{status: string} | null} */
  ready: null,
  reached: false,
  /** Code of the notice with the key form. @type {"unauthorized" | "wrong_key" | "key_saved" | null} */
  keyNotice: null,
};

const keyForm = new KeyForm({
  form: /** @type {HTMLFormElement} */ (element("key-form")),
  input: /** @type {HTMLInputElement} */ (element("key")),
  remember: /** @type {HTMLInputElement} */ (element("key-remember")),
  forget: /** @type {HTMLButtonElement} */ (element("key-forget")),
  keys,
  invalidText: () => translator.text("key.invalid"),
  onChange: () => {
    answer.keyNotice = null;
    ask();
  },
});

function show() {
  const { language } = translator;
  document.title = statusText(language, "title");
  setText(element("title"), document.title);
  for (const code of ["ru", "en"]) element(`page-${code}`).setAttribute("aria-pressed", String(code === language));
  showKeyForm();
  const refused = answer.keyNotice === "unauthorized" || answer.keyNotice === "wrong_key";
  const { readings, reached } = answer;
  const now = reached ? (readings.at(-1) ?? null) : null;
  const { tone, verdict, facts } = refused
    ? { tone: "warn", verdict: `${translator.error(answer.keyNotice ?? "").title}.`, facts: [] }
    : summarise(now, readings.length > 1 ? readings[0] : null, answer.ready, language);
  setText(element("verdict"), verdict);
  element("verdict").dataset.tone = tone;
  element("facts").replaceChildren(
    ...facts.flatMap(([name, value]) => {
      const [term, description] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name;
      description.textContent = value;
      return [term, description];
    }),
  );
  const time = new Date().toLocaleTimeString(language);
  setText(element("age"), now === null || refused ? "" : statusText(language, "age", { time, seconds: EVERY_S }));
}

function showKeyForm() {
  element("key-open").hidden = keys.key === null;
  element("key-help").hidden = answer.keyNotice === null;
  if (answer.keyNotice !== null) setText(element("key-help"), translator.error(answer.keyNotice).help);
  keyForm.show(answer.keyNotice !== null);
}

/** @type {AbortController | null} */
let asking = null;
/** @type {number | undefined} */
let timer;

/** Asks now, instead of a request that is under way, and then every few seconds. */
async function ask() {
  window.clearTimeout(timer);
  asking?.abort();
  const request = new AbortController();
  asking = request;
  const timeout = window.setTimeout(() => request.abort(), EVERY_S * 1000);
  const { key } = keys;
  /** @type {Partial<typeof answer>} */
  let found = { reached: false };
  try {
    const options = { cache: /** @type {const} */ ("no-store"), signal: request.signal };
    const [metrics, health] = await Promise.all([
      fetch("metrics", { ...options, headers: authorization(key) }),
      fetch("ready", options),
    ]);
    if (metrics.status === 401) {
      found = { reached: true, keyNotice: missingOrWrong(key) };
    } else if (metrics.ok) {
      const reading = { samples: parse(await metrics.text()), atS: Date.now() / 1000 };
      found = { reached: true, readings: [...answer.readings, reading].slice(-READINGS), ready: await health.json() };
    }
  } catch {
    // The server is gone, or a proxy answers without it.
  }
  window.clearTimeout(timeout);
  if (asking !== request) return;
  const hadForm = answer.keyNotice !== null;
  Object.assign(answer, found);
  show();
  if (!hadForm && answer.keyNotice !== null) keyForm.focus();
  // A key that was refused would be refused again: the next request waits for another one.
  if (found.keyNotice === undefined) timer = window.setTimeout(ask, EVERY_S * 1000);
}

for (const code of /** @type {const} */ (["ru", "en"])) {
  element(`page-${code}`).addEventListener("click", () => {
    translator.language = code;
    preferences.set("page", code);
    translateDocument(translator);
    show();
  });
}
element("key-open").addEventListener("click", () => {
  answer.keyNotice = answer.keyNotice === null ? "key_saved" : null;
  show();
  if (answer.keyNotice === null) ask();
  else keyForm.focus();
});
window.addEventListener("hashchange", () => {
  if (takeKey(keys, location, history)) {
    answer.keyNotice = null;
    ask();
  }
});

takeKey(keys, location, history);
translateDocument(translator);
ask();
