"""Example conversations of jambonz and of FreeSWITCH's audio forks, in the form of ``conversations.py``.

``python -m tests.wire.telephony_conversations`` writes them to ``fixtures/telephony``. A client's text that is not JSON
is ``{"from": "client", "text": "..."}``.
"""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from whisperlivekit.core import events
from whisperlivekit.core.events import Event
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.errors import ShuttingDown, WhisperLiveKitError
from whisperlivekit.wire.adapter import Adapter
from whisperlivekit.wire.audio_fork import AudioForkAdapter
from whisperlivekit.wire.jambonz import JambonzAdapter

FIXTURES = Path(__file__).parent / "fixtures" / "telephony"

Turn = dict[str, Any] | str | bytes | Event | WhisperLiveKitError

SESSION = "7f3a9c21d0e84b56"
AUDIO = bytes([1, 0, 2, 0, 255, 255, 0, 1])
"""Four samples, or two of each channel."""

JAMBONZ_START: dict[str, Any] = {
    "type": "start",
    "language": "ru-RU",
    "format": "raw",
    "encoding": "LINEAR16",
    "interimResults": True,
    "sampleRateHz": 8000,
    "options": {"hints": ["Сбербанк", "два слова"], "hintsBoost": 20},
}
"""What mod_jambonz_transcribe sends, with the options of an application."""

HELLO = (Word(" Алло,", 9_600, 14_400, 0.75), Word(" Максим?", 15_000, 20_000, 0.9))
UTTERANCE: list[Turn] = [
    events.Ready(SESSION, "base", "ru"),
    AUDIO,
    events.SpeechStarted(8_000),
    events.Partial(" Алло", 9_600, 14_400),
    events.Progress(16_000, 8_000, 0),
    AUDIO,
    events.SpeechStopped(20_000),
    events.Committed(HELLO, 24_000),
    events.UtteranceEnded(8_000, 24_000, 24_000),
]

CONVERSATIONS: dict[str, tuple[Callable[[], Adapter], list[Turn]]] = {
    "jambonz": (JambonzAdapter, [JAMBONZ_START, *UTTERANCE, {"type": "stop"}, events.Done(8, 16_000, 2, 1, 0)]),
    "jambonz_final": (
        JambonzAdapter,
        [JAMBONZ_START | {"interimResults": False, "options": {}}, *UTTERANCE, {"type": "stop"}],
    ),
    "jambonz_drained": (
        JambonzAdapter,
        [JAMBONZ_START, *UTTERANCE, events.Draining(), ShuttingDown("this worker is shutting down; connect again")],
    ),
    "audio_fork": (
        lambda: AudioForkAdapter({}),
        ['{"to":"6173333456","callid":"a"}', *UTTERANCE, b"", events.Done(8, 16_000, 2, 1, 0), b""],
    ),
    "audio_fork_stereo": (
        lambda: AudioForkAdapter({"channels": "2", "sample_rate": "16000", "language": "ru"}),
        [
            "любой текст",
            events.Ready(SESSION, "base", "ru"),
            AUDIO,
            events.SpeechStarted(8_000, channel=0),
            events.Partial(" Алло", 9_600, 14_400, channel=0),
            events.SpeechStarted(20_800, channel=1),
            events.Partial(" Да.", 22_400, 25_600, channel=1),
            events.Committed(HELLO, 24_000, channel=0),
            {"type": "flush"},
            events.Committed((Word(" Да.", 22_400, 25_600, 0.95),), 20_800, channel=1),
            events.Flushed(28_000, 28_000, channel=1),
            {"type": "stop"},
        ],
    ),
    "audio_fork_drained": (
        lambda: AudioForkAdapter({"interim": "false"}),
        [*UTTERANCE, events.Draining(), ShuttingDown("this worker is shutting down; connect again")],
    ),
}


def client_messages(prefix: str) -> list[str | bytes]:
    """What clients send in the conversations whose names begin so."""
    turns = [turn for name, (_, turns) in CONVERSATIONS.items() if name.startswith(prefix) for turn in turns]
    sent = [turn for turn in turns if isinstance(turn, dict | str | bytes)]
    return [json.dumps(turn) if isinstance(turn, dict) else turn for turn in sent]


def record(name: str) -> Iterator[dict[str, Any]]:
    """The lines of a conversation, in order."""
    make, turns = CONVERSATIONS[name]
    adapter = make()
    adapter.open(SESSION)
    for turn in turns:
        match turn:
            case dict():
                adapter.receive(json.dumps(turn))
                yield {"from": "client", "message": turn}
            case str():
                adapter.receive(turn)
                yield {"from": "client", "text": turn}
            case bytes():
                adapter.receive(turn)
                yield {"from": "client", "audio": base64.b64encode(turn).decode()}
            case WhisperLiveKitError():
                yield from ({"from": "server", "message": json.loads(text)} for text in adapter.fail(turn, SESSION))
            case _:
                yield from ({"from": "server", "message": json.loads(text)} for text in adapter.send(turn))


def lines(name: str) -> str:
    """The content of a fixture."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in record(name))


if __name__ == "__main__":
    FIXTURES.mkdir(exist_ok=True, parents=True)
    for name in CONVERSATIONS:
        (FIXTURES / f"{name}.jsonl").write_text(lines(name), encoding="utf-8")
