"""Example conversations of OpenAI's Realtime API: what clients send, and the answers to it and to the session's events.

``python -m tests.wire.realtime_conversations`` writes them to ``fixtures/openai_realtime/``. One JSON object per line:

- ``{"from": "client", "message": {...}}``: a client's message
- ``{"from": "server", "message": {...}}``: an answer, or the message for an event
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from whisperlivekit.core import events
from whisperlivekit.core.commands import Command
from whisperlivekit.core.events import Event
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.errors import ShuttingDown, TimedOut, WhisperLiveKitError
from whisperlivekit.wire.adapter import Reply
from whisperlivekit.wire.openai_realtime import OpenAIRealtimeAdapter

FIXTURES = Path(__file__).parent / "fixtures" / "openai_realtime"

Turn = dict[str, Any] | Event | WhisperLiveKitError
"""A client's message, an event of the session, or the error that ends the connection."""

SESSION = "7f3a9c21d0e84b56"
EXPIRES_AT = 1_790_000_000


def append(samples: int = 2_400) -> dict[str, Any]:
    """Silence at 24 kHz."""
    return {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(2 * samples)).decode()}


def update(include: list[str] | None = None, **audio_input: Any) -> dict[str, Any]:
    session: dict[str, Any] = {"type": "transcription", "audio": {"input": audio_input}}
    if include is not None:
        session["include"] = include
    return {"type": "session.update", "session": session}


COMMIT = {"type": "input_audio_buffer.commit"}
CLEAR = {"type": "input_audio_buffer.clear"}
LOGPROBS = "item.input_audio_transcription.logprobs"

CONVERSATIONS: dict[str, list[Turn]] = {
    # The second utterance begins before the text of the first is complete; the third has no words.
    "server_vad": [
        update(
            format={"type": "audio/pcm", "rate": 24_000},
            transcription={"model": "gpt-4o-mini-transcribe", "language": "ru", "keywords": ["Максим"]},
            turn_detection={"type": "server_vad", "silence_duration_ms": 350},
        ),
        append(),
        events.Ready(SESSION, "base", "ru"),
        events.SpeechStarted(8_000),
        events.Partial(" Добрый", 9_600, 14_400),
        events.Committed((Word(" Добрый", 9_600, 14_400, 0.8714),), 0),
        events.Progress(16_000, 8_000, 0),
        events.SpeechStopped(30_400),
        events.SpeechStarted(40_000),
        events.Committed((Word(" день,", 15_200, 19_520, 0.97), Word(" Мак-сим!", 20_000, 30_000, 0.5)), 9_600),
        events.UtteranceEnded(8_000, 32_000, 32_000),
        events.SpeechStopped(56_000),
        events.Committed((Word(" Склад.", 41_000, 50_000, 0.9),), 40_000),
        events.UtteranceEnded(40_000, 57_600, 57_600),
        events.SpeechStarted(70_000),
        events.SpeechStopped(72_000),
        events.UtteranceEnded(70_000, 76_000, 76_000),
    ],
    # The client commits: the ends of utterances are not told. The second item is empty, the third is cleared.
    "client_commits": [
        update([LOGPROBS], turn_detection=None, transcription={"prompt": "Склад, артикул"}),
        COMMIT,
        append(48_000),
        events.Ready(SESSION, "base", "ru"),
        events.SpeechStarted(0),
        events.Committed((Word(" Раз", 3_200, 8_000, 0.9),), 0),
        events.SpeechStopped(8_000),
        events.UtteranceEnded(0, 12_000, 12_000),
        events.SpeechStarted(20_000),
        COMMIT,
        events.SpeechStopped(30_000),
        events.Committed((Word(" два", 22_000, 30_000, 0.8),), 20_000),
        events.UtteranceEnded(20_000, 32_000, 32_000),
        events.Flushed(32_000, 32_000),
        append(24_000),
        events.SpeechStarted(33_000),
        events.Committed((Word(" три", 34_000, 40_000, 0.8),), 33_000),
        CLEAR,
        events.Committed((Word(" четыре", 40_000, 48_000, 0.8),), 40_000),
        events.UtteranceEnded(33_000, 48_000, 48_000),
        events.Flushed(48_000, 48_000),
    ],
    # A commit while someone speaks ends the utterance, one in silence gives an empty item, and a clear drops what is
    # spoken.
    "server_vad_commits": [
        append(),
        events.Ready(SESSION, "base", "ru"),
        events.SpeechStarted(0),
        COMMIT,
        events.SpeechStopped(1_600),
        events.Committed((Word(" Да.", 0, 1_600, 0.9),), 0),
        events.UtteranceEnded(0, 1_600, 1_600),
        events.Flushed(1_600, 1_600),
        COMMIT,
        events.Flushed(1_600, 1_600),
        append(),
        events.SpeechStarted(1_600),
        CLEAR,
        events.SpeechStopped(3_200),
        events.Committed((Word(" Нет.", 1_600, 3_200, 0.9),), 1_600),
        events.UtteranceEnded(1_600, 3_200, 3_200),
        events.Flushed(3_200, 3_200),
    ],
    # From one way to commit to the other, in the middle of a stream; another format and language.
    "changed": [
        update(turn_detection=None, format={"type": "audio/pcmu"}, transcription={"language": "ru"}),
        append(1_600),
        events.Ready(SESSION, "base", "ru"),
        events.SpeechStarted(0),
        events.Committed((Word(" Раз", 0, 3_200, 0.9),), 0),
        update(transcription={"language": "en", "prompt": None}, format=None),
        append(1_600),
        update(turn_detection={"type": "semantic_vad", "eagerness": "low"}),
        events.SpeechStopped(8_000),
        events.UtteranceEnded(0, 8_000, 8_000),
        events.Done(8_000, 8_000, 1, 1, 0),
        events.Ready(SESSION, "base", "en"),
        append(1_600),
        events.SpeechStarted(800),
    ],
    # Mistakes do not end the session.
    "mistakes": [
        {"type": "response.create", "event_id": "event_of_client"},
        {"type": "input_audio_buffer.append", "audio": "не base64"},
        {"type": "input_audio_buffer.append"},
        {"type": "session.update", "session": {"audio": {"input": {"turn_detection": {"type": "none"}}}}},
        update(transcription={"language": "rus"}, format={"type": "audio/pcmu"}),
        update(transcription={"keywords": "Максим"}),
        CLEAR,
    ],
    # Audio of which nothing could be decoded.
    "failed": [
        append(),
        events.Ready(SESSION, "base", "ru"),
        events.SpeechStarted(0),
        events.SpeechStopped(1_600),
        events.Gap(0, 1_600, "decode_failed", 1_600),
        events.UtteranceEnded(0, 1_600, 1_600),
    ],
    # The worker shuts down: the text that the client has not committed is completed, and the close frame says why.
    "drained": [
        update(turn_detection=None),
        append(),
        events.Ready(SESSION, "base", "ru"),
        events.SpeechStarted(0),
        events.Committed((Word(" Раз", 0, 1_600, 0.9),), 0),
        events.Draining(),
        events.UtteranceEnded(0, 1_600, 1_600),
        ShuttingDown("this worker is shutting down; connect again and resume"),
    ],
    "timed_out": [append(), events.Ready(SESSION, "base", "ru"), TimedOut("the session lasted 24 h")],
}


