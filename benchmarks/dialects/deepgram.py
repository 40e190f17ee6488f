"""Deepgram's live protocol with interim results, as LiveKit and Pipecat use it."""

import json
from collections.abc import Sequence
from typing import Any

from benchmarks.client import Dialect, Message, OneConnection, StreamFailed

RATE = 16_000
PATH = f"/v1/listen?encoding=linear16&sample_rate={RATE}&language=ru&interim_results=true&smart_format=true"


class Deepgram(OneConnection):
    """One stream. Final results are committed text, an interim one is the partial text after it."""

    def opening(self) -> Sequence[Message]:
        # The server says nothing before the first audio.
        self.ready = True
        return []

    def closing(self) -> Sequence[Message]:
        return [json.dumps({"type": "CloseStream"})]

    def receive(self, message: dict[str, Any]) -> None:
        match message:
            case {"type": "Results", "is_final": final, "channel": {"alternatives": [{"transcript": text}]}}:
                spaced = f" {text}" if text else ""
                if final:
                    self.committed += spaced
                    self.partial = ""
                else:
                    self.partial = spaced
            case {"type": "Metadata"}:
                self.over = True
            case {"type": "Error", "variant": variant, "description": description}:
                raise StreamFailed(variant, description)


def dialect(rate: int, *, language: str = "ru", commit: str = "words", refine: bool = False) -> Dialect:  # noqa: ARG001
    """The dialect of one stream. ``commit`` has no effect: final text comes in phrases.

    Raises:
        ValueError: the rate or the language is not the address's, or refined text is asked for.
    """
    if rate != RATE or language != "ru" or refine:
        raise ValueError(f"found {rate} Hz, {language}, refine {refine}, expected {RATE} Hz, ru and no refined text")
    return Deepgram()
