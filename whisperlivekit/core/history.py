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

SHORTEST_S = 0.1
"""Shorter audio between two unsure words is not remembered: hardly a whole word."""

LONGEST_PAUSE_S = 10.0
"""What was said before a longer pause is not heard again: somebody else may speak now."""


@dataclass(frozen=True, slots=True)
class Context:
    """Speech that the decoder hears and reads in front of a window."""

    samples: NDArray[np.float32]
    """float32[n], mono 16 kHz: whole encoder frames."""
    text: str


@dataclass(frozen=True, slots=True)
class _Piece:
    """Words in a row, all of them sure, with their audio ``[start, end)``."""

    samples: NDArray[np.float32]
    text: str
    start: int
    end: int


class History:
    """The latest sure words of a stream. Positions are samples of the stream."""

    def __init__(self, longest_s: float) -> None:
        """longest_s: the longest audio of a context, in seconds. 0: nothing is remembered."""
        self._longest = to_samples(longest_s)
        self._pieces: deque[_Piece] = deque()
        self._length = 0
        """Samples in ``_pieces``."""

    def add(self, words: Sequence[Word], start: int, end: int, timeline: Timeline) -> None:
        """``words`` were said in ``[start, end)``, audio that no later window holds."""
        run: list[Word] = []
        # A faulty client may have resumed with words beyond the audio.
        start, end = max(start, timeline.start), min(end, timeline.end)
        before = ""
        for word in words:
            text = normalize(word.text)
            repeated, before = text == before, text
            if word.probability >= SURE and not repeated:
                run.append(word)
                continue
            self._remember(run, start, min(word.start, end), timeline)
            run, start = [], max(start, word.end)
        self._remember(run, start, end, timeline)

    def before(self, position: int) -> Context | None:
        """What was said last before ``position``, whole pieces only; None if nothing of it is known."""
        chosen: deque[_Piece] = deque()
        length = 0
        for piece in reversed(self._pieces):
            length += len(piece.samples)
            if length > self._longest or position - piece.end > to_samples(LONGEST_PAUSE_S):
                break
            chosen.appendleft(piece)
            position = piece.start
        if not chosen:
            return None
        return Context(np.concatenate([piece.samples for piece in chosen]), "".join(piece.text for piece in chosen))

    def _remember(self, words: Sequence[Word], start: int, end: int, timeline: Timeline) -> None:
        frames = (end - start) // ENCODER_FRAME
        if not words or frames * ENCODER_FRAME < to_samples(SHORTEST_S):
            return
        start = end - frames * ENCODER_FRAME
        piece = _Piece(timeline.slice(start, end), "".join(word.text for word in words), start, end)
        self._pieces.append(piece)
        self._length += len(piece.samples)
        while self._pieces and self._length > self._longest:
            self._length -= len(self._pieces.popleft().samples)
