"""jambonz's adapter. The conversations are those of docs.jambonz.org and of the source of mod_jambonz_transcribe."""

import json
from typing import Any

import pytest
from hypothesis import given, settings

from tests.wire.calls import HEARD, HELLO, MESSAGES, SILENT, check_any_input, pcm, told
from tests.wire.telephony_conversations import JAMBONZ_START, SESSION
from whisperlivekit.core.commands import Audio, Start, Stop
from whisperlivekit.errors import BadAudio, BadMessage, ClientError, ShuttingDown, UnsupportedFormat
from whisperlivekit.wire.adapter import Message
from whisperlivekit.wire.jambonz import JambonzAdapter


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


@settings(deadline=None, max_examples=150)
@given(messages=MESSAGES)
def test_any_input_of_a_jambonz_client(messages: list[Message]) -> None:
    """See ``check_any_input``."""
    check_any_input(JambonzAdapter, messages)
