"""Builds the benchmark streams: the same samples and words on every machine, from fixed seeds.

    python -m benchmarks.material                          everything, into benchmarks/material/
    python -m benchmarks.material --also some/stream.flac  ... and the three variants of another stream (with .json)

Streams: ``commands`` (short phrases), ``digits`` (numbers and menus) and ``long`` (long sentences), each plain and as
``-telephone`` (8 kHz G.711 mu-law, 300 to 3400 Hz), ``-white`` (white noise) and ``-babble`` (six other voices' lines,
all of the same speaker), noise at 10 dB; and ``nonspeech``, ten minutes in which nobody speaks. NAME.flac is mono
16 kHz, NAME.json is ``[[word, end_s], ...]`` of normalised words. Word ends are those of ``prompts.json``.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.random import Generator
from scipy.signal import butter, lfilter, sosfilt

from benchmarks.g711 import mulaw_decode, mulaw_encode
from benchmarks.prompts import RATE, Prompt, Samples, fetch_packages, load_prompts, read_audio

MATERIAL = Path(__file__).with_name("material")
SNR_DB = 10.0
LONGEST_STREAM_S = 150.0
FLOOR = 10 ** (-66 / 20)
"""Level of the faint noise in pauses: a quiet line, not digital silence."""

PUBLISHED = {
    "vm-record-prepend", "demo-echotest", "vm-options", "conf-adminmenu-162", "followme/status", "vm-instructions",
    "conf-adminmenu", "vm-forwardoptions", "vm-nonumber", "conf-full", "vm-next", "confbridge-rest-talk-vol-in",
    "vm-starmain", "vm-tocallback", "vm-invalid-password", "conf-userwilljoin", "invalid", "dir-nomatch",
}  # fmt: skip
"""The prompts of the stream ``telephone_ru`` that earlier figures were measured on: these streams use others."""

Reference = list[tuple[str, float]]


def _seeded(name: str) -> Generator:
    return np.random.default_rng(list(name.encode()))


class Tape:
    """A stream under construction."""

    def __init__(self, noise: Generator) -> None:
        self._noise = noise
        self._pieces: list[Samples] = []
        self._samples = 0
        self.reference: Reference = []

    @property
    def seconds(self) -> float:
        return self._samples / RATE

    def add(self, samples: Samples, words: Sequence[str] = (), ends_s: Sequence[float] = ()) -> None:
        begin_s = self.seconds
        self.reference += [(word, round(begin_s + end_s, 3)) for word, end_s in zip(words, ends_s, strict=True)]
        self._pieces.append(samples)
        self._samples += len(samples)

    def pause(self, seconds: float) -> None:
        self.add(self._noise.standard_normal(round(seconds * RATE)).astype(np.float32) * np.float32(FLOOR))

    def samples(self) -> Samples:
        return np.concatenate(self._pieces)


def speak(tape: Tape, root: Path, prompt: Prompt) -> None:
    """Adds a prompt without the silence around it."""
    tape.add(read_audio(root, prompt.name)[prompt.begin : prompt.end], prompt.words, prompt.ends_s)


def stream_of(
    name: str, root: Path, phrases: Sequence[Sequence[Prompt]], longest_s: float = LONGEST_STREAM_S
) -> tuple[Samples, Reference, set[str]]:
    """Phrases with pauses of 0.8 to 2 s; the prompts of one phrase follow each other like words of one number.

    Returns:
        Samples, reference and the names of the prompts that were used.
    """
    seed = _seeded(name)
    tape = Tape(seed)
    used: set[str] = set()
    tape.pause(0.8)
    for phrase in phrases:
        if tape.seconds + sum(prompt.end - prompt.begin for prompt in phrase) / RATE > longest_s:
            continue
        for place, prompt in enumerate(phrase):
            if place:
                tape.pause(0.03)
            speak(tape, root, prompt)
            used.add(prompt.name)
        tape.pause(seed.uniform(0.8, 2.0))
    return tape.samples(), tape.reference, used


def _shuffled(name: str, prompts: Sequence[Prompt]) -> list[Prompt]:
    ordered = sorted(prompts, key=lambda prompt: prompt.name)
    return [ordered[place] for place in _seeded(f"{name}-order").permutation(len(ordered))]


def _unlike(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The same, each text once."""
    seen: set[tuple[str, ...]] = set()
    kept = []
    for prompt in prompts:
        if prompt.words not in seen:
            seen.add(prompt.words)
            kept.append(prompt)
    return kept


