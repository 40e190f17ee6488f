"""Deepgram's protocol.

Long because each message, and each rule about what is final when, is a test.
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.deepgram_conversations import (
    CONVERSATIONS,
    CREATED,
    FIXTURES,
    MAKSIM,
    READY,
    SESSION,
    WEATHER,
    adapter_for,
    lines,
    partial,
)
from whisperlivekit.core import events
from whisperlivekit.core.commands import Audio, Command, Configure, Flush, Start, Stop
from whisperlivekit.core.events import Event
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.errors import ClientError, ShuttingDown, TimedOut
from whisperlivekit.wire.adapter import Adapter, Reply
from whisperlivekit.wire.deepgram import (
    DeepgramAdapter,
    ends_stream,
    joined_words,
)

RAW = "encoding=linear16&sample_rate=16000"


def opened(query: str = RAW) -> DeepgramAdapter:
    adapter = adapter_for(query)
    adapter.open(SESSION)
    adapter.send(READY)
    return adapter


def told(adapter: DeepgramAdapter, *happened: Event) -> list[dict[str, Any]]:
    return [json.loads(text) for event in happened for text in adapter.send(event)]


def replies(items: Sequence[Command | Reply]) -> list[dict[str, Any]]:
    return [json.loads(item.message) for item in items if isinstance(item, Reply)]


def transcript(result: dict[str, Any]) -> str:
    text: str = result["channel"]["alternatives"][0]["transcript"]
    return text


# ---------------------------------------------------------------------------------------------- conversations


def test_fixtures_are_up_to_date() -> None:
    """If this fails, run python -m tests.wire.deepgram_conversations."""
    assert {path.stem for path in FIXTURES.glob("*.jsonl")} == set(CONVERSATIONS)
    for name in CONVERSATIONS:
        assert (FIXTURES / f"{name}.jsonl").read_text(encoding="utf-8") == lines(name), name


def test_an_adapter_is_complete() -> None:
    """The server can use it as the adapter of a connection, whose streams cannot resume."""
    adapter: Adapter = opened()
    assert not any([adapter.resumes, adapter.may_be_silent, adapter.continues, adapter.holds_text])


# ------------------------------------------------------------------------------------------ client to server


def test_audio_may_be_cut_anywhere() -> None:
    """Half a sample waits for its other half, as Deepgram takes it; half a sample at the end is dropped."""
    adapter = opened()
    data = np.arange(100, dtype="<i2").tobytes()
    pieces = [data[:1], data[1:4], data[4:51], data[51:], b"\x01"]
    items = [item for piece in pieces for item in adapter.receive(piece)]
    found = np.concatenate([item.samples for item in items if isinstance(item, Audio)])
    np.testing.assert_allclose(found, np.arange(100) / 32768)
    assert adapter.receive('{"type":"CloseStream"}') == [Stop()]


@pytest.mark.parametrize("last", [b"", '{"type":"CloseStream"}', '{ "type" : "CloseStream", "x": 1 }'])
def test_the_end_of_a_stream(last: str | bytes) -> None:
    """SDKs before 2023 sent an empty binary message. What comes afterwards is ignored."""
    adapter = opened("encoding=mulaw&sample_rate=8000")
    adapter.receive(bytes(800))
    assert ends_stream(last)
    *rest, end = adapter.receive(last)
    assert all(isinstance(item, Audio) for item in rest)
    assert end == Stop()
    for message in (last, b"abcd", '{"type":"KeepAlive"}', "{"):
        assert adapter.receive(message) == []


def test_a_keep_alive_is_a_sign_of_life() -> None:
    """It begins the time limit for silence again, which counts from the last audio, and is not answered."""
    [audio] = opened().receive('{"type":"KeepAlive"}')
    assert isinstance(audio, Audio)
    assert audio.samples.shape == (0,)


def test_pieces_of_a_media_file_come_as_floats() -> None:
    """The server decodes them before the adapter sees them."""
    adapter = opened("language=ru")
    assert adapter.in_container
    [audio] = adapter.receive(np.array([0.5, -0.25], "<f4").tobytes())
    assert isinstance(audio, Audio)
    assert audio.samples.tolist() == [0.5, -0.25]


def test_keyterms_can_change() -> None:
    """They replace all of them; every Configure is answered once, and without keyterms nothing changes."""
    adapter = opened(f"{RAW}&language=ru&keyterm=a&endpointing=800")
    configure, *answer = adapter.receive('{"type":"Configure","keyterms":["Максим","Анна"]}')
    assert configure == Configure("ru", hotwords=("Максим", "Анна"), silence_s=0.8)
    assert replies(answer) == [{"type": "ConfigureSuccess", "request_id": SESSION, "keyterms": ["Максим", "Анна"]}]
    answer = adapter.receive('{"type":"Configure","keyterms":null,"features":{"numerals":true}}')
    assert replies(answer) == [{"type": "ConfigureSuccess", "request_id": SESSION}]
    assert len(answer) == 1


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"keyterms": "a"}, "InvalidConfigureMessage"),
        ({"keyterms": [1]}, "InvalidConfigureMessage"),
        ({"features": {"numerals": "yes"}}, "InvalidConfigureMessage"),
        ({"keyterms": ["a" * 65]}, "CONFIGURE_KEYTERM_LIMIT_EXCEEDED"),
    ],
)
def test_a_wrong_configure_changes_nothing(wrong: dict[str, Any], code: str) -> None:
    """It is answered by ConfigureFailure, and the stream goes on."""
    [reply] = replies(opened().receive(json.dumps({"type": "Configure"} | wrong)))
    assert (reply["type"], reply["request_id"], reply["code"]) == ("ConfigureFailure", SESSION, code)
    assert "expected" in reply["description"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{", "text that is not a JSON object"),
        ("[]", "text that is not a JSON object"),
        ("{}", "a message without a type"),
        ('{"type":7}', "a message without a type"),
        ('{"type":"Restart"}', "a message of type 'Restart'"),
    ],
)
def test_text_that_is_not_understood_is_answered(text: str, found: str) -> None:
    """In Deepgram's form, and the stream goes on."""
    [reply] = replies(opened().receive(text))
    assert (reply["type"], reply["variant"], reply["message"]) == ("Error", "SchemaError", text)
    assert reply["description"].startswith(f"found {found}, expected")


