"""The adapters for jambonz and for FreeSWITCH's audio forks.

The conversations are those of docs.jambonz.org and of the modules' sources; no test here needs a switch.
"""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire import telephony_conversations as conversations
from tests.wire.telephony_conversations import JAMBONZ_START, SESSION
from whisperlivekit.core import events
from whisperlivekit.core.commands import Audio, Command, Flush, Start, Stop
from whisperlivekit.core.events import Event
from whisperlivekit.errors import BadAudio, BadMessage, ClientError, ShuttingDown, UnsupportedFormat
from whisperlivekit.wire.adapter import Adapter, Message
from whisperlivekit.wire.audio_fork import AudioForkAdapter
from whisperlivekit.wire.jambonz import JambonzAdapter
from whisperlivekit.wire.telephony import objects

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


def test_fixtures_are_up_to_date() -> None:
    """If this fails, run python -m tests.wire.telephony_conversations and read what has changed."""
    found = {path.stem: path.read_text(encoding="utf-8") for path in conversations.FIXTURES.glob("*.jsonl")}
    assert found == {name: conversations.lines(name) for name in conversations.CONVERSATIONS}


# --------------------------------------------------------------------------------------------------------- jambonz


def jambonz(**fields: Any) -> tuple[JambonzAdapter, Start]:
    adapter = JambonzAdapter()
    [start] = adapter.receive(json.dumps(JAMBONZ_START | fields))
    assert isinstance(start, Start)
    return adapter, start


def test_a_recognition_of_jambonz() -> None:
    """start, audio, stop: one final result for each utterance, with interim ones before it, then the server closes."""
    adapter, start = jambonz()
    assert start == Start("ru", hotwords=("Сбербанк", "два слова"), commit="utterance")
    commands = adapter.receive(pcm(160)) + adapter.receive(pcm(1_440)) + adapter.receive('{"type": "stop"}')
    assert [type(command) for command in commands][-2:] == [Audio, Stop]
    assert sum(command.length for command in commands if isinstance(command, Audio)) == 3_200
    [interim] = told(adapter, HEARD)
    [final] = told(adapter, HELLO)
    assert interim == {
        "type": "transcription",
        "is_final": False,
        "alternatives": [{"confidence": 0.0, "transcript": "Алло"}],
        "channel": 1,
        "language": "ru-RU",
    }
    assert final == interim | {
        "is_final": True,
        "alternatives": [{"confidence": 0.825, "transcript": "Алло, Максим?"}],
    }
    assert not [message for event in SILENT for message in adapter.send(event)]


def test_jambonz_gets_interim_results_only_if_it_asks() -> None:
    """``interimResults`` false is its default for gather."""
    adapter, _ = jambonz(interimResults=False)
    assert not adapter.send(HEARD)
    assert adapter.send(HELLO)


def test_jambonz_gets_errors_in_its_form() -> None:
    """It reads ``error``; the code and the session are for whoever reads its log."""
    [message] = JambonzAdapter().fail(ShuttingDown("this worker is shutting down"), SESSION)
    assert json.loads(message) == {
        "type": "error",
        "error": "this worker is shutting down",
        "code": "shutting_down",
        "session": SESSION,
    }


@pytest.mark.parametrize(
    ("options", "hotwords"),
    [
        ({}, ()),
        (None, ()),
        ({"hints": '[{"phrase": "Сбербанк", "boost": 5}, {"phrase": "Максим"}]'}, ("Сбербанк", "Максим")),
        ({"hints": "[broken"}, ()),
        ({"hints": ["", " Сбербанк ", "а" * 65, 7, None, {"phrase": 3}]}, ("Сбербанк",)),
        ({"hints": ["слово"] * 200}, ("слово",) * 100),
        ({"hints": {"a": 1}, "model": "x"}, ()),
    ],
)
def test_hints_of_jambonz_are_hotwords(options: object, hotwords: tuple[str, ...]) -> None:
    """Both forms of hints; what is not one, and every other option, is ignored."""
    _, start = jambonz(options=options)
    assert start.hotwords == hotwords