def record(turns: list[Turn]) -> Iterator[dict[str, Any]]:
    """The lines of a conversation, in order."""
    adapter = OpenAIRealtimeAdapter(model="base", silence_s=0.5, expires_at=EXPIRES_AT)

    def told(messages: Any) -> Iterator[dict[str, Any]]:
        yield from ({"from": "server", "message": json.loads(text)} for text in messages)

    yield from told(item.message for item in adapter.open(SESSION) if isinstance(item, Reply))
    for turn in turns:
        match turn:
            case dict():
                yield {"from": "client", "message": turn}
                items = adapter.receive(json.dumps(turn))
                yield from told(item.message for item in items if isinstance(item, Reply))
            case WhisperLiveKitError():
                yield from told(adapter.fail(turn, SESSION))
            case _:
                yield from told(adapter.send(turn))


def adapter() -> OpenAIRealtimeAdapter:
    """Of a connection that has been opened."""
    opened = OpenAIRealtimeAdapter(model="base", silence_s=0.5, expires_at=EXPIRES_AT)
    opened.open(SESSION)
    return opened


def receive(to: OpenAIRealtimeAdapter, message: dict[str, Any]) -> tuple[list[Command], list[dict[str, Any]]]:
    """The commands and the answers."""
    items = to.receive(json.dumps(message))
    commands = [item for item in items if not isinstance(item, Reply)]
    return commands, [json.loads(item.message) for item in items if isinstance(item, Reply)]


def configured(to: OpenAIRealtimeAdapter, **audio_input: Any) -> dict[str, Any]:
    """The effective configuration after an update."""
    _, [answer] = receive(to, update(**audio_input))
    assert answer["type"] == "session.updated", answer
    found: dict[str, Any] = answer["session"]["audio"]["input"]
    return found


def lines(name: str) -> str:
    """The content of a fixture. Audio is left out: it is silence."""
    shortened = (
        line if "audio" not in line["message"] else line | {"message": line["message"] | {"audio": "..."}}
        for line in record(CONVERSATIONS[name])
    )
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in shortened)


if __name__ == "__main__":
    FIXTURES.mkdir(exist_ok=True)
    for name in CONVERSATIONS:
        (FIXTURES / f"{name}.jsonl").write_text(lines(name), encoding="utf-8")
