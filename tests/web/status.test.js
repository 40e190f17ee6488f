import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { STATUS_TEXTS, parse, percentile, statusText, sum, summarise } from "../../whisperlivekit/web/status.js";

const READING = `# HELP whisperlivekit_sessions Streams that are live.
# TYPE whisperlivekit_sessions gauge
whisperlivekit_sessions 2.0
whisperlivekit_ready_workers 4.0
whisperlivekit_lanes 8.0
whisperlivekit_workers 4.0
whisperlivekit_info{compute_type="float16",device="cuda",model="small",version="1.0"} 1.0
whisperlivekit_start_time_seconds 1000.0
whisperlivekit_audio_seconds_total 200.0
whisperlivekit_speech_seconds_total 150.0
whisperlivekit_decode_stage_seconds_total{stage="encode"} 30.0
whisperlivekit_decode_stage_seconds_total{stage="generate"} 50.0
whisperlivekit_lag_seconds_bucket{le="1.0"} 90.0
whisperlivekit_lag_seconds_bucket{le="2.0"} 100.0
whisperlivekit_lag_seconds_bucket{le="+Inf"} 100.0
whisperlivekit_sessions_closed_total{code="ok"} 7.0
whisperlivekit_sessions_closed_total{code="internal_error"} 1.0
whisperlivekit_gpu_memory_total_bytes{gpu="0",name="NVIDIA \\"X\\""} 1.7179869184e+10
whisperlivekit_gpu_memory_used_bytes{gpu="0",name="NVIDIA \\"X\\""} 4.294967296e+09
whisperlivekit_gpu_utilization_ratio{gpu="0",name="NVIDIA \\"X\\""} 0.37
`;

const reading = (text = READING, atS = 1100) => ({ samples: parse(text), atS });
const shown = (now, before, status, language = "en") => summarise(now, before, { status }, language);

describe("metrics", () => {
  it("are parsed with labels, escapes and all forms of numbers", () => {
    const samples = parse(READING);
    assert.equal(sum(samples, "sessions"), 2);
    assert.equal(sum(samples, "sessions_closed_total", ({ code }) => code === "ok"), 7);
    assert.equal(samples.find(({ name }) => name === "gpu_memory_total_bytes").labels.name, 'NVIDIA "X"');
    assert.equal(sum(samples, "gpu_memory_total_bytes"), 2 ** 34);
    assert.deepEqual(parse("garbage\n# whisperlivekit_sessions 3\n\n"), []);
  });

  it("give percentiles of the observations between two readings", () => {
    const samples = parse(READING);
    assert.ok(Math.abs(percentile(samples, [], "lag_seconds", 0.95) - 1.5) < 1e-9);
    assert.equal(percentile(samples, samples, "lag_seconds", 0.95), null);
    assert.equal(percentile([], [], "lag_seconds", 0.95), null);
    const later = parse(READING.replace('"2.0"} 100', '"2.0"} 110').replace('"+Inf"} 100', '"+Inf"} 110'));
    assert.ok(percentile(later, samples, "lag_seconds", 0.5) > 1);
  });
});

describe("the verdict", () => {
  it("follows the server's state", () => {
    const less = reading(READING.replace("ready_workers 4", "ready_workers 3"));
    const none = reading(READING.replace("ready_workers 4", "ready_workers 0"));
    assert.equal(shown(reading(), null, "ready").tone, "good");
    assert.deepEqual([shown(less, null, "ready").tone, shown(less, null, "ready").verdict.includes("3 of 4")], ["warn", true]);
    assert.equal(shown(none, null, "loading").tone, "wait");
    assert.equal(shown(none, null, "failed").tone, "bad");
    assert.equal(shown(reading(), null, "draining").tone, "wait");
    assert.match(shown(reading(), null, "full").verdict, /full/);
    assert.match(summarise(null, null, null, "ru").verdict, /не отвечает/);
  });

  it("says when the text lags", () => {
    const late = reading(READING.replace(/le="1.0"} 90.0/, 'le="1.0"} 0.0').replace(/le="2.0"} 100.0/, 'le="8.0"} 100.0'));
    assert.equal(shown(late, null, "ready").tone, "warn");
    assert.match(shown(late, null, "ready", "ru").verdict, /отстаёт/);
  });
});

describe("the facts", () => {
  it("are in plain words", () => {
    const rows = new Map(shown(reading(), null, "ready").facts);
    assert.equal(rows.get("Recordings now"), "2");
    assert.equal(rows.get("Uptime"), "1 min 40 s");
    assert.equal(rows.get("Audio received"), "3 min 20 s, 75 % of it speech");
    assert.equal(rows.get("Model busy"), "10 %"); // 80 s of 100 s, over four workers of two lanes
    assert.equal(rows.get("Ended by a server error"), "1");
    assert.equal(rows.get("A word is final after"), "nobody has spoken yet");
    assert.equal(rows.get("GPU 0"), 'NVIDIA "X": load 37 %, memory 4.0 of 16.0 GB, – °C, – W');
  });

  it("describe the time between two readings if there are two", () => {
    const before = reading();
    const after = reading(READING.replace('"encode"} 30', '"encode"} 38'), 1110);
    assert.equal(new Map(shown(after, before, "ready").facts).get("Model busy"), "10 %"); // 8 s of 10 s, over eight lanes
  });

  it("begin anew when the server was restarted", () => {
    const old = reading(READING.replace("audio_seconds_total 200", "audio_seconds_total 900"), 1000);
    assert.equal(new Map(shown(reading(), old, "ready").facts).get("Model busy"), "10 %");
  });
});

describe("numbers", () => {
  it("are written as the language writes them", () => {
    const latency = [1, 2, "+Inf"].map((edge) => `whisperlivekit_commit_latency_seconds_bucket{le="${edge}"} ${edge === 1 ? 0 : 10}`);
    const commit = (language) => shown(reading(READING + latency.join("\n")), null, "ready", language).facts[2][1];
    assert.match(commit("ru"), /1,5 с/);
    assert.match(commit("en"), /1\.5 s/);
  });
});

describe("texts", () => {
  it("exist in both languages with the same parameters", () => {
    const parameters = (text) => [...text.matchAll(/\{\w+\}/g)].map(String).sort();
    assert.deepEqual(Object.keys(STATUS_TEXTS.en).sort(), Object.keys(STATUS_TEXTS.ru).sort());
    for (const [key, text] of Object.entries(STATUS_TEXTS.ru)) {
      assert.deepEqual(parameters(STATUS_TEXTS.en[key]), parameters(text), key);
      assert.doesNotMatch(STATUS_TEXTS.en[key], /[а-яё]/i, key);
    }
    assert.equal(statusText("ru", "value.share", { percent: 5 }), "5 %");
  });
});