# ------------------------------------------------------------------------------------------ server to client

REQUIRED = {
    "type", "channel_index", "duration", "start", "is_final", "speech_final", "channel", "metadata", "from_finalize"
}  # fmt: skip


def test_every_result_has_every_field() -> None:
    """LiveKit looks them up without asking whether they are there, in interim and empty results too."""
    results = [
        line["message"]
        for name in CONVERSATIONS
        for line in map(json.loads, lines(name).splitlines())
        if line.get("message", {}).get("type") == "Results"
    ]
    assert len(results) >= 8
    for result in results:
        assert set(result) == REQUIRED
        assert set(result["metadata"]) == {"request_id", "model_info", "model_uuid"}
        assert set(result["metadata"]["model_info"]) == {"name", "version", "arch"}
        [alternative] = result["channel"]["alternatives"]
        assert set(alternative) == {"transcript", "confidence", "words"}
        for word in alternative["words"]:
            assert set(word) - {"punctuated_word"} == {"word", "start", "end", "confidence"}


def test_plain_and_punctuated_text() -> None:
    """Without punctuate or smart_format, text is lower case without punctuation, as at Deepgram."""
    spoken = (Word(" Кто-то", 0, 8_000, 0.5), Word(" —", 8_000, 8_000, 0.1), Word(" здесь?!", 8_000, 16_000, 1.0))
    happened: list[Event] = [events.Committed(spoken, 0), events.UtteranceEnded(0, 20_000, 20_000)]
    [plain] = told(opened(), *happened)
    assert plain["channel"]["alternatives"][0] == {
        "transcript": "кто-то здесь",
        "confidence": 0.75,
        "words": [
            {"word": "кто-то", "start": 0.0, "end": 0.5, "confidence": 0.5},
            {"word": "здесь", "start": 0.5, "end": 1.0, "confidence": 1.0},
        ],
    }
    [written] = told(opened(f"{RAW}&smart_format=true"), *happened)
    assert transcript(written) == "Кто-то — здесь?!"
    assert [word["punctuated_word"] for word in written["channel"]["alternatives"][0]["words"]] == ["Кто-то", "здесь?!"]


