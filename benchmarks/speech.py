"""A stretch of speech with its words, cut from a longer stream in a pause."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from benchmarks.client import Sound, read_sound
from benchmarks.live import read_reference
from benchmarks.scoring import TimedWord

SLACK_S = 6.0
"""How much shorter than asked a stretch may be, so that it ends in a pause."""

AFTER_S = 0.3
"""How far behind the last word the cut is."""


def cut(sound: Sound, words: Sequence[TimedWord], seconds: float) -> tuple[Sound, list[TimedWord]]:
    """The beginning of a stream, up to the longest pause in the last ``SLACK_S`` before ``seconds``.

    All of the stream where it is shorter.
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
    """The beginning of a file and its words; ``reference`` is the audio's name with .json unless said."""
    return cut(read_sound(audio), read_reference(reference or audio.with_suffix(".json")), seconds)
