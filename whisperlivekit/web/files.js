/** What leaves the page: the text for the clipboard and the files, with their names. Pure. */

/** @typedef {"txt" | "srt" | "vtt"} Format */

/** @type {readonly Format[]} */
export const FORMATS = Object.freeze(["txt", "srt", "vtt"]);

/**
 * @param {import("./transcript.js").Transcript} transcript
 * @param {Format} format
 * @param {import("./transcript.js").GapText} gapText
 * @returns {string}
 */
export function fileContent(transcript, format, gapText) {
  if (format === "srt") return transcript.toSrt(gapText);
  if (format === "vtt") return transcript.toVtt(gapText);
  return transcript.toText(gapText);
}

/**
 * @param {Date} date
 * @param {Format} format
 * @returns {string} in local time; names sort by it
 */
export function fileName(date, format) {
  const digits = (/** @type {number} */ value) => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}-${digits(date.getMonth() + 1)}-${digits(date.getDate())}`;
  return `transcript-${day}-${digits(date.getHours())}${digits(date.getMinutes())}.${format}`;
}
