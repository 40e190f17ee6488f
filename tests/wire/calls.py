"""What the tests of the adapters for telephone switches have in common."""

import json
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.wire import telephony_conversations as conversations
from tests.wire.telephony_conversations import JAMBONZ_START, SESSION
from whisperlivekit.core import events
from whisperlivekit.core.commands import Audio, Command, Start, Stop
from whisperlivekit.core.events import Event
from whisperlivekit.errors import ClientError
from whisperlivekit.wire.adapter import Adapter, Message

HELLO = events.Committed(conversations.HELLO, 24_000)
HEARD = events.Partial(" Алло", 9_600, 14_400)
SILENT: tuple[Event, ...] = (
    events.Ready(SESSION, "base", "ru"),
    events.SpeechStarted(8_000),
    events.SpeechStopped(20_800),
    events.Partial("", 8_000, 8_000),
    events.UtteranceEnded(8_000, 24_000, 24_000),
    events.Progress(16_000, 8_000, 0),
    events.Flushed(16_000, 16_000),
    events.Gap(0, 16_000, "decode_failed", 16_000),
    events.Draining(),
    events.Done(24_000, 16_000, 2, 1, 0),
)
"""What these clients have no message for: mod_audio_fork and jambonz log an error for a type that they do not know."""


def told(adapter: Adapter, event: Event) -> list[Any]:
    return [json.loads(message) for message in adapter.send(event)]


def pcm(samples: int, channels: int = 1) -> bytes:
    return np.full(samples * channels, 8_192, "<i2").tobytes()


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
_near_start = st.fixed_dictionaries(
    {"type": st.just("start")},
    optional={
        "language": _json | st.sampled_from(["ru-RU", "auto"]),
        "encoding": _json | st.just("LINEAR16"),
        "sampleRateHz": _json | st.sampled_from([8_000, 16_000]),
        "interimResults": _json,
        "options": _json | st.fixed_dictionaries({}, optional={"hints": _json | st.lists(st.text(max_size=5))}),
    },
)
_texts = st.one_of(
    st.text(max_size=40),
    _json.map(json.dumps),
    _near_start.map(json.dumps),
    st.sampled_from(
        [
            json.dumps(JAMBONZ_START),
            '{"type": "stop"}',
            '{"type": "flush"}',
            "[" * 50_000,
            '{"type": "start", "language": "\\ud800"}',
        ]
    ),
)
MESSAGES = st.lists(
    _texts | st.tuples(_texts, _texts).map("".join) | st.binary(max_size=40) | st.just(pcm(80, 2)), max_size=8
)


def check_any_input(make: Any, messages: list[Message]) -> None:
    """Any messages give a Start first and a Stop last, finite audio, or a short error that can be sent."""
    commands: list[Command] = []
    channels = 1
    try:
        adapter: Adapter = make()
        commands += [item for item in adapter.open(SESSION) if not isinstance(item, Audio)]  # type: ignore[misc]
        for message in messages:
            commands += adapter.receive(message)  # type: ignore[arg-type]
    except ClientError as error:
        assert 0 < len(error.message) < 400  # noqa: PT017  (raises() cannot follow an error that may or may not come)
        error.message.encode()
    kinds = [type(command) for command in commands]
    assert kinds.count(Start) == (1 if kinds else 0)
    assert kinds[:1] in ([], [Start])
    assert Stop not in kinds[:-1]
    for command in commands:
        if isinstance(command, Start):
            channels = command.channels
            assert len(command.hotwords) <= 100
        if isinstance(command, Audio):
            assert command.samples.shape == ((command.length,) if channels == 1 else (channels, command.length))
            assert np.isfinite(command.samples).all()