@pytest.mark.parametrize(
    ("messages", "error", "found"),
    [
        ([pcm(160)], BadMessage, "320 bytes of audio before the start"),
        (["привет"], BadMessage, "text that is not a JSON object"),
        (['{"type":"stop"}'], BadMessage, "another message before the start"),
        ([json.dumps(JAMBONZ_START | {"language": "klingon"})], UnsupportedFormat, 'language is "klingon"'),
        ([json.dumps(JAMBONZ_START | {"language": 7})], BadMessage, "start.language is wrong"),
        (
            [json.dumps(JAMBONZ_START | {"encoding": "OPUS"})],
            UnsupportedFormat,
            "encoding is 'OPUS', expected LINEAR16",
        ),
        ([json.dumps(JAMBONZ_START | {"sampleRateHz": 100})], UnsupportedFormat, "sample_rate is 100"),
        ([json.dumps(JAMBONZ_START | {"sampleRateHz": "x"})], BadMessage, "start.sampleRateHz is wrong"),
        ([json.dumps(JAMBONZ_START), b"\0"], BadAudio, "chunk has 1 bytes"),
    ],
)
def test_mistakes_of_a_jambonz_client(messages: list[Message], error: type[ClientError], found: str) -> None:
    """Each is named, and ends the connection."""
    adapter = JambonzAdapter()
    for message in messages[:-1]:
        adapter.receive(message)
    with pytest.raises(error, match=found):
        adapter.receive(messages[-1])


def test_jambonz_may_be_silent_only_after_its_start() -> None:
    """A call on hold sends nothing; a connection without a start holds a place for nothing."""
    assert not JambonzAdapter().may_be_silent
    adapter, _ = jambonz()
    assert adapter.may_be_silent


def test_texts_that_jambonz_joined_in_one_frame() -> None:
    """Its module appends a text to one that waits to be sent. Unknown messages, and all after stop, are ignored."""
    adapter = JambonzAdapter()
    commands = adapter.receive(json.dumps(JAMBONZ_START) + '{"type": "keepalive"} {"type": "stop"}{"type": "stop"}')
    assert [type(command) for command in commands][0 :: len(commands) - 1] == [Start, Stop]
    assert adapter.receive(pcm(80)) == adapter.receive('{"type": "stop"}') == []


# -------------------------------------------------------------------------------------------------------- audio forks


def fork(**query: str) -> AudioForkAdapter:
    return AudioForkAdapter(query)


def test_a_call_of_one_channel() -> None:
    """The stream begins with the connection. Metadata means nothing, and an empty frame asks for the last words."""
    adapter = fork(language="ru-RU")
    assert adapter.open(SESSION) == [Start("ru", commit="utterance")]
    assert adapter.receive('{"to": "6173333456", "callid": "a"}') == adapter.receive("any text") == []
    commands = adapter.receive(pcm(1_600)) + adapter.receive(b"")
    assert isinstance(commands[-1], Stop)
    audio = [command.samples for command in commands if isinstance(command, Audio)]
    assert np.concatenate(audio).shape == (3_200,)
    # mod_audio_fork goes on sending empty frames.
    assert adapter.receive(b"") == adapter.receive("bye") == adapter.receive(pcm(160)) == []


def test_a_stereo_call_has_two_speakers() -> None:
    """Caller and callee are streams of their own, and each text says whose it is."""
    adapter = fork(channels="2", sample_rate="16000")
    assert adapter.open(SESSION) == [Start(commit="utterance", channels=2)]
    [audio] = adapter.receive(pcm(160, channels=2))
    assert isinstance(audio, Audio)
    assert audio.samples.shape == (2, 160)
    [message] = told(adapter, events.Committed(HELLO.words, 24_000, channel=1))
    assert message["data"]["channel"] == 1


