"""The native protocol.

Long because each message and each mistake in one is a test.
"""

import base64
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.conversations import CONVERSATIONS, FIXTURES, SESSION, lines
from whisperlivekit.core import events
from whisperlivekit.core.commands import Audio, Command, Flush, Resume, Start, Stop
from whisperlivekit.core.events import Event
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.errors import (
    BadAudio,
    BadMessage,
    ClientError,
    DecodeFailed,
    MessageTooBig,
    ModelUnavailable,
    NoCapacity,
    ServerFault,
    ShuttingDown,
    TimedOut,
    UnsupportedFormat,
)
from whisperlivekit.server.service import new_session_id
from whisperlivekit.wire.adapter import Adapter
from whisperlivekit.wire.native import NativeAdapter

PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"


def json_values(numbers: st.SearchStrategy[float]) -> st.SearchStrategy[object]:
    """Anything that ``json.dumps`` writes."""
    return st.recursive(
        st.none() | st.booleans() | st.integers() | numbers | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
        max_leaves=12,
    )


def started(**fields: Any) -> NativeAdapter:
    adapter = NativeAdapter()
    adapter.receive(json.dumps({"type": "start"} | fields))
    return adapter


def start(**fields: Any) -> Start:
    [command] = NativeAdapter().receive(json.dumps({"type": "start"} | fields))
    assert isinstance(command, Start)
    return command


# -------------------------------------------------------------------------------------------- conversations


def test_fixtures_are_up_to_date() -> None:
    """The page's tests read what this code sends. If this fails, run python -m tests.wire.conversations."""
    assert {path.stem for path in FIXTURES.glob("*.jsonl")} == set(CONVERSATIONS)
    for name in CONVERSATIONS:
        assert (FIXTURES / f"{name}.jsonl").read_text(encoding="utf-8") == lines(name), name


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_clients_of_the_conversations_are_understood(name: str) -> None:
    """Every message of a client is accepted, in its order, and gives one ``Start``."""
    adapter = NativeAdapter()
    commands: list[Command] = []
    for line in lines(name).splitlines():
        match json.loads(line):
            case {"from": "client", "message": message}:
                commands += adapter.receive(json.dumps(message))
            case {"from": "client", "audio": audio}:
                commands += adapter.receive(base64.b64decode(audio))
    assert isinstance(commands[0], Start)
    assert sum(isinstance(command, Start) for command in commands) == 1


def test_every_event_is_in_a_conversation_and_in_the_document() -> None:
    """The page's tests see each type of event, and docs/protocol.md has a row for it."""
    shown = {
        line["message"]["type"]
        for name in CONVERSATIONS
        for line in map(json.loads, lines(name).splitlines())
        if line["from"] == "server"
    }
    names = "".join(kind.__name__ for kind in get_args(Event))
    assert len(shown) == len(get_args(Event)) + 1, f"all of {names} and error"
    documented = PROTOCOL.read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in documented for name in shown)


# ------------------------------------------------------------------------------------------------------ start


def test_a_start_without_options_leaves_all_to_the_server() -> None:
    """An option that is left out is None: the server's settings decide."""
    assert start() == Start(language=None, prompt=None, hotwords=(), resume=None)


