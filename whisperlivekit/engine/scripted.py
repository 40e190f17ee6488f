"""An engine without a model: loud audio counts as speech, and words come from a script.

It serves for tests, for load tests of everything around the model, and for work on the web page.
"""

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, Word
from whisperlivekit.core.units import SAMPLE_RATE, WINDOW
from whisperlivekit.engine.api import EngineObserver

LOUD = 0.01
"""Root mean square above which a window counts as speech."""

WORD_S = 0.4
"""Seconds of each scripted word."""


class LoudnessDetector:
    """A SpeechDetector for which loud audio is speech."""

    def __init__(self) -> None:
        self._rest = np.zeros(0, np.float32)

    async def feed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        samples = np.concatenate([self._rest, samples])
        count = len(samples) // WINDOW
        windows = samples[: count * WINDOW].reshape(count, WINDOW)
        self._rest = samples[count * WINDOW :]
        loudness = np.sqrt(np.mean(windows**2, axis=1))
        probabilities: NDArray[np.float32] = (loudness > LOUD).astype(np.float32)
        return probabilities


class ScriptedEngine:
    """A Recognizer that returns one word of the script for every ``WORD_S`` of the stream, whatever the audio.

    The word at a position is the same in every decode, so a test knows exactly which words must be committed.
    """

    model_name = "scripted"

    def __init__(self, script: Sequence[str] = ("раз", "два", "три", "четыре", "пять"), delay_s: float = 0.0) -> None:
        self._script = script
        self._delay_s = delay_s
        self.failed = False
        self.translates = True
        self.observer: EngineObserver | None = None
        self.requests: list[DecodeRequest] = []
        self.error: Exception | None = None
        """The next decode raises it once."""

    async def load(self) -> None:
        """Nothing to load."""

    def detector(self) -> LoudnessDetector:
        return LoudnessDetector()

    def close(self) -> None:
        """Nothing to close."""

    def word_at(self, index: int) -> str:
        return " " + self._script[index % len(self._script)]

    def replace(self, request: DecodeRequest, newer: DecodeRequest) -> bool:  # noqa: ARG002  (the interface)
        """No request waits."""
        return False

    async def transcribe(self, request: DecodeRequest) -> Hypothesis:
        self.requests.append(request)
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        length = round(WORD_S * SAMPLE_RATE)
        first = -(-request.start // length) + len(request.prefix.split())
        last = (request.start + len(request.samples)) // length
        words = tuple(
            Word(self.word_at(index), index * length, (index + 1) * length, 0.9) for index in range(first, last)
        )
        if self.observer is not None:
            self.observer.observe_batch(1, 0, {"generate": self._delay_s})
        return Hypothesis(request.id, words, language=request.language or "ru")
