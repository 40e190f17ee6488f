"""What was said before the window of a decode, for the decoder to hear and read again.

Whisper was trained on 30 s at a time: with a longer memory it mishears fewer words, and it is surer of them, so they
are committed sooner. The memory holds words of several utterances with their audio, without the pauses between them.
Their text is forced. They cost encoding in each decode.

Only words that are probably right are remembered, and no word that repeats the one before it: the decoder tends to go
on repeating it.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.core.hypothesis import Word, normalize
from whisperlivekit.core.timeline import Timeline
from whisperlivekit.core.units import ENCODER_FRAME, to_samples

SURE = 0.4
"""Probability from which on a word is remembered. Keeping less probable ones took away what the memory gains."""

LONGEST_PAUSE_S = 10.0
"""What was said before a longer pause is not heard again: somebody else may speak now."""

NO_AUDIO: NDArray[np.float32] = np.zeros(0, np.float32)


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
        before = ""
        for number, word in enumerate(words):
            until = min(words[number + 1].start, end) if number + 1 < len(words) else end
            text = normalize(word.text)
            if word.probability >= SURE and text != before and start < until:
                self._heard.append(_Heard(timeline.slice(start, until), word.text, start, until))
                self._length += until - start
            before = text
            start = max(start, until)
        while self._length > self._longest:
            oldest = self._heard.popleft()
            self._length -= oldest.end - oldest.start

    def before(self, position: int, *, short: bool) -> Context | None:
        """The last words before ``position``; None if none are known that could help."""
        longest = min(self._longest, self._short) if short else self._longest
        chosen: deque[_Heard] = deque()
        length = 0
        for heard in reversed(self._heard):
            length += len(heard.samples)
            if length > longest or position - heard.end > to_samples(LONGEST_PAUSE_S):
                break
            chosen.appendleft(heard)
            position = heard.start
        samples = np.concatenate([heard.samples for heard in chosen]) if chosen else NO_AUDIO
        if len(samples) < ENCODER_FRAME:
            return None
        return Context(samples[len(samples) % ENCODER_FRAME :], "".join(heard.text for heard in chosen))