def test_a_start_with_all_options() -> None:
    """Every option reaches ``Start``; times of resumed words become samples."""
    word = {"text": " слово", "start": 7.8, "end": 8.1, "probability": 0.9}
    command = start(
        language="auto",
        prompt="Склад",
        hotwords=["Максим", "два слова"],
        resume={"session": SESSION, "position": 123_456, "words": [word]},
        commit="utterance",
        refine=True,
    )
    resume = Resume(SESSION, 123_456, (Word(" слово", 124_800, 129_600, 0.9),))
    assert command == Start("auto", "Склад", ("Максим", "два слова"), resume, "utterance", refine=True)
    assert start(task="translate") == Start(task="translate")


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"encoding": "opus"}, UnsupportedFormat, 'start.encoding is "opus", expected one of pcm_s16le, '),
        ({"encoding": "pcm_s16"}, UnsupportedFormat, "did you mean pcm_s16le?"),
        (
            {"sample_rate": 200},
            UnsupportedFormat,
            "start.sample_rate is 200, expected a whole number from 8000 to 192000",
        ),
        ({"commit": "word"}, BadMessage, 'start.commit is "word", expected "words" or "utterance"'),
        ({"task": "english"}, BadMessage, 'start.task is "english", expected "transcribe" or "translate"'),
        ({"task": "translate", "refine": True}, BadMessage, "start.refine is given with start.task translate"),
        ({"sample_rate": "16000"}, BadMessage, 'start.sample_rate is "16000", expected a whole number'),
        ({"sample_rate": True}, BadMessage, "start.sample_rate is true"),
        ({"channels": 6}, UnsupportedFormat, "start.channels is 6, expected 1 or 2"),
        ({"language": "russian"}, UnsupportedFormat, 'did you mean "ru"?'),
        ({"language": ["ru"]}, BadMessage, "start.language is a list of 1"),
        ({"sample_rat": 16000}, BadMessage, "start.sample_rat is an unknown field, .* did you mean sample_rate?"),
        ({"prompt": "я" * 1001}, BadMessage, "start.prompt is text of 1001 characters, expected text of up to 1000"),
        (
            {"hotwords": ["я" * 65]},
            BadMessage,
            r"start.hotwords\[0\] is text of 65 characters, expected text of 1 to 64",
        ),
        ({"hotwords": ["я"] * 101}, BadMessage, "start.hotwords is a list of 101, expected a list of up to 100"),
        ({"resume": {"session": "a"}}, BadMessage, "start.resume.position is missing"),
        ({"resume": {"session": "a", "position": -1}}, BadMessage, "start.resume.position is -1"),
        (
            {"resume": {"session": "a", "position": 0, "words": [{"text": "a", "start": 0, "end": 1, "prob": 1}]}},
            BadMessage,
            r"start.resume.words\[0\].prob is an unknown field",
        ),
    ],
)
def test_wrong_options_say_found_and_expected(fields: dict[str, Any], error: type[ClientError], message: str) -> None:
    """The error names the option, what was found, what is allowed, and what was probably meant."""
    with pytest.raises(error, match=message):
        start(**fields)


def test_errors_do_not_quote_what_people_said() -> None:
    """Error messages are logged, so they never hold the words of a prompt, hotword or transcript."""
    with pytest.raises(BadMessage) as caught:
        start(hotwords=[{"тайна": 1}])
    assert "тайна" not in caught.value.message
    with pytest.raises(BadMessage) as caught:
        start(resume={"position": 0, "words": [{"text": "тайна" * 100, "start": 0, "end": 1}]})
    assert "тайна" not in caught.value.message


# ----------------------------------------------------------------------------------------------------- resume


def test_a_stream_keeps_the_id_that_the_server_gave_it() -> None:
    """The server takes back, on resume, every id that it makes."""
    for made in (new_session_id() for _ in range(50)):
        command = start(resume={"session": made, "position": 0})
        assert command.resume is not None
        assert command.resume.session == made


@given(st.text(max_size=64) | st.sampled_from(["unknown", SESSION.upper(), f"{SESSION}\n", f"{SESSION}0", "٣" * 16]))
def test_an_id_of_another_form_never_reaches_the_log(session: str) -> None:
    """Sixteen hexadecimal digits and nothing else: a line break in an id would forge a line of the log. The stream
    itself is resumed all the same, under a new id.
    """
    command = start(resume={"session": session, "position": 5})
    assert command.resume is not None
    assert command.resume.position == 5
    if set(session) <= set("0123456789abcdef") and len(session) == 16:
        assert command.resume.session == session
    else:
        assert command.resume.session is None


@pytest.mark.parametrize("resume", [{"position": 0}, {"position": 0, "session": None}])
def test_a_client_that_has_no_id_can_resume(resume: dict[str, Any]) -> None:
    """Its first connection was lost before ``ready`` came, and the beginning of its audio is gone."""
    assert start(resume=resume).resume == Resume(None, 0)


