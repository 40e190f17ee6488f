"""Example conversations of Deepgram's protocol: what a client sends, and what this server answers.

``python -m tests.wire.deepgram_conversations`` writes them to ``fixtures/deepgram``. The first line is the address. The
clients' messages are those that deepgram-sdk 7, LiveKit and Pipecat send.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from whisperlivekit.core import events
from whisperlivekit.core.events import Event
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.errors import BadAudio, ShuttingDown, WhisperLiveKitError
from whisperlivekit.wire.adapter import Reply
from whisperlivekit.wire.deepgram import DeepgramAdapter
from whisperlivekit.wire.deepgram_options import read_options

FIXTURES = Path(__file__).parent / "fixtures" / "deepgram"

SESSION = "7f3a9c21d0e84b56"
CREATED = "2026-11-29T10:46:13.000Z"

Turn = dict[str, Any] | bytes | Event | WhisperLiveKitError

READY = events.Ready(SESSION, "base", "ru")
SECOND = bytes(32_000)

MAKSIM = (Word(" Привет,", 9_600, 14_400, 0.9), Word(" Макс", 15_200, 19_200, 0.5), Word("-им.", 19_200, 20_000, 0.75))
WEATHER = (Word(" Какая", 24_000, 30_000, 0.8), Word(" погода?", 30_400, 38_400, 1.0))


def partial(*words: Word) -> events.Partial:
    return events.Partial("".join(word.text for word in words), words[0].start, words[-1].end, words)


CONVERSATIONS: dict[str, tuple[str, list[Turn]]] = {
    # deepgram-sdk with interim results: a stream of two sentences without a pause, then a pause.
    "interim": (
        (
            "encoding=linear16&sample_rate=16000&language=ru&interim_results=true&smart_format=true&vad_events=true"
            "&utterance_end_ms=1000"
        ),
        [
            READY,
            SECOND,
            events.SpeechStarted(8_000),
            partial(MAKSIM[0]),
            events.Committed(MAKSIM[:2], 0),
            partial(MAKSIM[2]),
            events.Committed((MAKSIM[2],), 0),
            SECOND,
            events.Progress(32_000, 19_200, 0),
            partial(WEATHER[0]),
            events.Committed((WEATHER[0],), 8_000),
            {"type": "KeepAlive"},
            SECOND,
            events.SpeechStopped(38_400),
            partial(WEATHER[1]),
            events.Committed((WEATHER[1],), 8_000),
            events.UtteranceEnded(8_000, 43_200, 43_200),
            SECOND,
            {"type": "CloseStream"},
            events.Done(64_000, 35_200, 5, 1, 0),
        ],
    ),
    # LiveKit and Pipecat: the client's own detector says when the speaker has stopped.
    "finalize": (
        (
            "encoding=mulaw&sample_rate=8000&language=ru-RU&interim_results=true&punctuate=true&endpointing=25"
            "&vad_events=true&filler_words=true&no_delay=true&keyterm=%D0%9C%D0%B0%D0%BA%D1%81%D0%B8%D0%BC"
        ),
        [
            READY,
            bytes([0xFF] * 8_000),
            events.SpeechStarted(8_000),
            partial(*MAKSIM),
            {"type": "Finalize"},
            events.Committed(MAKSIM, 0),
            events.UtteranceEnded(8_000, 32_000, 32_000),
            events.Flushed(32_000, 32_000),
            {"type": "Finalize"},
            events.Flushed(32_000, 32_000),
            {"type": "CloseStream"},
            events.Done(32_000, 24_000, 3, 1, 0),
        ],
    ),
    # The simplest client: no interim results, no punctuation.
    "plain": (
        "encoding=linear16&sample_rate=16000&channels=1&model=nova-3",
        [
            READY,
            SECOND,
            events.SpeechStarted(8_000),
            events.Committed((*MAKSIM, *WEATHER), 0),
            events.UtteranceEnded(8_000, 43_200, 43_200),
            events.SpeechStarted(48_000),
            events.UtteranceEnded(48_000, 56_000, 56_000),
            {"type": "Configure", "keyterms": ["Максим"], "features": {"numerals": True}},
            {"type": "Configure", "keyterms": "Максим"},
            {"type": "Restart"},
            b"",
            events.Done(64_000, 43_200, 5, 2, 0),
        ],
    ),
    "drained": (
        "encoding=linear32&sample_rate=16000&interim_results=true&endpointing=false",
        [
            READY,
            SECOND,
            events.SpeechStarted(0),
            events.Draining(),
            events.Committed(WEATHER, 0),
            events.UtteranceEnded(0, 43_200, 43_200),
            ShuttingDown("this worker is shutting down; connect again"),
        ],
    ),
    "failed": (
        "language=multi",
        [
            READY,
            BadAudio("the stream begins with 00 00 00 00, expected WebM"),
        ],
    ),
}


ADDRESSES = [
    *(query for query, _ in CONVERSATIONS.values()),
    "encoding=linear16&sample_rate=44100&channels=2&multichannel=true&interim_results=true&utterance_end_ms=500",
]
"""With which random messages are tried."""


def client_messages() -> list[str | bytes]:
    """All that the clients send."""
    sent = [turn for _, turns in CONVERSATIONS.values() for turn in turns if isinstance(turn, dict | bytes)]
    return [json.dumps(turn) if isinstance(turn, dict) else turn for turn in sent]


def adapter_for(query: str) -> DeepgramAdapter:
    return DeepgramAdapter(read_options(parse_qsl(query, keep_blank_values=True)), CREATED)


def record(query: str, turns: list[Turn]) -> Iterator[dict[str, Any]]:
    """The lines of a conversation, in order."""
    adapter = adapter_for(query)
    adapter.open(SESSION)
    yield {"address": f"/v1/listen?{query}"}
    for turn in turns:
        told: list[Any] = []
        match turn:
            case dict() | bytes():
                text = turn if isinstance(turn, bytes) else json.dumps(turn)
                told = [item.message for item in adapter.receive(text) if isinstance(item, Reply)]
                yield {"from": "client"} | ({"message": turn} if isinstance(turn, dict) else {"audio_bytes": len(turn)})
            case WhisperLiveKitError():
                told = list(adapter.fail(turn, SESSION))
            case _:
                told = list(adapter.send(turn))
        yield from ({"from": "server", "message": json.loads(text)} for text in told)


def lines(name: str) -> str:
    """The content of a fixture."""
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in record(*CONVERSATIONS[name]))


if __name__ == "__main__":
    FIXTURES.mkdir(exist_ok=True)
    for name in CONVERSATIONS:
        (FIXTURES / f"{name}.jsonl").write_text(lines(name), encoding="utf-8")
