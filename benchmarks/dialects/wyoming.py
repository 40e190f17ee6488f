"""Wyoming, Home Assistant's protocol, over TCP: ``--url tcp://127.0.0.1:10300``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.client import Dialect, Message, OneConnection, StreamFailed
from whisperlivekit.wire.wyoming import encode


class Wyoming(OneConnection):
    """One transcription. Text comes by utterance."""

    def __init__(self, rate: int, language: str) -> None:
        super().__init__()
        self._format = {"rate": rate, "width": 2, "channels": 1}
        self._language = language

    def opening(self) -> Sequence[Message]:
        return [encode("transcribe", {"language": self._language}), encode("audio-start", self._format)]

    def audio(self, samples: NDArray[np.int16]) -> Message:
        return encode("audio-chunk", self._format, samples.astype("<i2").tobytes())

    def closing(self) -> Sequence[Message]:
        return [encode("audio-stop")]

    def receive(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "transcript-start":
                self.ready = True
            case "transcript-chunk":
                self.committed += message["text"]
            case "transcript":
                if message["text"] != self.committed.strip():
                    raise StreamFailed("protocol", "the transcript is not what the chunks were")
            case "transcript-stop":
                self.over = True
            case "error":
                raise StreamFailed(str(message.get("code")), message["text"])


def dialect(rate: int, *, language: str = "ru", commit: str = "utterance", refine: bool = False) -> Dialect:
    """The dialect of one stream.

    Raises:
        ValueError: the text of words or refined text is asked for.
    """
    if commit != "utterance" or refine:
        raise ValueError(f"commit is {commit} and refine is {refine}, expected utterance and no refined text")
    return Wyoming(rate, language)