@given(json_values(st.floats(allow_nan=False, allow_infinity=False)))
def test_the_context_of_earlier_clients_is_ignored(context: object) -> None:
    """Version 1 had ``context`` in resume. A page that is open while the server is upgraded still sends it and must
    not lose its stream; an error never offers the field.
    """
    plain = {"session": SESSION, "position": 5}
    assert start(resume=plain | {"context": context}) == start(resume=plain)
    with pytest.raises(BadMessage, match=r"expected position, live_from, words, session, channels$"):
        start(resume=plain | {"context": context, "contex": ""})


# ------------------------------------------------------------------------------------------------------ order


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        ([b"\0\0"], "found 2 bytes of audio before the start"),
        (['{"type":"stop"}'], "found stop before the start"),
        (['{"type":"flush"}'], "found flush before the start"),
        (['{"type":"start"}', '{"type":"start"}'], "found a second start"),
        (['{"type":"start"}', '{"type":"stop"}', b"\0\0"], "found 2 bytes of audio after stop"),
        (['{"type":"start"}', '{"type":"stop"}', '{"type":"stop"}'], "found text of 15 characters after stop"),
        (['{"type":"start"}', "привет"], "found text of 6 characters that is not JSON"),
        (['{"type":"start"}', '{"type":"stpo"}'], 'found a message of type "stpo", .* did you mean stop?'),
        (["[1]"], "found JSON that is a list of 1"),
        (['{"sample_rate":1}'], "found a message without a type"),
        (['{"type":"start"}', '{"type":"stop","now":true}'], "stop.now is an unknown field, expected no other field"),
        (["[" * 100_000], "not JSON"),
        (['{"type":"start","prompt":"\\ud800"}'], "not JSON"),
        (['{"type":"start","sample_rate":NaN}'], "not JSON"),
    ],
)
def test_wrong_messages_say_found_and_expected(messages: list[str | bytes], found: str) -> None:
    """Garbage and messages out of order are BadMessage, which says what was found and what is expected."""
    adapter = NativeAdapter()
    for message in messages[:-1]:
        adapter.receive(message)
    with pytest.raises(BadMessage, match=found) as caught:
        adapter.receive(messages[-1])
    assert "expected" in caught.value.message


def test_audio_flush_and_stop() -> None:
    """Audio is decoded as ``start`` says; stop also gives the rest that the resampler held back."""
    adapter = started(encoding="pcm_f32le", sample_rate=48_000, channels=2)
    frames = np.full((4_800, 2), 0.25, "<f4")
    commands = adapter.receive(frames.tobytes()) + adapter.receive('{"type":"flush"}')
    commands += adapter.receive('{"type":"stop"}')
    audio = [command.samples for command in commands if isinstance(command, Audio)]
    assert [type(command) for command in commands] == [Audio, Flush, Audio, Stop]
    assert len(np.concatenate(audio)) == 1_600
    np.testing.assert_allclose(np.concatenate(audio)[400:1_200], 0.25, atol=1e-3)


def test_an_empty_frame_is_nothing() -> None:
    """Zero bytes are whole samples: they give no command and no error."""
    assert started().receive(b"") == []


def test_half_a_sample_is_bad_audio() -> None:
    """The error of a frame with half a sample names its length."""
    with pytest.raises(BadAudio, match="chunk has 1001 bytes, expected a multiple of 2"):
        started().receive(bytes(1001))


# --------------------------------------------------------------------------------------------------- any input

_json = json_values(st.floats())
_near_word = st.fixed_dictionaries({}, optional={"text": _json, "start": _json, "end": _json, "probability": _json})
_near_resume = st.fixed_dictionaries(
    {},
    optional={
        "session": _json,
        "position": _json | st.integers(0, 10**6),
        "words": st.lists(_near_word | _json, max_size=3),
        "channels": _json
        | st.lists(
            st.fixed_dictionaries(
                {}, optional={"position": _json | st.integers(0, 10**6), "words": st.lists(_near_word, max_size=2)}
            ),
            max_size=3,
        ),
    },
)
_near_start = st.fixed_dictionaries(
    {"type": st.just("start")},
    optional={
        "encoding": _json | st.sampled_from(["pcm_s16le", "mulaw"]),
        "sample_rate": _json | st.sampled_from([8_000, 1e999]),
        "channels": _json | st.integers(1, 2),
        "multichannel": _json | st.booleans(),
        "language": _json,
        "prompt": _json,
        "hotwords": _json | st.lists(st.text(max_size=5)),
        "resume": _near_resume | _json,
        "extra": _json,
    },
)
_messages = st.lists(
    st.binary(max_size=40)
    | st.text(max_size=40)
    | _json.map(json.dumps)
    | _near_start.map(json.dumps)
    | st.sampled_from(['{"type":"start"}', '{"type":"flush"}', '{"type":"stop"}', b"\0\0"]),
    max_size=8,
)


