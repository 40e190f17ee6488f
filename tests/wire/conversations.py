"""Example conversations of the native protocol: the client's messages, and the server's messages for events and errors.

``python -m tests.wire.conversations`` writes them to ``fixtures/``. The tests of both sides read them:
tests/wire/test_native.py and the page's tests in tests/web/. One JSON object per line:

- ``{"from": "client", "message": {...}}``: a JSON message
- ``{"from": "client", "audio": "<base64>"}``: a binary frame
- ``{"from": "server", "message": {...}}``: an event
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
from whisperlivekit.wire.native import NativeAdapter

FIXTURES = Path(__file__).parent / "fixtures"

Turn = dict[str, Any] | bytes | Event | WhisperLiveKitError
"""A client's message or audio, an event of the session, or the error that ends it."""

SESSION = "7f3a9c21d0e84b56"
AUDIO = bytes([1, 0, 2, 0, 255, 255])
"""Three samples of pcm_s16le: the tests do not look at them."""

CONVERSATIONS: dict[str, list[Turn]] = {
    # Every event except error and draining: a stream from start to stop.
    "complete": [
        {"type": "start", "sample_rate": 16000, "language": "ru", "hotwords": ["Максим"]},
        events.Ready(SESSION, "base", "ru"),
        AUDIO,
        events.SpeechStarted(8_000),
        AUDIO,
        events.Partial(" Добрый", 9_600, 14_400),
        AUDIO,
        events.Progress(16_000, 8_000, 0),
        events.Committed((Word(" Добрый", 9_600, 14_400, 0.8714),), 0),
        events.Partial(" день,", 15_200, 19_200),
        {"type": "flush"},
        events.SpeechStopped(30_400),
        events.Committed((Word(" день,", 15_200, 19_520, 0.97), Word(" Мак-сим!", 20_000, 30_000, 0.5)), 9_600),
        events.UtteranceEnded(8_000, 32_000, 32_000),
        events.Flushed(32_000, 32_000),
        AUDIO,
        events.Progress(48_000, 48_000, 44_800),
        events.SpeechStarted(50_000),
        events.Gap(50_000, 58_000, "decode_failed", 58_000),
        {"type": "stop"},
        events.SpeechStopped(58_000),
        events.UtteranceEnded(50_000, 58_000, 58_000),
        events.Done(64_000, 32_000, 3, 2, 8_000),
    ],
    # The worker shuts down; in "resumed" the client connects to another one and continues the stream.
    "drained": [
        {"type": "start"},
        events.Ready(SESSION, "base", "ru"),
        AUDIO,
        events.SpeechStarted(0),
        events.Committed((Word(" Мы", 3_200, 8_000, 0.9),), 0),
        events.Draining(),
        events.Committed((Word(" строим", 8_000, 16_000, 0.9),), 3_200),
        events.UtteranceEnded(0, 17_000, 17_000),
    ],
    "resumed": [
        {
            "type": "start",
            "resume": {
                "session": SESSION,
                "position": 3200,
                "words": [{"text": " Мы", "start": 0.2, "end": 0.5, "probability": 0.9}],
            },
        },
        events.Ready(SESSION, "base", None, 3_200),
        AUDIO,
        events.Committed((Word(" строим", 8_000, 16_000, 0.9),), 3_200),
        {"type": "stop"},
        events.Done(1_600, 1_600, 1, 1, 0),
    ],
    # The client asked for refined text; the connection is lost once, while the second paragraph waits.
    "refined": [
        {"type": "start", "refine": True},
        events.Ready(SESSION, "base", "ru"),
        AUDIO,
        events.Committed((Word(" Мы", 3_200, 8_000, 0.9), Word(" строем", 8_000, 16_000, 0.6)), 0, 17_000),
        events.Refined(
            0, 17_000, (Word(" Мы", 3_200, 8_000, 0.9), Word(" строим", 8_000, 16_000, 0.9)), 2, True, 20_000, 20_000
        ),
        events.Committed((Word(" дом.", 24_000, 32_000, 0.9),), 20_000, 36_000),
        events.Progress(48_000, 48_000, 20_000, 46_000),
    ],
    "refined_resumed": [
        {
            "type": "start",
            "refine": True,
            "resume": {
                "session": SESSION,
                "position": 20_000,
                "live_from": 46_000,
                "words": [{"text": " дом.", "start": 1.5, "end": 2.0, "probability": 0.9}],
            },
        },
        events.Ready(SESSION, "base", None, 20_000),
        AUDIO,
        {"type": "stop"},
        events.Refined(20_000, 36_000, (Word(" дом.", 24_000, 32_000, 0.9),), 1, False, 46_000, 46_000),
        events.Done(28_000, 0, 0, 0, 0),
    ],
    # A stereo call: each speaker is a stream of his own. The connection is lost once.
    "stereo": [
        {"type": "start", "channels": 2, "multichannel": True},
        events.Ready(SESSION, "base", "ru"),
        AUDIO * 2,
        events.SpeechStarted(8_000, channel=0),
        events.Partial(" Алло,", 9_600, 14_400, channel=0),
        events.Progress(16_000, 8_000, 0, channel=0),
        events.Progress(16_000, 16_000, 12_800, channel=1),
        events.Committed((Word(" Алло,", 9_600, 14_400, 0.87), Word(" Максим?", 15_000, 20_000, 0.9)), 0, channel=0),
        events.SpeechStarted(20_800, channel=1),
        events.Partial(" Да.", 22_400, 25_600, channel=1),
        events.SpeechStopped(20_800, channel=0),
        events.UtteranceEnded(8_000, 24_000, 24_000, channel=0),
        events.Committed((Word(" Да.", 22_400, 25_600, 0.95),), 20_800, channel=1),
    ],
    "stereo_resumed": [
        {
            "type": "start",
            "channels": 2,
            "multichannel": True,
            "resume": {
                "session": SESSION,
                "position": 20_800,
                "channels": [
                    {"position": 24_000, "words": []},
                    {
                        "position": 20_800,
                        "words": [{"text": " Да.", "start": 1.4, "end": 1.6, "probability": 0.95}],
                    },
                ],
            },
        },
        events.Ready(SESSION, "base", None, 20_800),
        AUDIO * 2,
        events.Gap(28_800, 30_000, "decode_failed", 30_000, channel=1),
        {"type": "stop"},
        events.SpeechStopped(27_200, channel=1),
        events.UtteranceEnded(20_800, 30_000, 30_000, channel=1),
        events.Done(9_200, 9_200, 0, 1, 1_200),
    ],
    "failed": [
        {"type": "start", "language": "auto", "encoding": "mulaw", "sample_rate": 8000, "prompt": "Склад, артикул"},
        events.Ready(SESSION, "base", None),
        AUDIO,
        DecodeFailed("the model failed on 1.5 s of audio"),
    ],
}


def record(turns: list[Turn]) -> Iterator[dict[str, Any]]:
    """The lines of a conversation, in order."""
    adapter = NativeAdapter()
    for turn in turns:
        match turn:
            case dict():
                yield {"from": "client", "message": turn}
            case bytes():
                yield {"from": "client", "audio": base64.b64encode(turn).decode()}
            case WhisperLiveKitError():
                yield from ({"from": "server", "message": json.loads(text)} for text in adapter.fail(turn, SESSION))
            case _:
                yield from ({"from": "server", "message": json.loads(text)} for text in adapter.send(turn))


def lines(name: str) -> str:
    """The content of a fixture."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in record(CONVERSATIONS[name]))


if __name__ == "__main__":
    FIXTURES.mkdir(exist_ok=True)
    for name in CONVERSATIONS:
        (FIXTURES / f"{name}.jsonl").write_text(lines(name), encoding="utf-8")
