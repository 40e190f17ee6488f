"""The options of Deepgram's clients."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.deepgram_conversations import CREATED, SESSION, adapter_for
from whisperlivekit.core.commands import Start
from whisperlivekit.errors import BadMessage, ClientError, UnsupportedFormat
from whisperlivekit.wire.deepgram import DeepgramAdapter
from whisperlivekit.wire.deepgram_options import Options, read_options
from whisperlivekit.wire.options import MAX_HOTWORDS

RAW = "encoding=linear16&sample_rate=16000"


def options(content_type: str = "", **query: Any) -> Options:
    return read_options([(name, str(value)) for name, value in query.items()], content_type)


def test_a_stream_begins_with_the_connection() -> None:
    """Without options, everything is left to the server, and one final text for each utterance is told."""
    [command] = adapter_for(RAW).open(SESSION)
    assert command == Start(commit="utterance")


def test_options_of_a_stream() -> None:
    """What Deepgram's options mean here."""
    query = [
        *(("language", "ru-RU"), ("interim_results", "true"), ("endpointing", "700"), ("utterance_end_ms", "1500")),
        *(("vad_events", "true"), ("smart_format", "true"), ("channels", "2")),
        *(("encoding", "alaw"), ("sample_rate", "8000")),
        ("keyterm", "Максим"),
        ("keyterm", "складской учёт"),
        ("keywords", "артикул:2"),
        ("keywords", "акция:-3"),
        ("keywords", "10:30 утра"),
    ]
    found = read_options(query)
    hotwords = ("Максим", "складской учёт", "артикул", "10:30 утра")
    assert found.start() == Start("ru", hotwords=hotwords, commit="words", silence_s=0.7)
    assert found == Options("alaw", 8_000, 2, False, "ru", hotwords, True, 0.7, True, 24_000, True, True, False)


def test_unknown_options_are_ignored() -> None:
    """Deepgram adds options all the time, and clients send those of its latest version."""
    ignored = (
        "model=nova-3&version=latest&no_delay=true&filler_words=true&numerals=true&tag=a&redact=pci&search=x&replace=a:b"
        "&profanity_filter=true&mip_opt_out=true&diarize=true&dictation=true&language_hint=ru&extra=a:b&something_new=1"
    )
    assert adapter_for(ignored).options == Options()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (None, True)),
        ({"endpointing": "true"}, (None, True)),
        ({"endpointing": "false"}, (None, False)),
        ({"endpointing": "False"}, (None, False)),
        ({"endpointing": "500"}, (0.5, True)),
        ({"endpointing": "10"}, (0.3, True)),
        ({"endpointing": "25"}, (0.3, True)),
        ({"endpointing": "60000"}, (5.0, True)),
    ],
)
def test_endpointing(given: dict[str, str], expected: tuple[float | None, bool]) -> None:
    """The silence that ends an utterance has bounds; false means that no end is told."""
    found = options(**given)
    assert (found.silence_s, found.speech_final) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"language": "ru"}, "ru"),
        ({"language": "en-US"}, "en"),
        ({"language": "multi"}, "auto"),
        ({"detect_language": "true"}, "auto"),
        ({"detect_language": "false"}, None),
        ({"language": "ru", "detect_language": "true"}, "ru"),
        ({}, None),
    ],
)
def test_languages(given: dict[str, str], expected: str | None) -> None:
    assert options(**given).language == expected


@pytest.mark.parametrize(
    ("content_type", "query", "expected"),
    [
        ("", {}, (None, 16_000)),
        ("", {"sample_rate": "8000"}, (None, 16_000)),
        ("", {"encoding": "opus", "sample_rate": "48000"}, (None, 16_000)),
        ("", {"encoding": "linear16", "sample_rate": "44100"}, ("pcm_s16le", 44_100)),
        ("", {"encoding": "linear32", "sample_rate": "24000"}, ("pcm_f32le", 24_000)),
        ("", {"encoding": "mulaw"}, ("mulaw", 8_000)),
        ("audio/mulaw; rate=8000", {}, ("mulaw", 8_000)),
        ("audio/l16;rate=16000", {}, ("pcm_s16le", 16_000)),
        ("audio/l16", {"sample_rate": "16000"}, ("pcm_s16le", 16_000)),
        ("audio/wav", {}, (None, 16_000)),
        ("application/octet-stream", {"encoding": "alaw"}, ("alaw", 8_000)),
    ],
)
def test_encodings(content_type: str, query: dict[str, str], expected: tuple[str | None, int]) -> None:
    """Without an encoding the audio is a media file; a file's may be in its Content-Type."""
    found = options(content_type, **query)
    assert (found.encoding, found.sample_rate) == expected


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        ({"encoding": "mp7"}, UnsupportedFormat, "encoding is 'mp7', expected one of linear16, linear32, mulaw, alaw"),
        ({"encoding": "linear16"}, UnsupportedFormat, "sample_rate is missing, expected 8000 to 192000"),
        ({"encoding": "linear16", "sample_rate": "4000"}, UnsupportedFormat, "sample_rate is '4000', expected 8000"),
        ({"encoding": "linear16", "sample_rate": "1e4"}, UnsupportedFormat, "sample_rate is '1e4', expected 8000"),
        ({"encoding": "alaw", "channels": "3"}, UnsupportedFormat, "channels is '3', expected 1 to 2"),
        ({"language": "xx"}, UnsupportedFormat, 'language is "xx", expected a Whisper language code'),
        ({"interim_results": "maybe"}, BadMessage, "interim_results is 'maybe', expected true or false"),
        ({"endpointing": "soon"}, BadMessage, "endpointing is 'soon', expected milliseconds"),
        ({"endpointing": "-5"}, BadMessage, "endpointing is '-5', expected milliseconds"),
        ({"utterance_end_ms": "nan"}, BadMessage, "utterance_end_ms is 'nan', expected milliseconds"),
        ({"keyterm": "а" * 65}, BadMessage, "found a keyterm of 65 characters, expected up to 64"),
        ({"callback": "http://x"}, BadMessage, "callback is given, expected none: this server opens no addresses"),
    ],
)
def test_wrong_options(query: dict[str, str], error: type[ClientError], message: str) -> None:
    """The message says what was found and what is expected."""
    with pytest.raises(error, match=f"^{message.replace('(', '[(]')}"):
        options(**query)


def test_too_many_keyterms() -> None:
    with pytest.raises(BadMessage, match="found 101 keyterms, expected up to 100"):
        read_options([("keyterm", f"слово {number}") for number in range(MAX_HOTWORDS + 1)])


_values = st.sampled_from(
    ["true", "false", "0", "300", "-1", "nan", "1e3", "ru", "linear16", "8000", "2", "", "x" * 90]
)
_names = st.sampled_from(
    ["encoding", "sample_rate", "channels", "language", "endpointing", "utterance_end_ms", "interim_results", "keyterm",
     "keywords", "multichannel", "punctuate", "callback", "detect_language", "model"]
)  # fmt: skip


@given(
    query=st.lists(st.tuples(_names | st.text(max_size=8), _values | st.text(max_size=20)), max_size=8),
    content_type=st.sampled_from(["", "audio/l16;rate=16000", "audio/mulaw;rate", ";;="]) | st.text(max_size=20),
)
def test_any_options_are_taken_or_refused(query: list[tuple[str, str]], content_type: str) -> None:
    """A mistake is the client's error, and options that are taken make a stream."""
    try:
        found = read_options(query, content_type)
    except ClientError:
        return
    [start] = DeepgramAdapter(found, CREATED).open(SESSION)
    assert isinstance(start, Start)