@settings(deadline=None, max_examples=400)
@given(messages=_messages)
def test_any_input_gives_commands_or_a_client_error(messages: list[str | bytes]) -> None:
    """Any messages in any order give commands that begin with one Start and end with Stop, or a short ClientError."""
    adapter = NativeAdapter()
    commands: list[Command] = []
    for message in messages:
        try:
            commands += adapter.receive(message)
        except ClientError as error:
            told = json.loads(adapter.fail(error, SESSION)[0])
            assert told["code"] == error.code  # noqa: PT017  (raises() cannot follow an error that may or may not come)
            assert len(told["message"]) < 400
            break
    kinds = [type(command) for command in commands]
    assert kinds.count(Start) == (1 if kinds else 0)
    assert kinds[:1] in ([], [Start])
    assert Stop not in kinds[:-1]
    for command in commands:
        if isinstance(command, Audio):
            assert command.length
            assert np.isfinite(command.samples).all()


_position = st.integers(0, 10**9)
_words = st.lists(
    st.builds(Word, st.text(min_size=1, max_size=8), _position, _position, st.floats(0, 1)), min_size=1, max_size=4
).map(tuple)
_events = st.one_of(
    st.builds(events.Ready, st.text(max_size=8), st.text(max_size=8), st.none() | st.just("ru"), _position),
    st.builds(events.SpeechStarted, _position),
    st.builds(events.SpeechStopped, _position),
    st.builds(events.Partial, st.text(max_size=20), _position, _position),
    st.builds(events.Committed, _words, _position),
    st.builds(events.UtteranceEnded, _position, _position, _position),
    st.builds(events.Flushed, _position, _position),
    st.builds(events.Gap, _position, _position, st.just("overload"), _position),
    st.builds(events.Progress, _position, _position, _position),
    st.builds(events.Draining),
    st.builds(events.Done, _position, _position, _position, _position, _position),
)


@given(told=st.lists(_events, max_size=10))
def test_every_event_becomes_one_numbered_message(told: list[Event]) -> None:
    """Each event is one JSON object with its type and the next number; positions are not rounded."""
    adapter: Adapter = NativeAdapter()
    messages = [json.loads(message) for event in told for message in adapter.send(event)]
    assert [message["seq"] for message in messages] == list(range(len(told)))
    for event, message in zip(told, messages, strict=True):
        assert message["type"]
        assert message.get("kept_from") == getattr(event, "kept_from", None)
        if isinstance(event, events.Committed):
            assert message["text"] == "".join(word.text for word in event.words)
            assert len(message["words"]) == len(event.words)
        if isinstance(event, events.Ready):
            assert message["position"] == event.position


def test_committed_words_can_be_given_back() -> None:
    """A client can send committed words back on resume; their times are right within half a millisecond."""
    word = Word(" слово", 12_345, 23_456, 0.87654)
    [message] = NativeAdapter().send(events.Committed((word,), 0))
    told = json.loads(message)
    kept = told["words"][0] | {"text": told["text"]}
    command = start(resume={"session": SESSION, "position": 0, "words": [kept]})
    assert command.resume is not None
    [returned] = command.resume.words
    assert returned.text == word.text
    assert abs(returned.start - word.start) <= 8
    assert abs(returned.end - word.end) <= 8


def test_words_that_end_at_the_position_are_dropped() -> None:
    """They lie before the audio, although a rounded time may say otherwise: sample 12345 is told as 0.772 s, which is
    sample 12352.
    """
    words = [{"text": " раз", "start": 0.1, "end": 0.772}, {"text": " два", "start": 0.772, "end": 1.0}]
    command = start(resume={"session": SESSION, "position": 12_345, "words": words})
    assert command.resume is not None
    assert [word.text for word in command.resume.words] == [" два"]


