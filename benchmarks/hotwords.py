"""Measures what a client's hotwords do: how many of them are found, what they cost, and what they break.

    python -m benchmarks.hotwords --words names.txt --group 'read=speech/read_*.flac' --group 'phone=phone/*.flac'

``names.txt`` has one hotword per line. Every clip of every recording (the whole recording where it has no clips) is
decoded at once, as the end of an utterance. With ``--live`` it is played on the simulated clock of
``benchmarks.engine``. Each of ``--ways`` is one row of the table:

- ``without``: no hotwords;
- ``prompt``: the hotwords as the text of a prompt;
- ``hotwords``: as hotwords of the stream.

``said``: how often a hotword is in the transcripts, in any of its forms. ``found``: how many of them are recognised, in
any form and in the form that was said. ``not said``: hotwords that are recognised more often in a clip than they were
said there. ``WER elsewhere``: errors in all other words, per word; then only in clips without any hotword. CPU is in
seconds per second of audio.
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine import Stream, play
from benchmarks.scoring import Errors, count_errors, errors_by_part, normalise
from benchmarks.speech import Speech, add_group_option, read_groups, read_samples
from whisperlivekit.core.commands import Start
from whisperlivekit.core.hypothesis import DecodeRequest
from whisperlivekit.core.session import SessionConfig
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.engine import memory
from whisperlivekit.engine.hotwords import forms_of
from whisperlivekit.engine.models import find_silero
from whisperlivekit.engine.silero import SileroDetector, SileroModel
from whisperlivekit.engine.whisper import CONTEXT_S, EngineConfig, WhisperModel

WAYS = ("without", "prompt", "hotwords")

AFTER_S = 0.3
"""Audio after the end of a clip: its last sound decays."""

DECODE_S = 0.16
"""Duration of a decode on the simulated clock, so that a second run gives the same words."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One clip of a recording."""

    name: str
    samples: NDArray[np.float32]
    words: tuple[str, ...]
    """Normalised."""


@dataclass(slots=True)
class Row:
    """The figures of one way to give hotwords."""

    way: str
    said: int = 0
    found: int = 0
    same_form: int = 0
    not_said: int = 0
    elsewhere: Errors = field(default_factory=lambda: Errors(0, 0, 0, 0))
    none_said: Errors = field(default_factory=lambda: Errors(0, 0, 0, 0))
    cpu_s: float = 0.0
    audio_s: float = 0.0

    def line(self) -> str:
        return (
            f"| {self.way} | {self.said} | {self.found} ({self.found / max(1, self.said):.0%}) | {self.same_form} "
            f"| {self.not_said} | {self.elsewhere.wer:.4f} of {self.elsewhere.reference_words} "
            f"| {self.none_said.wer:.4f} of {self.none_said.reference_words} "
            f"| {self.cpu_s / max(self.audio_s, 1e-9):.3f} |"
        )


HEADER = (
    "| way | said | found | in the same form | not said | WER elsewhere | in clips without any | CPU s per audio s |"
    "\n|---|---|---|---|---|---|---|---|"
)


class Spotter:
    """Finds hotwords in normalised words, in any of their forms."""

    def __init__(self, hotwords: Sequence[str]) -> None:
        self._hotword_of: dict[tuple[str, ...], str] = {}
        for hotword in hotwords:
            for form in forms_of(hotword):
                self._hotword_of.setdefault(tuple(normalise(form)), hotword)
        self._longest = max(map(len, self._hotword_of), default=0)

    def spot(self, words: Sequence[str]) -> Iterator[tuple[int, int, str]]:
        """First word, end and hotword of each occurrence; they do not overlap, and the longest wins."""
        place = 0
        while place < len(words):
            for length in range(min(self._longest, len(words) - place), 0, -1):
                hotword = self._hotword_of.get(tuple(words[place : place + length]))
                if hotword is not None:
                    yield place, place + length, hotword
                    place += length - 1
                    break
            place += 1


def count(row: Row, spotter: Spotter, reference: Sequence[str], text: str) -> None:
    """Add the figures of one clip."""
    heard = normalise(text)
    said_at, heard_at = list(spotter.spot(reference)), list(spotter.spot(heard))
    said, got = (Counter(hotword for *_, hotword in found) for found in (said_at, heard_at))
    row.said += said.total()
    row.found += (said & got).total()
    row.not_said += (got - said).total()
    forms_said = Counter(tuple(reference[first:last]) for first, last, _ in said_at)
    row.same_form += (forms_said & Counter(tuple(heard[first:last]) for first, last, _ in heard_at)).total()
    if not said_at:
        errors = count_errors(reference, text)
        row.elsewhere += errors
        row.none_said += errors
        return
    # Parts in turn: other words, a hotword, other words. No part may be empty.
    edges = sorted({0, len(reference), *(edge for first, last, _ in said_at for edge in (first, last))})
    parts = [number for number, (first, last) in enumerate(pairwise(edges)) for _ in range(last - first)]
    hotword_parts = {parts[first] for first, _, _ in said_at}
    for number, errors in enumerate(errors_by_part(reference, parts, text)):
        if number not in hotword_parts:
            row.elsewhere += errors


