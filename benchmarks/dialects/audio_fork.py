"""FreeSWITCH's mod_audio_fork and mod_audio_stream, with one channel."""

from collections.abc import Sequence
from typing import Any

from benchmarks.client import Dialect, Message, OneConnection, StreamFailed

PATH = "/audio_fork?sample_rate=16000"
"""The rate and the language belong to the address."""
RATE = 16_000


class AudioFork(OneConnection):
    """One stream. Text is committed by utterance, and the stream ends when the server closes."""

    def opening(self) -> Sequence[Message]:
        self.ready = True
        return ['{"callid": "benchmark"}']

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