def test_words_before_live_from_are_only_refined() -> None:
    """All words come back, because the server counts those that a refined paragraph replaces."""
    words = [{"text": f" {number}", "start": float(number), "end": number + 0.5} for number in range(3)]
    resume = {"session": SESSION, "position": 0, "live_from": 24_004, "words": words}
    found = start(refine=True, resume=resume).resume
    assert found is not None
    assert [word.text for word in found.unrefined] == [" 0", " 1"]
    assert [word.text for word in found.words] == [" 2"]
    assert (found.position, found.live_from) == (0, 24_004)


def test_each_channel_of_a_stereo_stream_resumes_by_itself() -> None:
    """Audio begins at ``position``. A channel goes on at its own, or there if the client has no earlier audio."""
    words = [{"text": " раз", "start": 0.1, "end": 0.5}, {"text": " два", "start": 0.5, "end": 2.0}]
    channels: list[dict[str, Any]] = [{"position": 8_000}, {"position": 24_000, "words": words}]
    found = start(channels=2, multichannel=True, resume={"session": SESSION, "position": 16_000, "channels": channels})
    later = Word(" два", 8_000, 32_000, 1.0)
    assert found.channels == 2
    assert found.resume == Resume(SESSION, 16_000, channels=(Resume(None, 16_000), Resume(None, 24_000, (later,))))
    channels[1]["live_from"] = 30_000
    found = start(channels=2, multichannel=True, refine=True, resume={"position": 16_000, "channels": channels})
    assert found.resume is not None
    first = Word(" раз", 1_600, 8_000, 1.0)
    assert found.resume.channels[1] == Resume(None, 24_000, (later,), 30_000, (first,))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": 1}, "start.multichannel is true with start.channels 1, expected start.channels 2"),
        ({"multichannel": "yes"}, 'start.multichannel is "yes", expected true or false'),
        ({"resume": {"position": 0}}, "start.resume.channels is missing, expected a list of 2 objects"),
        (
            {"resume": {"position": 0, "channels": [{"position": 0}]}},
            "start.resume.channels is a list of 1, expected a list of 2 objects",
        ),
        (
            {"resume": {"position": 0, "channels": [{"position": 0}] * 3}},
            "start.resume.channels is a list of 3, expected a list of 2 objects, one for each channel",
        ),
        (
            {"resume": {"position": 0, "channels": [{"position": 0}, 7]}},
            r"start.resume.channels\[1\] is 7, expected an object with position, live_from and words",
        ),
        (
            {"resume": {"position": 0, "channels": [{"position": 0}, {"position": 0, "word": []}]}},
            r"channels\[1\].word is an unknown field, expected position, live_from, words; did you mean words",
        ),
        (
            {"resume": {"position": 0, "channels": [{"position": 0, "words": [{"text": "a"}]}] * 2}},
            r"channels\[0\].words\[0\].start is missing, expected seconds",
        ),
        (
            {
                "resume": {
                    "position": 0,
                    "words": [{"text": "a", "start": 0, "end": 1}],
                    "channels": [{"position": 0}] * 2,
                }
            },
            "start.resume has words or live_from, expected them in start.resume.channels",
        ),
        (
            {"resume": {"position": 0, "channels": [{"position": 0, "live_from": 5}, {"position": 0}]}},
            "live_from is given without start.refine, expected both or neither",
        ),
        (
            {"multichannel": False, "resume": {"position": 0, "channels": [{"position": 0}] * 2}},
            "start.resume.channels is given without start.multichannel, expected both or neither",
        ),
    ],
)
def test_wrong_options_of_stereo_streams_say_found_and_expected(fields: dict[str, Any], message: str) -> None:
    """A mistake in the options of channels is named like any other."""
    with pytest.raises(BadMessage, match=message):
        start(**({"channels": 2, "multichannel": True} | fields))


