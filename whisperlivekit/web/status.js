/**
 * The status page without its elements: reads /metrics, computes and words what it says. Pure.
 *
 * Rates and percentiles cover the time between two readings. The first reading alone covers the time since the server's start.
 *
 * @typedef {import("./i18n.js").Language} Language
 * @typedef {"good" | "warn" | "bad" | "wait"} Tone
 * @typedef {{name: string, labels: Record<string, string>, value: number}} Sample
 * @typedef {{samples: Sample[], atS: number}} Reading
 * @typedef {Record<string, string | number>} Values
 */

const PREFIX = "whisperlivekit_";

/** Lag of the text above which the page calls the server overloaded. */
const LATE_S = 5;

/** @type {Record<Language, Record<string, string>>} */
export const STATUS_TEXTS = {
  ru: {
    title: "Состояние сервера",
    "verdict.good": "Всё в порядке: сервер принимает новые записи.",
    "verdict.busy": "Сервер перегружен: текст отстаёт от речи.",
    "verdict.full": "Сервер занят: новые записи пока не принимаются.",
    "verdict.workers": "Сервер работает не в полную силу: готово процессов {ready} из {workers}.",
    "verdict.loading": "Сервер запускается: модель загружается.",
    "verdict.draining": "Сервер останавливается: завершает начатые записи.",
    "verdict.failed": "Сервер не работает: модель не загружена. Причина указана в журнале сервера.",
    "verdict.unreachable": "Сервер не отвечает.",
    "fact.sessions": "Записей сейчас",
    "fact.workers": "Рабочие процессы",
    "fact.model": "Модель",
    "fact.up": "Время работы",
    "fact.partial": "Слово появляется через",
    "fact.commit": "Слово становится окончательным через",
    "fact.busy": "Модель занята",
    "fact.audio": "Получено звука",
    "fact.ended": "Записей закончено",
    "fact.resumed": "Продолжено после обрыва связи",
    "fact.rejected": "Отказано в подключении",
    "fact.errors": "Прервано ошибкой сервера",
    "fact.gap": "Не распознано звука",
    "fact.gpu": "Видеокарта {gpu}",
    "value.of": "готово {ready} из {workers}",
    "value.latency": "обычно {p50} с, в 95 % случаев не позже {p95} с",
    "value.none": "пока никто не говорил",
    "value.share": "{percent} %",
    "value.audio": "{audio}, из них речь {percent} %",
    "value.seconds": "{seconds} с",
    "value.gpu": "{name}: загрузка {load}, память {used} из {total} ГБ, {temperature}, {power}",
    "value.model": "{model}, {device}, {compute_type}, версия {version}",
    "value.unknown": "нет данных",
    "time.d": "{days} дн. {hours} ч",
    "time.h": "{hours} ч {minutes} мин",
    "time.m": "{minutes} мин {seconds} с",
    age: "Данные на {time}. Обновляются каждые {seconds} с.",
  },
  en: {
    title: "Server status",
    "verdict.good": "All is well: the server accepts new recordings.",
    "verdict.busy": "The server is overloaded: the text lags behind the speech.",
    "verdict.full": "The server is full: it accepts no new recordings for now.",
    "verdict.workers": "The server runs below capacity: {ready} of {workers} processes are ready.",
    "verdict.loading": "The server is starting: its model is loading.",
    "verdict.draining": "The server is stopping: it finishes the recordings in progress.",
    "verdict.failed": "The server does not work: the model is not loaded. The reason is in the server's log.",
    "verdict.unreachable": "The server does not answer.",
    "fact.sessions": "Recordings now",
    "fact.workers": "Worker processes",
    "fact.model": "Model",
    "fact.up": "Uptime",
    "fact.partial": "A word is shown after",
    "fact.commit": "A word is final after",
    "fact.busy": "Model busy",
    "fact.audio": "Audio received",
    "fact.ended": "Recordings ended",
    "fact.resumed": "Resumed after an outage",
    "fact.rejected": "Connections rejected",
    "fact.errors": "Ended by a server error",
    "fact.gap": "Audio not transcribed",
    "fact.gpu": "GPU {gpu}",
    "value.of": "{ready} of {workers} ready",
    "value.latency": "{p50} s typically, {p95} s or less in 95 % of cases",
    "value.none": "nobody has spoken yet",
    "value.share": "{percent} %",
    "value.audio": "{audio}, {percent} % of it speech",
    "value.seconds": "{seconds} s",
    "value.gpu": "{name}: load {load}, memory {used} of {total} GB, {temperature}, {power}",
    "value.model": "{model}, {device}, {compute_type}, version {version}",
    "value.unknown": "no data",
    "time.d": "{days} d {hours} h",
    "time.h": "{hours} h {minutes} min",
    "time.m": "{minutes} min {seconds} s",
    age: "As of {time}. Updated every {seconds} s.",
  },
};

