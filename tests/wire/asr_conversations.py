"""Example conversations of the ``/asr`` socket: what the page of WhisperLiveKit sends and is told.

``python -m tests.wire.asr_conversations`` writes them to ``fixtures/whisperlivekit``, one JSON object per line:

- ``{"from": "client", "audio": "<base64>"}`` or ``{"from": "client", "text": "..."}``: a frame
- ``{"from": "server", "message": {...}}``: a message
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whisperlivekit.core import events
from whisperlivekit.core.events import Event
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.errors import DecodeFailed, WhisperLiveKitError
from whisperlivekit.wire.adapter import Reply
from whisperlivekit.wire.whisperlivekit import WhisperLiveKitAdapter

FIXTURES = Path(__file__).parent / "fixtures" / "whisperlivekit"

Turn = bytes | str | Event | WhisperLiveKitError

AUDIO = bytes([1, 0, 2, 0, 255, 255])

SPEECH: list[Turn] = [
    AUDIO,
    events.Ready("7f3a9c21d0e84b56", "base", "ru"),
    events.SpeechStarted(8_000),
    events.Partial(" Добрый", 9_600, 14_400),
    AUDIO,
    events.Progress(16_000, 8_000, 0, heard=14_400),
    events.Committed((Word(" Добрый", 9_600, 14_400, 0.87),), 0),
    events.Partial(" день,", 15_200, 19_200),
    events.Committed((Word(" день,", 15_200, 19_520, 0.97), Word(" Максим!", 20_000, 30_000, 0.5)), 9_600),
    events.UtteranceEnded(8_000, 32_000, 32_000),
    events.Progress(112_000, 112_000, 112_000),
    events.Progress(128_000, 128_000, 128_000),
    events.SpeechStarted(136_000),
    events.Committed((Word(" Спасибо.", 138_400, 144_000, 0.9),), 136_000),
]

END: list[Turn] = ["not for the server", b"", AUDIO, events.Done(160_000, 40_000, 4, 2, 0)]

CONVERSATIONS: dict[str, tuple[dict[str, str], list[Turn]]] = {
    "full": ({"language": "ru"}, SPEECH + END),
    "diff": ({"mode": "diff"}, SPEECH + END),
    "failed": ({}, [*SPEECH[:7], DecodeFailed("the model failed on 1.5 s of audio")]),
}
"""Name -> the options in the address, and the turns."""


def record(query: dict[str, str], turns: list[Turn]) -> Iterator[dict[str, Any]]:
    """The lines of a conversation, in order."""
    adapter = WhisperLiveKitAdapter(query)

    def told(*messages: str | bytes) -> Iterator[dict[str, Any]]:
        yield from ({"from": "server", "message": json.loads(message)} for message in messages)

    yield from told(*(item.message for item in adapter.open("x") if isinstance(item, Reply)))
    for turn in turns:
        match turn:
            case bytes():
                yield {"from": "client", "audio": base64.b64encode(turn).decode()}
                adapter.receive(turn)
            case str():
                yield {"from": "client", "text": turn}
                adapter.receive(turn)
            case WhisperLiveKitError():
                yield from told(*adapter.fail(turn, "x"))
            case _:
                yield from told(*adapter.send(turn))


def lines(name: str) -> str:
    """The content of a fixture."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in record(*CONVERSATIONS[name]))


if __name__ == "__main__":
    FIXTURES.mkdir(exist_ok=True)
    for name in CONVERSATIONS:
        (FIXTURES / f"{name}.jsonl").write_text(lines(name), encoding="utf-8")
