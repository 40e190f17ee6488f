"""FreeSWITCH's mod_audio_fork and mod_audio_stream, with one channel."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.client import Dialect, Message, StreamFailed

PATH = "/audio_fork?sample_rate=16000"
"""The rate and the language belong to the address."""
RATE = 16_000


class AudioFork:
    """One stream. Text is committed by utterance, and the stream ends when the server closes."""

    def __init__(self) -> None:
        self.committed = ""
        self.partial = ""
        self.ready = False
        self.over = False

    def opening(self) -> Sequence[Message]:
        self.ready = True
        return ['{"callid": "benchmark"}']

    def position_s(self) -> float | None:
        return None

    def skip_to(self, position_s: float) -> dict[str, Any] | None:  # noqa: ARG002
        return None

    def audio(self, samples: NDArray[np.int16]) -> Message:
        return samples.astype("<i2").tobytes()

    def closing(self) -> Sequence[Message]:
        return [b""]

    def receive(self, message: dict[str, Any]) -> None:
        match message:
            case {"type": "transcription", "data": {"text": text, "is_final": final}}:
                self.committed += f" {text}" if final else ""
                self.partial = "" if final else f" {text}"
            case {"type": "error", "data": {"code": code, "message": error}}:
                raise StreamFailed(code, error)
            case {"type": "closed"}:
                self.over = True


def dialect(rate: int, **_: Any) -> Dialect:
    """The dialect of one stream of ``RATE``. Text always comes by utterance, in the server's language."""
    if rate != RATE:
        raise ValueError(f"rate is {rate}, expected {RATE}")
    return AudioFork()
