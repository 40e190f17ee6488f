"""What was said before the window of a decode, for the decoder to hear and read again.

Whisper was trained on 30 s at a time: with a longer memory it mishears fewer words, and it is surer of them, so they
are committed sooner. The memory holds words of several utterances with their audio, without the pauses between them.
Their text is forced. They cost encoding in each decode.

A wrong word in the context costs more words than a right one saves. So only words that are probably right are
remembered, and no single words between others that are not. A context never holds the same word twice in a row or the
same two words twice: the decoder tends to go on repeating them.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.core.hypothesis import NO_AUDIO, Word, normalize
from whisperlivekit.core.timeline import Timeline
from whisperlivekit.core.units import ENCODER_FRAME, to_samples

SURE = 0.4
"""Probability from which on a word is remembered. Keeping less probable ones took away what the memory gains."""

TOGETHER = 3
"""Words in a row from which on they are remembered where others beside them are not."""

LETTER_S = 0.02
"""The shortest time per letter of a word that was said; people take 0.05 to 0.1 s. Invented words get hardly any."""

LONGEST_PAUSE_S = 10.0
"""What was said before a longer pause is not heard again: somebody else may speak now."""


@dataclass(frozen=True, slots=True)
class Context:
    """Speech that the decoder hears and reads in front of a window."""

    samples: NDArray[np.float32]
    """float32[n], mono 16 kHz: whole encoder frames."""
    text: str


@dataclass(frozen=True, slots=True)
class _Heard:
    """A sure word with its audio ``[start, end)``, which reaches to the next word."""

    samples: NDArray[np.float32]
    text: str
    start: int
    end: int


class History:
    """The latest sure words of a stream. Positions are samples of the stream."""

    def __init__(self, longest_s: float, short_s: float) -> None:
        """longest_s, short_s: the longest audio of a context and of a short one, in seconds. 0: no context."""
        self._longest = to_samples(longest_s)
        self._short = to_samples(short_s)
        self._heard: deque[_Heard] = deque()
        self._length = 0
        """Samples in ``_heard``."""

    def add(self, words: Sequence[Word], start: int, end: int, timeline: Timeline) -> None:
        """``words`` were said in ``[start, end)``, audio that no later window holds."""
        # A faulty client may have resumed with words beyond the audio.
        start, end = max(start, timeline.start), min(end, timeline.end)
        run: list[_Heard] = []
        for number, word in enumerate(words):
            until = min(words[number + 1].start, end) if number + 1 < len(words) else end
            if _is_sure(word, min(until, word.end) - max(start, word.start)):
                run.append(_Heard(timeline.slice(start, until), word.text, start, until))
            else:
                self._remember(run)
                run = []
            start = max(start, until)
        self._remember(run, whole=len(run) == len(words))

    def _remember(self, run: list[_Heard], *, whole: bool = False) -> None:
        if not whole and len(run) < TOGETHER:
            return
        self._heard.extend(run)
        self._length += sum(len(heard.samples) for heard in run)
        while self._length > self._longest:
            self._length -= len(self._heard.popleft().samples)

    def before(self, position: int, *, short: bool, following: str = "") -> Context | None:
        """The last words before ``position``, where ``following`` is said; None if none are known that could help."""
        longest = min(self._longest, self._short) if short else self._longest
        chosen: deque[_Heard] = deque()
        length = 0
        pairs = set()
        following = normalize(following)
        for heard in reversed(self._heard):
            length += len(heard.samples)
            pair = normalize(heard.text), following
            if length > longest or position - heard.end > to_samples(LONGEST_PAUSE_S):
                break
            if pair in pairs or (pair[0] and pair[0] == following):
                break
            pairs.add(pair)
            chosen.appendleft(heard)
            position, following = heard.start, pair[0]
        samples = np.concatenate([heard.samples for heard in chosen]) if chosen else NO_AUDIO
        if len(samples) < ENCODER_FRAME:
            return None
        return Context(samples[len(samples) % ENCODER_FRAME :], "".join(heard.text for heard in chosen))


def _is_sure(word: Word, left: int) -> bool:
    """``left``: samples of its audio that are still there."""
    spoken = max(1, to_samples(LETTER_S) * len(normalize(word.text)))
    return word.probability >= SURE and left >= spoken