def utterances_of(recording: Speech) -> Iterator[Utterance]:
    """The clips of a recording, or the whole recording where it has none."""
    samples = read_samples(recording.audio)
    if not recording.clips:
        yield Utterance(recording.name, samples, tuple(word.text for word in recording.words))
    for number, clip in enumerate(recording.clips):
        cut = samples[round(clip.start_s * SAMPLE_RATE) : round((clip.end_s + AFTER_S) * SAMPLE_RATE)]
        yield Utterance(f"{recording.name}-{number}", cut, tuple(normalise(clip.text)))


def start_of(way: str, hotwords: Sequence[str]) -> Start:
    """What a client asks for in one of ``WAYS``."""
    if way == "prompt":
        return Start(language="ru", prompt=", ".join(hotwords) + ".")
    return Start(language="ru", hotwords=tuple(hotwords) if way == "hotwords" else ())


def decode(model: WhisperModel, utterance: Utterance, start: Start) -> str:
    """The text of a whole utterance, decoded at once.

    Raises:
        SystemExit: it is longer than the model's window.
    """
    if len(utterance.samples) > CONTEXT_S * SAMPLE_RATE:
        seconds = len(utterance.samples) / SAMPLE_RATE
        raise SystemExit(f"{utterance.name} has {seconds:.0f} s, expected up to {CONTEXT_S:g} s, or the option --live")
    request = DecodeRequest(
        1, utterance.samples, 0, start.language, prompt=start.prompt or "", hotwords=start.hotwords, final=True
    )
    (hypothesis,) = model.decode([request])
    return "".join(word.text for word in hypothesis.words)


async def stream_of(utterance: Utterance, vad: SileroModel) -> Stream:
    """The utterance with its speech probabilities."""
    return Stream(utterance.name, utterance.samples, await SileroDetector(vad).feed(utterance.samples), ())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_group_option(parser)
    parser.add_argument("--words", type=Path, required=True, help="file with one hotword per line")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--live", action="store_true", help="play each clip on the simulated clock")
    parser.add_argument("--model", type=Path, default=Path("models/whisper/base"))
    parser.add_argument(
        "--texts", action="store_true", help="print the text of each clip that differs from the first way"
    )
    options = parser.parse_args(arguments)
    hotwords = [line.strip() for line in options.words.read_text(encoding="utf-8").splitlines() if line.strip()]
    recordings = read_groups(options.group)
    if not (recordings and hotwords):
        parser.error("expected at least one --group and one hotword")
    memory.limit()
    utterances = [utterance for recording in recordings for utterance in utterances_of(recording)]
    model = WhisperModel(EngineConfig(options.model, "cpu"))
    texts = measure(utterances, model, hotwords, options)
    if options.texts:
        for utterance, (first, *others) in zip(utterances, zip(*texts, strict=True), strict=True):
            for way, text in zip(options.ways[1:], others, strict=True):
                if text != first:
                    print(
                        f"\n{utterance.name}: {' '.join(utterance.words)}\n  {options.ways[0]}:{first}\n  {way}:{text}"
                    )


def measure(
    utterances: Sequence[Utterance], model: WhisperModel, hotwords: Sequence[str], options: argparse.Namespace
) -> list[list[str]]:
    """Print the table, and return the texts of all utterances for each way."""
    import asyncio

    streams: list[Stream] = []
    if options.live:
        vad = SileroModel(find_silero(Path("models")))
        streams = [asyncio.run(stream_of(utterance, vad)) for utterance in utterances]
    spotter = Spotter(hotwords)
    texts: list[list[str]] = []
    print(HEADER)
    for way in options.ways:
        row, start = Row(way), start_of(way, hotwords)
        texts.append([])
        for number, utterance in enumerate(utterances):
            if options.live:
                transcript, cpu_s, _ = play(streams[number], model, SessionConfig(), DECODE_S, start)
                text = transcript.committed
            else:
                before = time.process_time()
                text = decode(model, utterance, start)
                cpu_s = time.process_time() - before
            row.cpu_s += cpu_s
            row.audio_s += len(utterance.samples) / SAMPLE_RATE
            count(row, spotter, utterance.words, text)
            texts[-1].append(text)
        print(row.line(), flush=True)
    return texts


if __name__ == "__main__":
    main()
