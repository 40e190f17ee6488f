/** The page of /status: asks the server again and again and shows what status.js makes of it. */

import { say, parse, summarise } from "./status.js";

/** @typedef {import("./status.js").Language} Language */
/** @typedef {import("./status.js").Reading} Reading */

const EVERY_S = 3;

/** Readings that percentiles go back over: half a minute. */
const KEPT = 10;

/** @type {Reading[]} */
const readings = [];
/** @type {{status: string} | null} */
let ready = null;
let answered = false;
/** @type {Language} */
let language = recall() === "en" ? "en" : "ru";

/** The language chosen here or on the main page. */
function recall() {
  try {
    return localStorage.getItem("speech.page");
  } catch {
    return null; // storage can be forbidden altogether
  }
}

const element = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

function show() {
  document.documentElement.lang = language;
  document.title = say(language, "title");
  element("title").textContent = document.title;
  for (const code of ["ru", "en"]) element(`page-${code}`).setAttribute("aria-pressed", String(code === language));
  const now = answered ? (readings.at(-1) ?? null) : null;
  const { tone, verdict, facts } = summarise(now, readings.length > 1 ? readings[0] : null, ready, language);
  if (element("verdict").textContent !== verdict) element("verdict").textContent = verdict; // read out only when it changes
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
  element("age").textContent = answered ? say(language, "age", { time, seconds: EVERY_S }) : "";
}

async function look() {
  try {
    const options = { cache: /** @type {const} */ ("no-store"), signal: AbortSignal.timeout(EVERY_S * 1000) };
    const [metrics, health] = await Promise.all([fetch("metrics", options), fetch("ready", options)]);
    if (!metrics.ok) throw new Error(String(metrics.status));
    readings.push({ samples: parse(await metrics.text()), atS: Date.now() / 1000 });
    if (readings.length > KEPT) readings.shift();
    ready = await health.json();
    answered = true;
  } catch {
    answered = false; // the server is gone, or a proxy is alone
  }
  show();
  setTimeout(look, EVERY_S * 1000);
}

for (const code of /** @type {const} */ (["ru", "en"])) {
  element(`page-${code}`).addEventListener("click", () => {
    language = code;
    try {
      localStorage.setItem("speech.page", code);
    } catch {
      // See recall.
    }
    show();
  });
}

look();