def _seconds(prompt: Prompt) -> float:
    return (prompt.end - prompt.begin) / RATE


def command_phrases(prompts: Sequence[Prompt]) -> list[list[Prompt]]:
    """One to six words, no digits."""
    fit = [p for p in prompts if _seconds(p) < 4 and len(p.words) <= 6 and not any(w.isdigit() for w in p.words)]
    fit = [p for p in fit if not p.name.startswith(("digits/", "letters/", "phonetic/", "spy-"))]
    fit = [p for p in fit if len(" ".join(p.words)) >= 6]
    return [[prompt] for prompt in _shuffled("commands", _unlike(fit))]


def long_phrases(prompts: Sequence[Prompt]) -> list[list[Prompt]]:
    """Sentences of more than nine words, few digits."""
    fit = [p for p in prompts if len(p.words) > 9 and sum(w.isdigit() for w in p.words) * 8 < len(p.words)]
    return [[prompt] for prompt in _shuffled("long", _unlike(fit))]


def digit_phrases(prompts: Sequence[Prompt]) -> list[list[Prompt]]:
    """Menus with digits, and between them spoken numbers and dates put together from single words."""
    by_name = {prompt.name: prompt for prompt in prompts}
    menus = [p for p in prompts if any(w.isdigit() for w in p.words) and _seconds(p) < 15]
    seed = _seeded("digits")
    spoken: list[list[Prompt]] = []
    for number in seed.permutation(np.arange(0, 200)):
        parts = [f"digits/{name}" for name in _number_parts(int(number))]
        if all(part in by_name for part in parts):
            spoken.append([by_name[part] for part in parts])
    phrases: list[list[Prompt]] = []
    for place, menu in enumerate(_shuffled("digits", _unlike(menus))):
        phrases.append([menu])
        phrases += spoken[place * 2 : place * 2 + 2]
    return phrases