def test_pieces_of_a_word_are_one_word() -> None:
    """What the model writes without a space in front belongs to the word before it."""
    assert joined_words(MAKSIM) == [MAKSIM[0], Word(" Макс-им.", 15_200, 20_000, 0.5)]


def test_interim_results_hold_the_whole_segment() -> None:
    """What is committed and what may still change; only where it has changed, and only if it was asked for."""
    happened: list[Event] = [
        events.SpeechStarted(8_000),
        partial(WEATHER[0]),
        partial(WEATHER[0]),
        events.Committed((WEATHER[0],), 0),
        partial(WEATHER[1]),
        events.Partial("", 38_400, 38_400),
    ]
    found = told(opened(f"{RAW}&interim_results=true"), *happened)
    assert [(transcript(result), result["is_final"]) for result in found] == [
        ("какая", False), ("какая погода", False), ("какая", False)
    ]  # fmt: skip
    assert (found[1]["start"], found[1]["duration"]) == (0.0, 2.4)
    assert told(opened(), *happened) == []


def test_a_sentence_is_final_before_the_speaker_pauses() -> None:
    """When more words follow: the last one is kept back, so that the end of the utterance always has text."""
    adapter = opened(f"{RAW}&interim_results=true&punctuate=true")
    assert told(adapter, events.Committed(MAKSIM, 0)) == []
    [sentence] = told(adapter, events.Committed((WEATHER[0],), 0))
    assert (transcript(sentence), sentence["is_final"], sentence["speech_final"]) == ("Привет, Макс-им.", True, False)
    assert told(adapter, events.Committed((WEATHER[1],), 0)) == []
    [end] = told(adapter, events.UtteranceEnded(8_000, 43_200, 0))
    assert (transcript(end), end["is_final"], end["speech_final"]) == ("Какая погода?", True, True)
    assert end["start"] == sentence["start"] + sentence["duration"]


def test_long_speech_is_final_in_phrases() -> None:
    """After five seconds at the last comma, or at any word; without interim results after half a minute."""
    words = [
        Word(f" слово{',' if number == 6 else ''}", number * 8_000, number * 8_000 + 8_000, 0.9) for number in range(12)
    ]
    adapter = opened(f"{RAW}&interim_results=true&punctuate=true")
    found = told(adapter, *(events.Committed((word,), 0) for word in words))
    assert [transcript(result).split() for result in found] == [["слово"] * 6 + ["слово,"]]
    many = [Word(" слово", number * 8_000, number * 8_000 + 8_000, 0.9) for number in range(100)]
    quiet = told(opened(), *(events.Committed((word,), 0) for word in many))
    assert [len(transcript(result).split()) for result in quiet] == [59]


def test_an_utterance_without_words_ends_too() -> None:
    """A client that was told of its beginning waits for its end."""
    started, ended = told(
        opened(f"{RAW}&vad_events=true"), events.SpeechStarted(8_000), events.UtteranceEnded(8_000, 16_000, 16_000)
    )
    assert started == {"type": "SpeechStarted", "channel": [0, 1], "timestamp": 0.5}
    assert (transcript(ended), ended["is_final"], ended["speech_final"]) == ("", True, True)


def test_without_endpointing_no_end_is_told() -> None:
    [end] = told(
        opened(f"{RAW}&endpointing=false"), events.Committed(WEATHER, 0), events.UtteranceEnded(8_000, 43_200, 0)
    )
    assert (end["is_final"], end["speech_final"]) == (True, False)


def test_finalize_is_answered_with_the_text_that_it_has_ended() -> None:
    """Pipecat looks for from_finalize only in a result with text."""
    adapter = opened(f"{RAW}&interim_results=true")
    told(adapter, events.SpeechStarted(0), partial(*WEATHER))
    assert adapter.receive('{"type":"Finalize"}') == [Flush()]
    found = told(
        adapter, events.Committed(WEATHER, 0), events.UtteranceEnded(0, 43_200, 0), events.Flushed(43_200, 43_200)
    )
    assert [(transcript(result), result["from_finalize"], result["speech_final"]) for result in found] == [
        ("какая погода", True, True)
    ]