def test_texts_of_a_call() -> None:
    """mod_audio_fork makes an event of ``data``, because of the type; mod_audio_stream of the whole message."""
    adapter = fork()
    [interim] = told(adapter, HEARD)
    [final] = told(adapter, HELLO)
    assert interim == {"type": "transcription", "data": {"text": "Алло", "start": 0.6, "end": 0.9, "is_final": False}}
    assert final == {
        "type": "transcription",
        "data": {
            "text": "Алло, Максим?",
            "start": 0.6,
            "end": 1.25,
            "is_final": True,
            "confidence": 0.825,
            "words": [
                {"text": "Алло,", "start": 0.6, "end": 0.9, "probability": 0.75},
                {"text": "Максим?", "start": 0.938, "end": 1.25, "probability": 0.9},
            ],
        },
    }
    assert not [message for event in SILENT for message in adapter.send(event)]
    assert not fork(interim="false").send(HEARD)
    [error] = adapter.fail(ShuttingDown("this worker is shutting down"), SESSION)
    assert json.loads(error) == {
        "type": "error",
        "data": {"code": "shutting_down", "message": "this worker is shutting down", "session": SESSION},
    }


def test_an_application_can_end_or_flush_the_stream() -> None:
    """mod_audio_stream has no other way to get the last words than to send a text before it stops."""
    adapter = fork()
    assert adapter.receive('{"type": "flush"}') == [Flush()]
    commands = adapter.receive('{"type": "flush"}{"type": "stop"}{"type": "flush"}')
    assert [type(command) for command in commands][:: len(commands) - 1] == [Flush, Stop]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"channels": "3"}, "channels is 3, expected 1 or 2"),
        ({"channels": "two"}, "channels is 'two', expected a whole number"),
        ({"sample_rate": "8k"}, "sample_rate is '8k', expected a whole number"),
        ({"sample_rate": "٨٠٠٠"}, "expected a whole number"),
        ({"sample_rate": "100"}, "sample_rate is 100, expected 8000 to 192000"),
        ({"language": "klingon"}, 'language is "klingon"'),
        ({"interim": "maybe"}, "interim is 'maybe', expected true or false"),
    ],
)
def test_wrong_options_of_an_address(query: dict[str, str], found: str) -> None:
    """The connection is refused before it opens."""
    with pytest.raises(UnsupportedFormat, match=found):
        AudioForkAdapter(query)


# ----------------------------------------------------------------------------------------------------------- any input

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
_messages = st.lists(
    _texts | st.tuples(_texts, _texts).map("".join) | st.binary(max_size=40) | st.just(pcm(80, 2)), max_size=8
)
_queries = st.fixed_dictionaries(
    {},
    optional={
        "channels": st.sampled_from(["1", "2"]) | st.text(max_size=5),
        "sample_rate": st.sampled_from(["8000", "16000"]) | st.text(max_size=8),
        "language": st.sampled_from(["ru", "ru-RU"]) | st.text(max_size=8),
        "interim": st.sampled_from(["true", "0"]) | st.text(max_size=5),
    },
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


@settings(deadline=None, max_examples=300)
@given(messages=_messages)
def test_any_input_of_a_jambonz_client(messages: list[Message]) -> None:
    """See ``check_any_input``."""
    check_any_input(JambonzAdapter, messages)


@settings(deadline=None, max_examples=300)
@given(messages=_messages, query=_queries)
def test_any_input_of_an_audio_fork(messages: list[Message], query: dict[str, str]) -> None:
    """See ``check_any_input``."""
    check_any_input(lambda: AudioForkAdapter(query), messages)


_values = st.none() | st.booleans() | st.integers() | st.text(max_size=20)


@given(st.lists(st.dictionaries(st.text(max_size=5), _values, max_size=3), max_size=4), st.text(" \n", max_size=3))
def test_objects_in_one_frame_are_all_found(written: list[dict[str, Any]], between: str) -> None:
    """Whatever white space lies between them. Anything else in the frame makes it a text without meaning."""
    text = between.join(json.dumps(each) for each in written)
    assert objects(text) == written
    for other in ("x", "1", "[]", '{"a": NaN}', '{"a": "\\ud800"}', "{"):
        assert objects(text + between + other) == []