def test_stereo_audio_keeps_its_channels() -> None:
    """Two rows of samples, and the rest of both at the end; without ``multichannel`` they are mixed."""
    frames = np.tile(np.array([[0.25, -0.25]], "<f4"), (2_400, 1))
    adapter = started(encoding="pcm_f32le", sample_rate=48_000, channels=2, multichannel=True)
    commands = adapter.receive(frames.tobytes()) + adapter.receive(b"") + adapter.receive('{"type":"stop"}')
    assert [type(command) for command in commands] == [Audio, Audio, Stop]
    both = np.concatenate([command.samples for command in commands if isinstance(command, Audio)], axis=1)
    assert both.shape == (2, 800)
    np.testing.assert_allclose(both[:, 300:500], [[0.25] * 200, [-0.25] * 200], atol=1e-3)
    with pytest.raises(BadAudio, match="expected a multiple of 8"):
        started(encoding="pcm_f32le", channels=2, multichannel=True).receive(bytes(12))


@given(st.sampled_from([0, 1, None]))
def test_an_event_has_its_channel(channel: int | None) -> None:
    """Only in a multichannel stream: others are as they were."""
    [message] = NativeAdapter().send(events.Flushed(16_000, 16_000, channel=channel))
    expected = {"type": "flushed", "seq": 0, "at": 1.0, "kept_from": 16_000}
    assert json.loads(message) == (expected if channel is None else expected | {"channel": channel})


def test_live_from_belongs_to_a_refined_stream() -> None:
    """Without refine the audio before it would be neither live nor refined text."""
    with pytest.raises(BadMessage, match=r"live_from is given without start.refine, expected both or neither"):
        start(resume={"session": SESSION, "position": 0, "live_from": 24_004, "words": []})


def test_an_error_quotes_the_session() -> None:
    """The error message has the code, the text and the id to quote in a report."""
    [message] = NativeAdapter().fail(NoCapacity("8 streams are live, the server takes 8"), SESSION)
    assert json.loads(message) == {
        "type": "error",
        "seq": 0,
        "code": "server_full",
        "message": "8 streams are live, the server takes 8",
        "session": SESSION,
    }


@pytest.mark.parametrize("fields", [{"nonsense": 1}, {"resume": {"position": 0, "nonsense": 1}}])
def test_documented_options_are_the_accepted_ones(fields: dict[str, Any]) -> None:
    """docs/protocol.md has a row for every option of start and of resume."""
    with pytest.raises(BadMessage) as caught:
        start(**fields)
    listed = caught.value.message.split("expected ")[1].split(", ")
    documented = PROTOCOL.read_text(encoding="utf-8")
    assert all(f"| `{option}` |" in documented for option in listed)


def test_documented_codes_are_the_ones_of_the_errors() -> None:
    """docs/protocol.md names each error code in the row of the close code that comes with it."""
    rows = {
        cells[1].strip(): cells[2]
        for line in PROTOCOL.read_text(encoding="utf-8").splitlines()
        if len(cells := line.split("|")) == 5
    }
    for error in (
        BadAudio, BadMessage, DecodeFailed, MessageTooBig, ModelUnavailable, NoCapacity, ServerFault, ShuttingDown,
        TimedOut, UnsupportedFormat,
    ):  # fmt: skip
        assert f"`{error.code}`" in rows[str(error.close_code)], error.code


def test_the_documented_example_is_a_conversation_of_this_code() -> None:
    """The example in docs/protocol.md is right: the client's messages are accepted, and the server's events have
    exactly the fields of the example and are numbered in order.
    """
    example = PROTOCOL.read_text(encoding="utf-8").split("```")[1].splitlines()
    sent = [line[2:] for line in example if line.startswith("> {")]
    told = [json.loads(line[2:]) for line in example if line.startswith("< {")]
    adapter = NativeAdapter()
    commands = [command for message in sent for command in adapter.receive(message)]
    assert [type(command) for command in commands] == [Start, Stop]
    assert [event["seq"] for event in told] == list(range(len(told)))
    fields = {
        line["message"]["type"]: set(line["message"])
        for line in map(json.loads, lines("complete").splitlines())
        if line["from"] == "server"
    }
    assert len(told) > 5
    assert all(set(event) == fields[event["type"]] for event in told)