def test_each_finalize_is_answered_once_even_if_nothing_was_said() -> None:
    """Utterances before the last one are told without from_finalize."""
    adapter = opened()
    adapter.receive('{"type":"Finalize"}')
    adapter.receive('{"type":"Finalize","channel":0}')
    found = told(
        adapter,
        events.SpeechStarted(0),
        events.Committed(WEATHER, 0),
        events.UtteranceEnded(0, 43_200, 0),
        events.SpeechStarted(48_000),
        events.Committed((Word(" Да.", 50_000, 52_000, 0.9),), 0),
        events.UtteranceEnded(48_000, 60_000, 0),
        events.Flushed(60_000, 60_000),
        events.Flushed(60_000, 60_000),
    )
    assert [(transcript(result), result["from_finalize"]) for result in found] == [
        ("какая погода", False), ("да", True), ("", True)
    ]  # fmt: skip


def test_the_end_of_an_utterance_by_its_words() -> None:
    """UtteranceEnd comes once, when the audio after the last word is as long as asked, and nobody speaks."""
    adapter = opened(f"{RAW}&utterance_end_ms=1000&interim_results=true")
    told(adapter, events.SpeechStarted(0), events.Committed(WEATHER, 0))
    assert replies(adapter.receive(bytes(2 * 50_000))) == []
    [end] = told(adapter, events.UtteranceEnded(0, 43_200, 0))
    assert end["speech_final"]
    assert replies(adapter.receive(bytes(2 * 4_000))) == []
    assert replies(adapter.receive(bytes(2 * 400))) == [
        {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": 2.4}
    ]
    assert replies(adapter.receive(bytes(2 * 40_000))) == []


def test_a_noise_does_not_hold_back_the_end_of_an_utterance() -> None:
    """Words decide: when the noise has ended without any, the end is told."""
    adapter = opened(f"{RAW}&utterance_end_ms=1000")
    told(adapter, events.SpeechStarted(0), events.Committed(WEATHER, 0), events.UtteranceEnded(0, 43_200, 0))
    told(adapter, events.SpeechStarted(46_000))
    assert replies(adapter.receive(bytes(2 * 60_000))) == []
    _, ended = told(adapter, events.UtteranceEnded(46_000, 58_000, 0))
    assert ended["type"] == "UtteranceEnd"


def test_the_last_message() -> None:
    """Metadata has the totals."""
    [last] = told(opened(), events.Done(40_000, 0, 0, 0, 0))
    assert last == {
        "type": "Metadata",
        "transaction_key": "deprecated",
        "request_id": SESSION,
        "sha256": "",
        "created": CREATED,
        "duration": 2.5,
        "channels": 1,
    }


def test_errors() -> None:
    """An error is told in Deepgram's form; a worker that shuts down has told all words, and says nothing."""
    [message] = opened().fail(TimedOut("no audio for 60 s"), SESSION)
    error = json.loads(message)
    assert (error["type"], error["variant"]) == ("Error", "timed_out")
    assert error["description"] == error["message"] == f"no audio for 60 s ({SESSION})"
    assert opened().fail(ShuttingDown("x"), SESSION) == []


def test_each_channel_of_a_stereo_call_has_a_transcript() -> None:
    """channel_index says which, and Finalize is answered for each."""
    adapter = adapter_for(f"{RAW}&channels=2&multichannel=true")
    [start] = adapter.open(SESSION)
    assert isinstance(start, Start)
    assert start.channels == 2
    adapter.send(READY)
    [audio] = adapter.receive(np.array([[8192, -8192], [16384, 0]], "<i2").tobytes() + b"\x01")
    assert isinstance(audio, Audio)
    np.testing.assert_allclose(audio.samples, [[0.25, 0.5], [-0.25, 0.0]])
    adapter.receive('{"type":"Finalize"}')
    found = told(
        adapter,
        events.SpeechStarted(0, channel=1),
        events.SpeechStarted(0, channel=0),
        events.Committed(WEATHER, 0, channel=1),
        events.UtteranceEnded(0, 43_200, 0, channel=1),
        events.Flushed(43_200, 43_200, channel=0),
        events.Flushed(43_200, 43_200, channel=1),
        events.Done(43_200, 43_200, 2, 1, 0),
    )
    *results, last = found
    assert [(transcript(result), result["channel_index"], result["from_finalize"]) for result in results] == [
        ("", [0, 2], True), ("какая погода", [1, 2], True)
    ]  # fmt: skip
    assert last["channels"] == 2


def test_channels_are_mixed_unless_multichannel() -> None:
    [audio] = opened(f"{RAW}&channels=2").receive(np.array([[8192, -8192], [16384, 0]], "<i2").tobytes())
    assert isinstance(audio, Audio)
    np.testing.assert_allclose(audio.samples, [0.0, 0.25])


# -------------------------------------------------------------------------------------------------- any input

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_types = st.sampled_from(["KeepAlive", "Finalize", "CloseStream", "Configure", "Metadata"])
_objects = st.fixed_dictionaries({"type": _types}, optional={"keyterms": _json, "features": _json, "channel": _json})
_texts = (_objects | _json).map(json.dumps) | st.text(max_size=20)
_messages = st.lists(st.binary(max_size=200) | _texts, max_size=12)
_queries = st.sampled_from(
    [
        RAW,
        f"{RAW}&interim_results=true&utterance_end_ms=500",
        "encoding=mulaw",
        "encoding=linear32&sample_rate=8000&channels=2",
        f"{RAW}&channels=2&multichannel=true",
    ]
)


@given(query=_queries, messages=_messages)
def test_any_messages_are_understood_or_answered(query: str, messages: list[str | bytes]) -> None:
    """No message but a float that is no number ends the stream; at most one Stop, and nothing after it."""
    adapter = adapter_for(query)
    items: list[Command | Reply] = [*adapter.open(SESSION)]
    for message in messages:
        try:
            items += adapter.receive(message)
        except ClientError:
            assert "linear32" in query
            break
    assert isinstance(items[0], Start)
    assert all(not isinstance(item, Start) for item in items[1:])
    assert Stop() not in items[:-1]
    assert all(isinstance(json.loads(item.message), dict) for item in items if isinstance(item, Reply))


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Event | None], list[Word], int]:
    """Events as a session tells them, None for a Finalize; all committed words; and the number of Finalizes."""
    happened: list[Event | None] = []
    spoken: list[Word] = []
    at, asked = 0, 0
    for _ in range(draw(st.integers(1, 4))):
        start = at + draw(st.integers(0, 40_000))
        at = start
        happened.append(events.SpeechStarted(start))
        flushes = 0
        for _ in range(draw(st.integers(0, 6))):
            count = draw(st.integers(1, 4))
            words = []
            for _ in range(count):
                text = draw(st.sampled_from([" да", " нет.", " Да,", "-то", " —", " 5"]))
                words.append(Word(text, at, at + 6_000, draw(st.floats(0, 1))))
                at += 6_000
            if draw(st.booleans()):
                happened.append(events.Committed(tuple(words), 0))
                spoken += words
            else:
                happened.append(partial(*words))
                at = words[0].start
            if draw(st.integers(0, 5)) == 0:
                happened.append(None)
                flushes += 1
        asked += flushes
        at += 4_800
        happened.append(events.UtteranceEnded(start, at, at))
        happened += [events.Flushed(at, at)] * flushes
    return happened, spoken, asked


