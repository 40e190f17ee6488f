"""The engine, seen from above: the only part of it that sessions know."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis


class Recognizer(Protocol):
    """Turns audio into words; one for all sessions of a process."""

    async def transcribe(self, request: DecodeRequest) -> Hypothesis:
        """The words of the request's audio that follow its prefix.

        Raises:
            DecodeFailed: the model failed on this request; the next may pass.
            ModelUnavailable: the model cannot serve at all.
        """
        ...


class EngineObserver(Protocol):
    """Counts what an engine does. Called in the model thread: every method is quick, thread-safe and raises nothing."""

    def observe_wait(self, seconds: float) -> None:
        """One request waited this long for its batch."""
        ...

    def observe_batch(self, size: int, looped: int, stages_s: dict[str, float]) -> None:
        """A batch went through the model: its requests, how many of them looped, and the time of each stage."""
        ...

    def observe_failure(self, reason: str) -> None:
        """A batch failed; ``reason`` is ``out_of_memory`` or ``error``. Its parts may be tried again."""
        ...


class SpeechDetector(Protocol):
    """Tells speech from the rest; one for each session, it carries state from call to call."""

    async def feed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The speech probability of each whole 512-sample window: float32[n] -> float32[m], in [0, 1].

        Samples that do not fill a window wait for the next call, so over a stream m sums to ``n_total // 512``.
        """
        ...
