"""Vosk's protocol as a client of the benchmarks: ``--protocol vosk --url ws://127.0.0.1:8000/vosk``."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.client import Dialect, Message, OneConnection


class Vosk(OneConnection):
    """One stream. The server has no message for its end: it has answered each frame, and then ``eof``."""

    def __init__(self, rate: int) -> None:
        super().__init__()
        self._rate = rate
        self._unanswered = 0
        self._closed = False

    def opening(self) -> Sequence[Message]:
        self.ready = True
        return [json.dumps({"config": {"sample_rate": self._rate}})]

    def audio(self, samples: NDArray[np.int16]) -> Message:
        self._unanswered += 1
        return super().audio(samples)

    def closing(self) -> Sequence[Message]:
        self._unanswered += 1
        self._closed = True
        return ['{"eof" : 1}']

    def receive(self, message: dict[str, Any]) -> None:
        self._unanswered -= 1
        self.partial = f" {message['partial']}" if message.get("partial") else ""
        if message.get("text"):
            self.committed = f"{self.committed} {message['text']}".lstrip()
        self.over = self._closed and not self._unanswered


def dialect(rate: int, **start: Any) -> Dialect:  # noqa: ARG001  (the language belongs to the address)
    """A client for one stream at this sample rate."""
    return Vosk(rate)
