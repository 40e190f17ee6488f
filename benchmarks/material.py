"""Builds the benchmark streams. Seeds are fixed, so every machine gets the same samples and words.

    python -m benchmarks.material                          all streams, into benchmarks/material/
    python -m benchmarks.material --also some/stream.flac  also three variants of another stream (with .json)

The streams are ``commands`` (short phrases), ``digits`` (numbers and menus) and ``long`` (long sentences). Each is
written plain and as ``-telephone`` (8 kHz G.711 mu-law, 300 to 3400 Hz), ``-white`` (white noise) and ``-babble`` (six
lines of other prompts at once, by the same speaker). Noise is 10 dB below the speech. ``nonspeech`` is ten minutes
without speech. ``prose-1`` to ``prose-3`` are sentences read by a man.

NAME.flac is mono 16 kHz, NAME.json is ``[[word, end_s], ...]`` of normalised words. The word ends come from
``prompts.json``. Those of the prose are estimates, divided by letters, until ``benchmarks.align`` measures them from
the sentences in NAME.clips.json. ``benchmarks.variants`` makes other variants: speeds, pitches, a room, Opus.

Long because it is one recipe: all streams share their tape, noise and seeds.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.random import Generator
from scipy.signal import butter, lfilter, sosfilt

from benchmarks.g711 import mulaw_decode, mulaw_encode
from benchmarks.prompts import (
    RATE,
    Prompt,
    Samples,
    fetch_packages,
    load_prompts,
    proportional_ends,
    read_audio,
    sound_frames,
    sound_span,
)
from benchmarks.prose import Sentence, fetch_prose, prose_streams
from benchmarks.speech import Clip, read_recording, read_samples, write_clips, write_reference

MATERIAL = Path(__file__).with_name("material")
SNR_DB = 10.0
LONGEST_STREAM_S = 150.0
FLOOR = 10 ** (-66 / 20)
"""Level of the noise in pauses, -66 dB of full scale: a quiet line, not digital silence."""

PUBLISHED = {
    "vm-record-prepend", "demo-echotest", "vm-options", "conf-adminmenu-162", "followme/status", "vm-instructions",
    "conf-adminmenu", "vm-forwardoptions", "vm-nonumber", "conf-full", "vm-next", "confbridge-rest-talk-vol-in",
    "vm-starmain", "vm-tocallback", "vm-invalid-password", "conf-userwilljoin", "invalid", "dir-nomatch",
}  # fmt: skip
"""The prompts of the stream ``telephone_ru``, which earlier figures were measured on. These streams leave them out."""

Reference = list[tuple[str, float]]


def seeded(name: str) -> Generator:
    """A random generator that always gives the same numbers for the same name."""
    return np.random.default_rng(list(name.encode()))


class Tape:
    """A stream that is being put together from pieces of sound and pauses."""

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
    """Add a prompt without the silence before and after it."""
    tape.add(read_audio(root, prompt.name)[prompt.begin : prompt.end], prompt.words, prompt.ends_s)


def stream_of(
    name: str, root: Path, phrases: Sequence[Sequence[Prompt]], longest_s: float = LONGEST_STREAM_S
) -> tuple[Samples, Reference, set[str]]:
    """A stream of phrases with pauses of 0.8 to 2 s between them and 30 ms between the prompts of one phrase.

    Phrases that would make the stream longer than ``longest_s`` are left out.

    Returns:
        The samples (float32[n], mono 16 kHz), the reference, and the names of the prompts that were used.
    """
    seed = seeded(name)
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


def prose_stream(name: str, sentences: Sequence[Sentence]) -> tuple[Samples, Reference, list[Clip]]:
    """A stream of sentences with pauses of 0.8 to 2 s between them; each sentence is a clip.

    A word's end is an estimate: the sound of its sentence is divided in proportion to the letters.
    """
    seed = seeded(name)
    tape = Tape(seed)
    clips = []
    tape.pause(0.8)
    for sentence in sentences:
        whole = read_samples(sentence.audio)
        begin, end = sound_span(whole)
        samples = whole[begin:end]
        begin_s = tape.seconds
        tape.add(samples, sentence.words, proportional_ends(list(sentence.words), sound_frames(samples)))
        clips.append(Clip(begin_s, tape.seconds, " ".join(sentence.words)))
        tape.pause(seed.uniform(0.8, 2.0))
    return tape.samples(), tape.reference, clips


def _shuffled(name: str, prompts: Sequence[Prompt]) -> list[Prompt]:
    ordered = sorted(prompts, key=lambda prompt: prompt.name)
    return [ordered[place] for place in seeded(f"{name}-order").permutation(len(ordered))]


def _unlike(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompts without those that repeat the text of an earlier one."""
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
    """Single prompts of one to six words without digits, in random order."""
    fit = [p for p in prompts if _seconds(p) < 4 and len(p.words) <= 6 and not any(w.isdigit() for w in p.words)]
    fit = [p for p in fit if not p.name.startswith(("digits/", "letters/", "phonetic/", "spy-"))]
    fit = [p for p in fit if len(" ".join(p.words)) >= 6]
    return [[prompt] for prompt in _shuffled("commands", _unlike(fit))]


def long_phrases(prompts: Sequence[Prompt]) -> list[list[Prompt]]:
    """Single prompts of more than nine words, less than one eighth of them digits, in random order."""
    fit = [p for p in prompts if len(p.words) > 9 and sum(w.isdigit() for w in p.words) * 8 < len(p.words)]
    return [[prompt] for prompt in _shuffled("long", _unlike(fit))]


