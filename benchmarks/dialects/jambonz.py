"""jambonz's protocol for custom speech vendors."""

import json
from collections.abc import Sequence
from typing import Any

from benchmarks.client import Dialect, Message, OneConnection, StreamFailed


class Jambonz(OneConnection):
    """One stream. Text is committed by utterance, and the stream ends when the server closes."""

    def __init__(self, rate: int, language: str) -> None:
        super().__init__()
        self._rate = rate
        self._language = language

    def opening(self) -> Sequence[Message]:
        self.ready = True
        start = {"type": "start", "language": self._language, "format": "raw", "encoding": "LINEAR16"}
        return [json.dumps({**start, "interimResults": True, "sampleRateHz": self._rate, "options": {}})]

    def closing(self) -> Sequence[Message]:
        return ['{"type": "stop"}']

    def receive(self, message: dict[str, Any]) -> None:
        match message:
            case {"type": "transcription", "is_final": final, "alternatives": [{"transcript": text}]}:
                self.committed += f" {text}" if final else ""
                self.partial = "" if final else f" {text}"
            case {"type": "error", "error": error, "code": code}:
                raise StreamFailed(code, error)
            case {"type": "closed"}:
                self.over = True


def dialect(rate: int, *, language: str = "ru", **_: Any) -> Dialect:
    """The dialect of one stream. Text always comes by utterance."""
    return Jambonz(rate, language)
