"""The engine's interface: the only part of the engine that sessions import."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, Task
from whisperlivekit.errors import UnsupportedFormat


class Recognizer(Protocol):
    """Turns audio into words. All sessions of a process share one."""

    async def transcribe(self, request: DecodeRequest) -> Hypothesis:
        """The words of the request's audio that follow its prefix.

        Raises:
            DecodeFailed: the model failed on this request; the next one may succeed.
            ModelUnavailable: the model is broken, not loaded or being closed.
        """
        ...

    def replace(self, request: DecodeRequest, newer: DecodeRequest) -> bool:
        """Decode ``newer`` in the place of ``request``, which waits for its turn: ``transcribe`` returns the hypothesis
        of ``newer``. False: nothing is changed, because the request does not wait any more.
        """
        ...


class EngineObserver(Protocol):
    """Receives an engine's metrics, in the model threads. Its methods are quick, thread-safe and never raise."""

    def observe_wait(self, seconds: float) -> None:
        """A request waited this long for its batch."""
        ...

    def observe_batch(self, size: int, looped: int, stages_s: dict[str, float]) -> None:
        """A batch was decoded: its number of requests, how many of them looped, and the seconds of each stage."""
        ...

    def observe_failure(self, reason: str) -> None:
        """A batch failed; ``reason`` is ``out_of_memory`` or ``error``. Its parts may be retried."""
        ...


class SpeechDetector(Protocol):
    """Finds speech. Each session has its own, which keeps state from call to call."""

    async def feed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The speech probability of each whole 512-sample window: float32[n] -> float32[m], in [0, 1].

        Samples that do not fill a window are kept for the next call, so over a stream m sums to ``n_total // 512``.
        """
        ...


def check_task(task: Task, model: str, *, translates: bool) -> None:
    """Whether the model of this name can do what is asked; ``translates``: it can translate.

    Raises:
        UnsupportedFormat: it cannot.
    """
    if task == "translate" and not translates:
        raise UnsupportedFormat(f"task is translate, which the model {model} was not trained for, expected transcribe")