def digit_phrases(prompts: Sequence[Prompt]) -> list[list[Prompt]]:
    """Menus with digits, and between them spoken numbers from 0 to 199, put together from prompts of single words."""
    by_name = {prompt.name: prompt for prompt in prompts}
    menus = [p for p in prompts if any(w.isdigit() for w in p.words) and _seconds(p) < 15]
    seed = seeded("digits")
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


def telephone(samples: Samples) -> Samples:
    """The sound as a telephone line carries it: 300 to 3400 Hz, 8 kHz, G.711 mu-law; resampled back to 16 kHz."""
    heard: Samples = soxr.resample(mulaw_decode(mulaw_encode(narrow(samples))), 8000, RATE)[: len(samples)]
    return heard


def narrow(samples: Samples) -> Samples:
    """The band from 300 to 3400 Hz, at 8 kHz."""
    band = butter(4, [300, 3400], btype="bandpass", fs=RATE, output="sos")
    narrowed: Samples = soxr.resample(sosfilt(band, samples).astype(np.float32), RATE, 8000)
    return narrowed


def _speech_power(samples: Samples) -> float:
    """Mean power of the speech: of the 10 ms blocks that are less than 30 dB below the loudest block."""
    blocks = np.mean(np.square(samples[: len(samples) // 160 * 160].reshape(-1, 160), dtype=np.float64), axis=1)
    return float(np.mean(blocks[blocks > blocks.max() / 1000]))


def with_noise(samples: Samples, noise: Samples, snr_db: float = SNR_DB) -> Samples:
    """Speech with noise whose power is ``snr_db`` below that of the speech, turned down where it would clip."""
    power = float(np.mean(np.square(noise, dtype=np.float64)))
    gain = np.sqrt(_speech_power(samples) / power / 10 ** (snr_db / 10))
    return not_clipped(samples + noise * np.float32(gain))


def not_clipped(samples: Samples) -> Samples:
    """The same samples, scaled down as a whole where the loudest is above 0.98 of full scale."""
    loudest = float(np.abs(samples).max(initial=0.0))
    scaled: Samples = (samples * np.float32(min(1.0, 0.98 / loudest) if loudest else 1.0)).astype(np.float32)
    return scaled


def babble(name: str, lines: Sequence[Samples], length: int, voices: int = 6) -> Samples:
    """``voices`` sequences of all lines at once, each in an order of its own and without pauses."""
    level = [line / np.float32(np.sqrt(_speech_power(line))) for line in lines]
    mixed = np.zeros(length, np.float32)
    for voice in range(voices):
        order = seeded(f"{name}-babble-{voice}").permutation(len(level))
        once = np.concatenate([level[place] for place in order])
        mixed += np.resize(once, length)
    return mixed


def nonspeech() -> Samples:
    """Ten minutes without speech: silence, a quiet line, a room, white noise, music, dialled keys, line tones."""
    seed = seeded("nonspeech")
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
    """Low rumble, mains hum, the changing hiss of a fan, and a knock or a click every 1.5 to 6 s."""
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
    """A melody with chords, of decaying tones with overtones."""
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
    """Dialled keys (DTMF) of 0.1 s in bursts of 4 to 11."""
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
    """Line tones of 425 Hz (ringing, 1 s of every 5 s; then busy, 0.4 s of every 0.8 s) and an electronic bell that
    alternates between two tones 20 times a second.
    """
    third = round(seconds * RATE / 3)
    t = np.arange(third) / RATE
    tone = 0.25 * np.sin(2 * np.pi * 425 * t)
    ringing = tone * (t % 5 < 1)
    busy = tone * (t % 0.8 < 0.4)
    trill = np.where(t * 20 % 1 < 0.5, np.sin(2 * np.pi * 1320 * t), np.sin(2 * np.pi * 1060 * t))
    bell = 0.3 * trill * (t % 6 < 2)
    total: Samples = np.concatenate([ringing, busy, bell]).astype(np.float32)
    return total


def write(folder: Path, name: str, samples: Samples, reference: Reference, clips: Sequence[Clip] = ()) -> None:
    """Write NAME.flac (mono 16 kHz, 16 bits), NAME.json and, where there are clips, NAME.clips.json.

    The folder is created where needed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / f"{name}.flac", samples, RATE, subtype="PCM_16")
    write_reference(folder / f"{name}.json", reference)
    if clips:
        write_clips(folder / f"{name}.flac", clips)
    print(f"{name}: {len(samples) / RATE:.1f} s, {len(reference)} words", file=sys.stderr)


def write_with_variants(
    folder: Path, name: str, samples: Samples, reference: Reference, others: Sequence[Samples]
) -> None:
    """Write the stream plain, as ``-telephone``, in ``-white`` noise and in ``-babble`` made of the other lines."""
    write(folder, name, samples, reference)
    write(folder, f"{name}-telephone", telephone(samples), reference)
    write(
        folder,
        f"{name}-white",
        with_noise(samples, _noise(seeded(f"{name}-white"), len(samples) / RATE, 1)),
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
    for name, sentences in prose_streams(fetch_prose()).items():
        write(options.output, name, *prose_stream(name, sentences))
    for path in options.also:
        recording = read_recording(path)
        reference = [(word.text, word.end_s) for word in recording.words]
        name = path.stem if path.stem != "stream" else path.parent.name
        write_with_variants(options.output, name, read_samples(path), reference, others)


if __name__ == "__main__":
    main()