def _number_parts(number: int) -> list[str]:
    parts = []
    if number >= 100:
        parts.append("hundred")
        number -= 100
        if number == 0:
            return parts
    if number > 20 and number % 10:
        return [*parts, str(number // 10 * 10), str(number % 10)]
    return [*parts, str(number)]


# ------------------------------------------------------------------------------------------------------------- variants


def telephone(samples: Samples) -> Samples:
    """What a telephone line makes of it: 300 to 3400 Hz, 8 kHz, G.711 mu-law, and back to 16 kHz."""
    heard: Samples = soxr.resample(mulaw_decode(mulaw_encode(narrow(samples))), 8000, RATE)[: len(samples)]
    return heard


def narrow(samples: Samples) -> Samples:
    """300 to 3400 Hz at 8 kHz."""
    band = butter(4, [300, 3400], btype="bandpass", fs=RATE, output="sos")
    narrowed: Samples = soxr.resample(sosfilt(band, samples).astype(np.float32), RATE, 8000)
    return narrowed


def _speech_power(samples: Samples) -> float:
    """Mean power where somebody speaks: of the 10 ms blocks less than 30 dB below the loudest."""
    blocks = np.mean(np.square(samples[: len(samples) // 160 * 160].reshape(-1, 160), dtype=np.float64), axis=1)
    return float(np.mean(blocks[blocks > blocks.max() / 1000]))


def with_noise(samples: Samples, noise: Samples, snr_db: float = SNR_DB) -> Samples:
    """The sum, with the noise ``snr_db`` below the speech, turned down where it would clip."""
    power = float(np.mean(np.square(noise, dtype=np.float64)))
    gain = np.sqrt(_speech_power(samples) / power / 10 ** (snr_db / 10))
    mixed = samples + noise * np.float32(gain)
    loudest = float(np.abs(mixed).max())
    louder: Samples = (mixed * np.float32(min(1.0, 0.98 / loudest))).astype(np.float32)
    return louder


def babble(name: str, lines: Sequence[Samples], length: int, voices: int = 6) -> Samples:
    """Several lines of speech at once, without pauses, none of it understandable."""
    level = [line / np.float32(np.sqrt(_speech_power(line))) for line in lines]
    mixed = np.zeros(length, np.float32)
    for voice in range(voices):
        order = _seeded(f"{name}-babble-{voice}").permutation(len(level))
        once = np.concatenate([level[place] for place in order])
        mixed += np.resize(once, length)
    return mixed


# ----------------------------------------------------------------------------------------------------------- non-speech


def nonspeech() -> Samples:
    """Ten minutes in which nobody speaks."""
    seed = _seeded("nonspeech")
    parts = [
        np.zeros(60 * RATE, np.float32),
        _noise(seed, 60, FLOOR),
        room(seed, 120),
        _noise(seed, 30, 0.03),
        music(seed, 120),
        dtmf(seed, 90),
        rings(120),
    ]
    return np.concatenate(parts)


def _noise(seed: Generator, seconds: float, level: float) -> Samples:
    return seed.standard_normal(round(seconds * RATE)).astype(np.float32) * np.float32(level)


def room(seed: Generator, seconds: float) -> Samples:
    """Low rumble, mains hum, fan hiss that comes and goes, and a knock or a click every few seconds."""
    count = round(seconds * RATE)
    t = np.arange(count) / RATE
    rumble = lfilter([1.0], [1.0, -0.995], seed.standard_normal(count)) * 0.0006
    hum = 0.002 * np.sin(2 * np.pi * 50 * t) + 0.001 * np.sin(2 * np.pi * 150 * t)
    hiss = seed.standard_normal(count) * 0.003 * (1 + 0.7 * np.sin(2 * np.pi * t / 17))
    total = rumble + hum + hiss
    at = 0
    while (at := at + round(seed.uniform(1.5, 6) * RATE)) < count - RATE:
        decay = seed.uniform(0.004, 0.06)
        knock = seed.standard_normal(RATE // 2) * np.exp(-np.arange(RATE // 2) / RATE / decay)
        low = lfilter([1.0], [1.0, -seed.uniform(0, 0.95)], knock)
        total[at : at + RATE // 2] += low / np.abs(low).max() * seed.uniform(0.05, 0.4)
    room_noise: Samples = total.astype(np.float32)
    return room_noise


def music(seed: Generator, seconds: float) -> Samples:
    """A melody over chords, with overtones and decay; no voice."""
    count = round(seconds * RATE)
    total = np.zeros(count + 4 * RATE)
    scale = [0, 2, 4, 5, 7, 9, 11, 12]

    def note(at: int, key: float, length_s: float, level: float) -> None:
        t = np.arange(round(length_s * RATE)) / RATE
        frequency = 220 * 2 ** (key / 12)
        wave = sum(np.sin(2 * np.pi * frequency * k * t) / k**1.5 for k in range(1, 7))
        total[at : at + len(t)] += level * wave * np.minimum(1, t / 0.01) * np.exp(-t * 2.5 / length_s)

    for beat in range(int(seconds / 0.4)):
        at = round(beat * 0.4 * RATE)
        note(at, 12 + scale[int(seed.integers(8))], float(seed.choice([0.4, 0.8])), 0.12)
        if beat % 4 == 0:
            root = scale[int(seed.integers(5))] - 12
            for step in (0, 4, 7):
                note(at, root + step, 1.6, 0.06)
    melody: Samples = total[:count].astype(np.float32)
    return melody


def dtmf(seed: Generator, seconds: float) -> Samples:
    """Dialled keys of 0.1 s, in bursts of four to eleven."""
    rows, columns = [697, 770, 852, 941], [1209, 1336, 1477]
    total = np.zeros(round(seconds * RATE), np.float32)
    t = np.arange(round(0.1 * RATE)) / RATE
    at = RATE // 2
    while at < len(total) - 6 * RATE:
        for _ in range(int(seed.integers(4, 12))):
            row, column = rows[int(seed.integers(4))], columns[int(seed.integers(3))]
            total[at : at + len(t)] = 0.2 * (np.sin(2 * np.pi * row * t) + np.sin(2 * np.pi * column * t))
            at += round(0.2 * RATE)
        at += round(seed.uniform(0.5, 3) * RATE)
    return total


def rings(seconds: float) -> Samples:
    """Line tones at 425 Hz (ringing 1 s of 5 s, then busy 0.4 s of 0.8 s) and an electronic bell of 20 Hz trills."""
    third = round(seconds * RATE / 3)
    t = np.arange(third) / RATE
    tone = 0.25 * np.sin(2 * np.pi * 425 * t)
    ringing = tone * (t % 5 < 1)
    busy = tone * (t % 0.8 < 0.4)
    trill = np.where(t * 20 % 1 < 0.5, np.sin(2 * np.pi * 1320 * t), np.sin(2 * np.pi * 1060 * t))
    bell = 0.3 * trill * (t % 6 < 2)
    total: Samples = np.concatenate([ringing, busy, bell]).astype(np.float32)
    return total


# --------------------------------------------------------------------------------------------------------------- output


def write(folder: Path, name: str, samples: Samples, reference: Reference) -> None:
    """NAME.flac and NAME.json."""
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / f"{name}.flac", samples, RATE, subtype="PCM_16")
    (folder / f"{name}.json").write_text(json.dumps(reference, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{name}: {len(samples) / RATE:.1f} s, {len(reference)} words", file=sys.stderr)


def write_with_variants(
    folder: Path, name: str, samples: Samples, reference: Reference, others: Sequence[Samples]
) -> None:
    """The stream, as telephone, in white noise and in babble."""
    write(folder, name, samples, reference)
    write(folder, f"{name}-telephone", telephone(samples), reference)
    write(
        folder,
        f"{name}-white",
        with_noise(samples, _noise(_seeded(f"{name}-white"), len(samples) / RATE, 1)),
        reference,
    )
    write(folder, f"{name}-babble", with_noise(samples, babble(name, others, len(samples))), reference)


def _contains(words: Sequence[str], phrase: Sequence[str]) -> bool:
    return any(tuple(words[at : at + len(phrase)]) == tuple(phrase) for at in range(len(words) - len(phrase) + 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=MATERIAL)
    parser.add_argument("--also", type=Path, action="append", default=[], help="another stream to make variants of")
    options = parser.parse_args()
    root = fetch_packages()
    table = load_prompts()
    known_texts = {prompt.words for prompt in table.values() if prompt.name in PUBLISHED}
    prompts = [prompt for prompt in table.values() if prompt.words not in known_texts and prompt.name not in PUBLISHED]
    everything: set[str] = set()
    built = {}
    for name, choose in (("long", long_phrases), ("digits", digit_phrases), ("commands", command_phrases)):
        left = [p for p in prompts if p.name not in everything or p.name.startswith("digits/")]
        samples, reference, used = stream_of(name, root, choose(left))
        built[name] = (samples, reference)
        everything |= used
    others = [
        read_audio(root, prompt.name)[prompt.begin : prompt.end]
        for prompt in prompts
        if prompt.name not in everything and len(prompt.words) > 1
    ]
    for name, (samples, reference) in built.items():
        write_with_variants(options.output, name, samples, reference, others)
    write(options.output, "nonspeech", nonspeech(), [])
    for path in options.also:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        mono = soxr.resample(samples.mean(axis=1), rate, RATE).astype(np.float32)
        reference = [(word, end_s) for word, end_s in json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))]
        name = path.stem if path.stem != "stream" else path.parent.name
        write_with_variants(options.output, name, mono, reference, others)


if __name__ == "__main__":
    main()
