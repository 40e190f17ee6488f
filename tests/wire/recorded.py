"""Example conversations of other services' protocols, in ``fixtures/PROTOCOL/``.

``python -m tests.wire.recorded`` writes them again after a change that is meant. One JSON object per line:

- ``{"from": "client", "text": "..."}`` or ``{"from": "client", "audio": "<base64>"}``: what a client sends
- ``{"from": "session", "event": "..."}``: what happens in the session
- ``{"from": "server", "text": "..."}``: what the client gets
"""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from whisperlivekit.core import events
from whisperlivekit.core.events import Event
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.errors import ShuttingDown, WhisperLiveKitError
from whisperlivekit.wire.adapter import Adapter, Reply
from whisperlivekit.wire.aeap import AeapAdapter
from whisperlivekit.wire.vosk import VoskAdapter

FIXTURES = Path(__file__).parent / "fixtures"

SESSION = "7f3a9c21d0e84b56"
AUDIO = bytes(320)
"""20 ms of silence at 8 kHz: the tests do not look at it."""

Turn = str | bytes | Event | WhisperLiveKitError

READY = events.Ready(SESSION, "base", "ru")
WORDS = (Word(" Соедините", 4_800, 12_800, 0.91), Word(" с", 12_800, 14_400, 0.99), Word(" 25.", 14_400, 24_000, 0.84))
UTTERANCE: list[Event] = [
    events.SpeechStarted(3_200),
    events.Partial(" Соедините с", 4_800, 14_400),
    events.SpeechStopped(24_000),
    events.Committed(WORDS, 3_200),
    events.UtteranceEnded(3_200, 32_000, 32_000),
]

VOSK: dict[str, tuple[dict[str, str], list[Turn]]] = {
    # FreeSWITCH's mod_vosk and Asterisk's res_speech_vosk send no config.
    "telephone": ({}, [AUDIO, READY, AUDIO, *UTTERANCE[:2], AUDIO, *UTTERANCE[2:], AUDIO, AUDIO]),
    "sample": ({}, ['{ "config" : { "sample_rate" : 16000 } }', AUDIO, READY, *UTTERANCE, '{"eof" : 1}', events.Done(
        32_000, 28_800, 3, 1, 0)]),
    "jigasi": (
        {"language": "ru-RU", "text": "written"},
        ['{"config" : {"sample_rate" : 48000.0 }}', AUDIO, READY, *UTTERANCE, AUDIO, '{"eof" : 1}', events.Done(
            32_000, 28_800, 3, 1, 0)],
    ),
    "bigbluebutton": (
        {},
        ['{"config":{"sample_rate":"16000"}}', AUDIO, READY, *UTTERANCE, AUDIO, '{"eof":1}', events.Done(
            32_000, 28_800, 3, 1, 0)],
    ),
    "options": (
        {"numbers": "digits"},
        ['{"config" : {"phrase_list" : ["соедините", "[unk]"], "words" : 0, "max_alternatives" : 3}}', AUDIO, READY,
         *UTTERANCE, AUDIO, '{"reset" : 1}', events.Flushed(32_000, 32_000), '{"config" : {"words" : 1}}', *UTTERANCE,
         AUDIO],
    ),
    "drained": ({}, [AUDIO, READY, *UTTERANCE, events.Draining(), ShuttingDown("this worker is shutting down")]),
}  # fmt: skip
"""Name -> the address's options, and the turns."""

SETUP = (
    '{"request":"setup","version":"0.1.0","codecs":[{"name":"ulaw"}],"params":{"language":"ru"},'
    '"id":"f2fc5ccd-e452-481c-8d9e-d7222f484f32"}'
)
"""This, the first setup below and the messages about hotwords are those of Asterisk 22.10."""

AEAP: dict[str, tuple[dict[str, str], list[Turn]]] = {
    "call": (
        {},
        [SETUP, AUDIO, READY, *UTTERANCE, f'{{"response":"set","id":"{SESSION}-1"}}', AUDIO],
    ),
    "settings": (
        {"text": "written"},
        [('{"request":"setup","version":"0.1.0","codecs":[{"name":"slin"}],"params":{"sample_rate":"16000","language":"ru"},'
         '"id":"039812b6-f8b3-4dc0-9fdc-943b6cfb0f61"}'),
         '{"request":"set","id":"2","params":{"language":"xx"}}',
         '{"request":"get","id":"3","params":["results"]}',
         AUDIO, READY, *UTTERANCE,
         '{"request":"get","id":"4","params":["results"]}',
         '{"request":"set","params":{"hotwords":"Максим"},"id":"5a3e003a-828c-4251-8aa3-4f9ce4cb60a3"}',
         '{"request":"get","params":["hotwords"],"id":"8262ce0b-30a3-4812-ac05-5e4a7b7f7d13"}',
         '{"request":"get","id":"7","params":["volume"]}',
         '{"request":"set","id":"8","params":{"dtmf":"5"}}',
         '{"request":"bye","id":"9"}'],
    ),
    "unknown_codec": ({}, [SETUP.replace("ulaw", "opus")]),
}  # fmt: skip

PROTOCOLS: dict[str, tuple[Callable[[dict[str, str]], Adapter], dict[str, tuple[dict[str, str], list[Turn]]]]] = {
    "vosk": (VoskAdapter, VOSK),
    "aeap": (AeapAdapter, AEAP),
}


def record(adapter: Adapter, turns: Sequence[Turn]) -> Iterator[dict[str, Any]]:
    """The lines of a conversation, in order."""
    adapter.open(SESSION)
    for turn in turns:
        match turn:
            case str() | bytes():
                yield {"from": "client"} | _shown(turn)
                replies = [item.message for item in adapter.receive(turn) if isinstance(item, Reply)]
            case WhisperLiveKitError():
                replies = list(adapter.fail(turn, SESSION))
            case _:
                yield {"from": "session", "event": _described(turn)}
                replies = list(adapter.send(turn))
        yield from ({"from": "server"} | _shown(message) for message in replies)


def _described(event: Event) -> str:
    """The event without the fields that have their default, so that a new field changes no recorded conversation."""
    given = [field.name for field in fields(event) if getattr(event, field.name) != field.default]
    return f"{type(event).__name__}({', '.join(f'{name}={getattr(event, name)!r}' for name in given)})"


def _shown(message: str | bytes) -> dict[str, str]:
    return {"text": message} if isinstance(message, str) else {"audio": base64.b64encode(message).decode()}


def lines(protocol: str, name: str) -> str:
    """The content of a fixture."""
    make, conversations = PROTOCOLS[protocol]
    query, turns = conversations[name]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in record(make(query), turns))


def names() -> list[tuple[str, str]]:
    """Protocol and name of each conversation."""
    return [(protocol, name) for protocol, (_, conversations) in PROTOCOLS.items() for name in conversations]


if __name__ == "__main__":
    for protocol, name in names():
        (FIXTURES / protocol).mkdir(parents=True, exist_ok=True)
        (FIXTURES / protocol / f"{name}.jsonl").write_text(lines(protocol, name), encoding="utf-8")
