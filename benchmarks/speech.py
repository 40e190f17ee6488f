"""Reads and writes recordings with their transcripts: single files, parts of them, and groups of files.

A recording is an audio file with its words beside it under the same name: ``NAME.flac`` and ``NAME.json``. The JSON
file holds ``[[word, end_s], ...]``: each word, and when it ends, in seconds from the beginning of the audio.
``NAME.clips.json`` is optional: ``[{"start": s, "end": s, "text": ...}, ...]``, the clips or utterances that the
recording consists of. The audio may be in any format and at any sampling rate that libsndfile reads.
"""

import argparse
import glob
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from benchmarks.client import Sound, read_sound
from benchmarks.scoring import TimedWord, normalise
from whisperlivekit.core.units import SAMPLE_RATE

SLACK_S = 6.0
"""How much shorter than requested a part may be, so that it ends in a pause."""

AFTER_S = 0.3
"""How long after the last word a part is cut."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One utterance of a recording."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Speech:
    """One recording and its transcript."""

    audio: Path
    words: tuple[TimedWord, ...]
    clips: tuple[Clip, ...] = ()
    group: str = ""
    """Recordings of one group are reported together."""

    @property
    def name(self) -> str:
        return self.audio.stem


def read_samples(path: Path) -> NDArray[np.float32]:
    """The audio of a file as float32[n], mono 16 kHz, in [-1, 1]."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    converted: NDArray[np.float32] = mono.astype(np.float32)
    return converted


def read_reference(path: Path) -> list[TimedWord]:
    """The words of a file ``[[word, end_s], ...]``, normalised; a word with a hyphen becomes two."""
    return [
        TimedWord(part, float(end_s))
        for word, end_s in json.loads(path.read_text(encoding="utf-8"))
        for part in normalise(word)
    ]


def read_clips(audio: Path) -> tuple[Clip, ...]:
    """The clips of a recording in the order of their times; none where it has no ``.clips.json``."""
    path = audio.with_suffix(".clips.json")
    if not path.is_file():
        return ()
    rows = json.loads(path.read_text(encoding="utf-8"))
    clips = (Clip(float(row["start"]), float(row["end"]), str(row.get("text", ""))) for row in rows)
    return tuple(sorted(clips, key=lambda clip: clip.start_s))


def write_reference(path: Path, reference: Sequence[tuple[str, float]]) -> None:
    """Write words with their ends in seconds as ``read_reference`` reads them."""
    path.write_text(json.dumps(reference, ensure_ascii=False) + "\n", encoding="utf-8")


def write_clips(audio: Path, clips: Sequence[Clip]) -> None:
    """Write the clips of a recording as ``read_clips`` reads them."""
    rows = [{"start": round(clip.start_s, 3), "end": round(clip.end_s, 3), "text": clip.text} for clip in clips]
    text = json.dumps(rows, ensure_ascii=False) + "\n"
    audio.with_suffix(".clips.json").write_text(text, encoding="utf-8")


def read_recording(audio: Path, group: str = "", reference: Path | None = None) -> Speech:
    """A recording with its words and clips.

    Raises:
        SystemExit: the audio or its transcript does not exist.
    """
    reference = reference or audio.with_suffix(".json")
    for path in (audio, reference):
        if not path.is_file():
            raise SystemExit(f"{path} does not exist, expected an audio file with its words beside it as NAME.json")
    return Speech(audio, tuple(read_reference(reference)), read_clips(audio), group)


def add_group_option(parser: argparse.ArgumentParser) -> None:
    """Adds ``--group``, which ``read_groups`` reads."""
    parser.add_argument(
        "--group",
        action="append",
        default=[],
        metavar="NAME=GLOB",
        help="measure these recordings and report their word error rate under this name; may be repeated, also with "
        "one name",
    )


def read_groups(options: Sequence[str]) -> list[Speech]:
    """The recordings of all ``NAME=GLOB`` options, by group and path; JSON files that match are skipped.

    Raises:
        SystemExit: an option is not ``NAME=GLOB``, matches no audio file, or a file has no transcript.
    """
    found: list[Speech] = []
    for option in options:
        name, equals, pattern = option.partition("=")
        if not (name and equals and pattern):
            raise SystemExit(f"--group is {option!r}, expected NAME=GLOB")
        paths = [Path(path) for path in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 (also absolute ones)
        audio = [path for path in paths if path.is_file() and path.suffix != ".json"]
        if not audio:
            raise SystemExit(f"--group {option}: no audio file matches, expected at least one")
        found += [read_recording(path, name) for path in audio]
    return found


def cut(sound: Sound, words: Sequence[TimedWord], seconds: float) -> tuple[Sound, list[TimedWord]]:
    """The beginning of a recording, up to the longest pause in the last ``SLACK_S`` before ``seconds``.

    A recording that is not longer than ``seconds`` is returned whole.

    Raises:
        ValueError: no word ends in that time.
    """
    if sound.seconds <= seconds:
        return sound, list(words)
    ends = [word.end_s for word in words] + [sound.seconds]
    pauses = [
        (after - end, place + 1)
        for place, (end, after) in enumerate(pairwise(ends))
        if seconds - SLACK_S <= end <= seconds - AFTER_S
    ]
    if not pauses:
        raise ValueError(f"no word ends in the {SLACK_S:g} s before {seconds:g} s")
    _, count = max(pauses)
    length = round((ends[count - 1] + AFTER_S) * sound.rate)
    return Sound(sound.samples[:length], sound.rate), list(words[:count])


def read_speech(audio: Path, seconds: float, reference: Path | None = None) -> tuple[Sound, list[TimedWord]]:
    """The beginning of a file and its words; ``reference`` defaults to the audio's name with .json."""
    return cut(read_sound(audio), read_reference(reference or audio.with_suffix(".json")), seconds)