@settings(max_examples=200)
@given(
    stream=streams(),
    query=st.sampled_from([f"{RAW}&smart_format=true", f"{RAW}&smart_format=true&interim_results=true"]),
)
def test_final_results_are_the_committed_text(stream: tuple[list[Event | None], list[Word], int], query: str) -> None:
    """Joined, they hold each committed word once and in order. Segments follow each other without gaps or overlaps,
    each Finalize is answered once, and where an utterance had words its speech_final has some.
    """
    happened, spoken, asked = stream
    adapter = opened(query)
    results: list[dict[str, Any]] = []
    for event in happened:
        if event is None:
            adapter.receive('{"type":"Finalize"}')
        else:
            results += told(adapter, event)
    finals = [result for result in results if result["is_final"]]
    joined = " ".join(transcript(result) for result in finals if transcript(result))
    assert joined.replace(" ", "") == "".join(word.text for word in spoken).replace(" ", "")
    assert sum(result["from_finalize"] for result in finals) == asked
    for before, after in pairwise(finals):
        assert after["start"] == pytest.approx(before["start"] + before["duration"], abs=0.002)
    assert all(result["duration"] >= 0 for result in results)
    ends = [event for event in happened if isinstance(event, events.UtteranceEnded)]
    assert sum(result["speech_final"] for result in finals) == len(ends)