/**
 * @param {Language} language
 * @param {string} key
 * @param {Values} [values]
 */
export function statusText(language, key, values = {}) {
  return STATUS_TEXTS[language][key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/**
 * Reads the part of Prometheus' text format that the server writes.
 *
 * @param {string} text
 * @returns {Sample[]}
 */
export function parse(text) {
  const samples = [];
  for (const line of text.split("\n")) {
    const match = /^(\w+)(?:\{(.*)\})? (\S+)/.exec(line);
    if (line.startsWith("#") || match === null) continue;
    /** @type {Record<string, string>} */
    const labels = {};
    for (const [, name, value] of (match[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      labels[name] = value.replace(/\\(.)/g, (_, letter) => (letter === "n" ? "\n" : letter));
    }
    const value = match[3] === "+Inf" ? Infinity : Number(match[3]);
    samples.push({ name: match[1].replace(PREFIX, ""), labels, value });
  }
  return samples;
}

/**
 * @param {Sample[]} samples
 * @param {string} name
 * @param {(labels: Record<string, string>) => boolean} [chosen]
 */
export function sum(samples, name, chosen = () => true) {
  return samples.filter((sample) => sample.name === name && chosen(sample.labels)).reduce((total, { value }) => total + value, 0);
}

/**
 * A percentile of the observations between two readings, interpolated within its bucket. Null if there were none.
 *
 * @param {Sample[]} now
 * @param {Sample[]} before
 * @param {string} name
 * @param {number} share 0.95 for p95
 */
export function percentile(now, before, name, share) {
  /** @type {Map<number, number>} */
  const counts = new Map();
  for (const [samples, sign] of /** @type {const} */ ([[now, 1], [before, -1]])) {
    for (const { name: other, labels, value } of samples) {
      if (other !== `${name}_bucket`) continue;
      const edge = labels.le === "+Inf" ? Infinity : Number(labels.le);
      counts.set(edge, (counts.get(edge) ?? 0) + sign * value); // summed over all other labels
    }
  }
  const edges = [...counts.keys()].sort((a, b) => a - b);
  const total = counts.get(Infinity) ?? 0;
  if (total <= 0) return null;
  let below = 0;
  let low = 0;
  for (const edge of edges) {
    const count = counts.get(edge) ?? 0;
    if (count >= share * total) {
      if (edge === Infinity) return low;
      return low + ((edge - low) * (share * total - below)) / (count - below);
    }
    [below, low] = [count, edge];
  }
  return low;
}

/**
 * Everything that the page shows.
 *
 * @param {Reading | null} now null: the server does not answer
 * @param {Reading | null} before an earlier reading
 * @param {{status: string} | null} ready what /ready says
 * @param {Language} language
 * @returns {{tone: Tone, verdict: string, facts: [string, string][]}}
 */
export function summarise(now, before, ready, language) {
  if (now === null) return { tone: "bad", verdict: statusText(language, "verdict.unreachable"), facts: [] };
  const { samples } = now;
  // Counters that have gone down are those of a restarted server.
  const restarted = before !== null && sum(samples, "audio_seconds_total") < sum(before.samples, "audio_seconds_total");
  const earlier = before === null || restarted ? [] : before.samples;
  const figures = {
    ready: sum(samples, "ready_workers"),
    workers: sum(samples, "workers"),
    late: percentile(samples, earlier, "lag_seconds", 0.95),
  };
  const { tone, key } = judge(figures, ready?.status ?? "failed");
  return { tone, verdict: statusText(language, key, figures), facts: facts(samples, earlier, now, before, figures, language) };
}

/**
 * @param {{ready: number, workers: number, late: number | null}} figures
 * @param {string} status
 * @returns {{tone: Tone, key: string}}
 */
function judge({ ready, workers, late }, status) {
  if (status === "loading" && ready === 0) return { tone: "wait", key: "verdict.loading" };
  if (status === "draining") return { tone: "wait", key: "verdict.draining" };
  if (ready === 0) return { tone: "bad", key: "verdict.failed" };
  if (status === "full") return { tone: "warn", key: "verdict.full" };
  if (late !== null && late > LATE_S) return { tone: "warn", key: "verdict.busy" };
  if (ready < workers) return { tone: "warn", key: "verdict.workers" };
  return { tone: "good", key: "verdict.good" };
}

/**
 * @param {Sample[]} samples
 * @param {Sample[]} earlier
 * @param {Reading} now
 * @param {Reading | null} before
 * @param {{ready: number, workers: number}} figures
 * @param {Language} language
 * @returns {[string, string][]}
 */
function facts(samples, earlier, now, before, { ready, workers }, language) {
  const text = (/** @type {string} */ key, /** @type {Values} */ values = {}) => statusText(language, key, values);
  const count = (/** @type {number} */ value) => Math.round(value).toLocaleString(language);
  const decimal = (/** @type {number} */ value) =>
    value.toLocaleString(language, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
  const latency = (/** @type {string} */ name) => {
    // Since the earlier reading or, if nobody has spoken since, from the start.
    const base = percentile(samples, earlier, name, 0.5) === null ? [] : earlier;
    const [p50, p95] = [0.5, 0.95].map((share) => percentile(samples, base, name, share));
    if (p50 === null || p95 === null) return text("value.none");
    return text("value.latency", { p50: decimal(p50), p95: decimal(p95) });
  };
  const info = samples.find(({ name, value }) => name === "info" && value === 1)?.labels;
  const started = samples.find(({ name }) => name === "start_time_seconds")?.value;
  const audio = sum(samples, "audio_seconds_total");
  const speech = sum(samples, "speech_seconds_total");
  const spent = sum(samples, "decode_stage_seconds_total") - sum(earlier, "decode_stage_seconds_total");
  const passed = now.atS - (earlier.length > 0 && before !== null ? before.atS : started ?? now.atS);
  // `spent` is summed over all decoding threads.
  const lanes = sum(samples, "lanes");
  const faults = ["internal_error", "decode_failed", "model_unavailable"];
  /** @type {[string, string][]} */
  const rows = [
    [text("fact.sessions"), count(sum(samples, "sessions"))],
    [text("fact.partial"), latency("partial_latency_seconds")],
    [text("fact.commit"), latency("commit_latency_seconds")],
    [text("fact.busy"), passed > 0 && lanes > 0 ? share(spent / passed / lanes, text) : text("value.unknown")],
    [text("fact.workers"), text("value.of", { ready, workers })],
    [text("fact.model"), info === undefined ? text("value.unknown") : text("value.model", info)],
    [text("fact.up"), started === undefined ? text("value.unknown") : duration(now.atS - started, text)],
    [text("fact.audio"), text("value.audio", { audio: duration(audio, text), percent: Math.round(audio > 0 ? (100 * speech) / audio : 0) })],
    [text("fact.gap"), text("value.seconds", { seconds: count(sum(samples, "gap_seconds_total")) })],
    [text("fact.ended"), count(sum(samples, "sessions_closed_total"))],
    [text("fact.errors"), count(sum(samples, "sessions_closed_total", ({ code }) => faults.includes(code)))],
    [text("fact.resumed"), count(sum(samples, "sessions_resumed_total"))],
    [text("fact.rejected"), count(sum(samples, "sessions_refused_total"))],
  ];
  for (const { labels } of samples.filter(({ name }) => name === "gpu_memory_total_bytes")) {
    const of = (/** @type {string} */ name) => samples.find((sample) => sample.name === `gpu_${name}` && sample.labels.gpu === labels.gpu)?.value;
    const load = of("utilization_ratio");
    const temperature = of("temperature_celsius");
    const power = of("power_watts");
    rows.push([
      text("fact.gpu", { gpu: labels.gpu }),
      text("value.gpu", {
        name: labels.name,
        load: load === undefined ? text("value.unknown") : share(load, text),
        used: decimal((of("memory_used_bytes") ?? 0) / 2 ** 30),
        total: decimal((of("memory_total_bytes") ?? 0) / 2 ** 30),
        temperature: temperature === undefined ? "– °C" : `${Math.round(temperature)} °C`,
        power: power === undefined ? "– W" : `${Math.round(power)} W`,
      }),
    ]);
  }
  return rows;
}

/**
 * @param {number} ratio
 * @param {(key: string, values: Record<string, number>) => string} text
 */
function share(ratio, text) {
  return text("value.share", { percent: Math.round(100 * ratio) });
}

/**
 * @param {number} seconds
 * @param {(key: string, values: Record<string, number>) => string} text
 */
function duration(seconds, text) {
  const whole = Math.max(0, Math.round(seconds));
  const parts = { days: Math.floor(whole / 86400), hours: Math.floor(whole / 3600), minutes: Math.floor(whole / 60), seconds: whole % 60 };
  if (parts.days > 0) return text("time.d", { ...parts, hours: parts.hours % 24 });
  if (parts.hours > 0) return text("time.h", { ...parts, minutes: parts.minutes % 60 });
  return text("time.m", parts);
}
