"""OpenAI's Realtime API, a transcription session with the server's speech detection."""

import base64
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.client import Dialect, Message, OneConnection, StreamFailed

PATH = "/v1/realtime"
RATE = 24_000

_TRANSCRIPTION = "conversation.item.input_audio_transcription."


class Realtime(OneConnection):
    """One session. Text is committed by deltas, or with ``by_utterance`` by ``completed``."""

    def __init__(self, language: str, *, by_utterance: bool = False) -> None:
        super().__init__()
        self._language = language
        self._by_utterance = by_utterance
        self._items: dict[str, str] = {}
        """The text of the items that are not complete."""
        self._closing = False

    def opening(self) -> Sequence[Message]:
        audio_input = {
            "format": {"type": "audio/pcm", "rate": RATE},
            "transcription": {"model": "gpt-4o-transcribe", "language": self._language},
        }
        session = {"type": "transcription", "audio": {"input": audio_input}}
        return [json.dumps({"type": "session.update", "session": session})]

    def audio(self, samples: NDArray[np.int16]) -> Message:
        encoded = base64.b64encode(samples.astype("<i2").tobytes()).decode()
        return json.dumps({"type": "input_audio_buffer.append", "audio": encoded})

    def closing(self) -> Sequence[Message]:
        """Two commits: the first ends the last utterance, and the second is answered by an empty item after it."""
        self._closing = True
        return [json.dumps({"type": "input_audio_buffer.commit"})] * 2

    def receive(self, message: dict[str, Any]) -> None:
        kind = message["type"].removeprefix(_TRANSCRIPTION)
        match kind:
            case "session.updated":
                self.ready = True
            case "delta":
                self._receive_delta(message["item_id"], message["delta"])
            case "completed":
                self._receive_completed(message)
            case "failed" | "error":
                raise StreamFailed(str(message["error"]["code"]), message["error"]["message"])

    def _receive_delta(self, item: str, delta: str) -> None:
        space = "" if item in self._items else " "
        self._items[item] = self._items.get(item, "") + delta
        if self._by_utterance:
            self.partial += space + delta
        else:
            self.committed += space + delta

    def _receive_completed(self, message: dict[str, Any]) -> None:
        text = self._items.pop(message["item_id"], "")
        if text != message["transcript"]:
            raise StreamFailed(
                "protocol", f"transcript has {len(message['transcript'])} characters, deltas {len(text)}"
            )
        if self._by_utterance and text:
            self.committed += f" {text}"
            self.partial = self.partial.removeprefix(f" {text}")
        self.over = self._closing and message["usage"]["seconds"] == 0


def dialect(rate: int, *, language: str = "ru", commit: str = "words", refine: bool = False) -> Dialect:
    """The dialect of one stream.

    Raises:
        ValueError: the rate is not ``RATE``, or refined text is asked for.
    """
    if rate != RATE or refine:
        raise ValueError(f"rate is {rate} and refine is {refine}, expected {RATE} and no refined text")
    return Realtime(language, by_utterance=commit == "utterance")
