"""Writes committed words as text, SRT, WebVTT or JSON: for files and downloads.

Each function takes the words of one channel, or those of several: then it writes a dialogue, in which each part names
its speaker, "1: " or "2: ".
"""

import json
from collections.abc import Callable, Iterable, Sequence

from whisperlivekit.core.hypothesis import Word
from whisperlivekit.core.units import SAMPLE_RATE, to_seconds

MAX_CUE_CHARACTERS = 84
"""Two lines of 42. Source: the usual limit of broadcasters."""

MAX_CUE_S = 6.0
"""The longest time that a cue is shown."""

MIN_CUE_S = 1.0
"""A sentence that is shorter than this shares its cue with the next one."""

MAX_PAUSE_S = 1.0
"""A longer pause between two words begins a new cue."""


def text(*channels: Sequence[Word]) -> str:
    """Plain text: one line for each stretch of speech without a long pause."""
    return "".join(f"{label}{_words(stretch)}\n" for label, stretch in dialogue(_stretches, channels))


def srt(*channels: Sequence[Word]) -> str:
    """SubRip."""
    blocks = (
        f"{number}\n{_time(cue[0].start, ',')} --> {_time(cue[-1].end, ',')}\n{label}{_words(cue)}\n\n"
        for number, (label, cue) in enumerate(dialogue(cues, channels), 1)
    )
    return "".join(blocks)


def vtt(*channels: Sequence[Word]) -> str:
    """WebVTT, with its markup characters escaped."""
    blocks = (
        f"{_time(cue[0].start, '.')} --> {_time(cue[-1].end, '.')}\n{label}{_escaped(cue)}\n\n"
        for label, cue in dialogue(cues, channels)
    )
    return "WEBVTT\n\n" + "".join(blocks)


def as_json(*channels: Sequence[Word]) -> str:
    """JSON with the whole text, and every word with its times in seconds; in a dialogue, also with its channel."""
    several = len(channels) > 1
    listed = [
        {
            "text": word.text.strip(),
            "start": to_seconds(word.start),
            "end": to_seconds(word.end),
            "probability": round(word.probability, 3),
        }
        | ({"channel": channel} if several else {})
        for channel, word in in_order(channels)
    ]
    whole = text(*channels).strip() if several else _words(channels[0])
    return json.dumps({"text": whole, "words": listed}, ensure_ascii=False, indent=1) + "\n"


FORMATS: dict[str, Callable[..., str]] = {"txt": text, "srt": srt, "vtt": vtt, "json": as_json}
"""File extension -> function that writes words in this format."""


def dialogue(
    split: Callable[[Sequence[Word]], Iterable[list[Word]]], channels: Sequence[Sequence[Word]]
) -> list[tuple[str, list[Word]]]:
    """The parts into which ``split`` divides each channel's words, in the order in which they begin, each with the
    label of its speaker: none if there is only one.
    """
    parts = [
        (f"{number}: " if len(channels) > 1 else "", part)
        for number, words in enumerate(channels, 1)
        for part in split(words)
    ]
    return sorted(parts, key=lambda labelled: labelled[1][0].start)


def in_order(channels: Sequence[Sequence[Word]]) -> list[tuple[int, Word]]:
    """The words of all channels in the order in which they begin, each with the number of its channel: 0, 1 ..."""
    listed = [(channel, word) for channel, words in enumerate(channels) for word in words]
    return sorted(listed, key=lambda numbered: numbered[1].start)


def _stretches(words: Iterable[Word]) -> Iterable[list[Word]]:
    """Runs of words with no long pause between them."""
    stretch: list[Word] = []
    for word in words:
        if stretch and word.start - stretch[-1].end > MAX_PAUSE_S * SAMPLE_RATE:
            yield stretch
            stretch = []
        stretch.append(word)
    if stretch:
        yield stretch


def cues(words: Iterable[Word]) -> Iterable[list[Word]]:
    """Subtitle cues: runs of words that are short enough to be read at once."""
    for stretch in _stretches(words):
        cue: list[Word] = []
        for word in stretch:
            too_long = cue and word.end - cue[0].start > MAX_CUE_S * SAMPLE_RATE
            sentence_ended = cue and cue[-1].text.endswith((".", "!", "?", "…")) and _long_enough(cue)
            if cue and (too_long or sentence_ended or len(_words([*cue, word])) > MAX_CUE_CHARACTERS):
                yield cue
                cue = []
            cue.append(word)
        yield cue


def _long_enough(cue: Sequence[Word]) -> bool:
    """Whether a cue is on the screen long enough to be read."""
    return cue[-1].end - cue[0].start >= MIN_CUE_S * SAMPLE_RATE


def _words(words: Sequence[Word]) -> str:
    return "".join(word.text for word in words).strip()


def _escaped(words: Sequence[Word]) -> str:
    return _words(words).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _time(position: int, point: str) -> str:
    milliseconds = round(position * 1000 / SAMPLE_RATE)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{milliseconds:03}"
