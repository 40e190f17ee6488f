"""Wyoming, without a socket: frames, transcriptions, and the mistakes of clients.

Long because each of these is a test, and random conversations are checked against all rules.
"""

import base64
import json
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperlivekit.core import events
from whisperlivekit.core.commands import Audio, Command, Configure, Start, Stop
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.errors import (
    BadAudio,
    BadMessage,
    ClientError,
    MessageTooBig,
    NoCapacity,
    ShuttingDown,
    UnsupportedFormat,
)
from whisperlivekit.wire.adapter import MAX_MESSAGE_BYTES, Adapter, Message, Reply
from whisperlivekit.wire.wyoming import (
    MAX_LINE_BYTES,
    FrameReader,
    WyomingAdapter,
    WyomingConversation,
    describe_server,
    encode,
    error_event,
)

FIXTURES = Path(__file__).parent / "fixtures" / "wyoming"
INFO = describe_server("1.2.3", "base", "OpenAI")
FORMAT = {"rate": 16_000, "width": 2, "channels": 1}
SAMPLES = np.array([1, 2, -1], "<i2").tobytes()


def frame(kind: str, data: dict[str, Any] | None = None, payload: bytes = b"") -> bytes:
    """A frame as the reference client writes it."""
    body = json.dumps(data, ensure_ascii=False).encode() if data else b""
    line: dict[str, Any] = {"type": kind, "version": "1.10.2"}
    if body:
        line["data_length"] = len(body)
    if payload:
        line["payload_length"] = len(payload)
    return json.dumps(line).encode() + b"\n" + body + payload


def chunk(payload: bytes = SAMPLES, **other: Any) -> bytes:
    return frame("audio-chunk", FORMAT | {"timestamp": None} | other, payload)


STOP = frame("audio-stop", {"timestamp": None})

EXAMPLES = (
    frame("describe"),
    frame("ping", {"text": "x"}),
    frame("transcribe", {"language": "ru", "transcript_names": ["Алиса"]}),
    chunk(),
    chunk(bytes(6_400)),
    STOP,
)
"""What a client may send after ``audio-start``."""


def read(*messages: Message) -> list[tuple[str, dict[str, Any]]]:
    """What a client reads."""
    reader = FrameReader()
    found = []
    for message in messages:
        assert isinstance(message, bytes)
        reader.feed(message)
        while (one := reader.take()) is not None:
            found.append((one.type, dict(one.data)))
    return found


def transcription(*before: bytes, first: bytes | None = None) -> WyomingAdapter:
    """One that has not begun."""
    conversation = WyomingConversation(INFO)
    for message in (*before, frame("audio-start", FORMAT) if first is None else first):
        conversation.feed(message)
    adapter = conversation.next()
    assert isinstance(adapter, WyomingAdapter)
    return adapter


def begun(*before: bytes, first: bytes | None = None) -> tuple[WyomingAdapter, list[Command | Reply]]:
    """A transcription, and what it begins with."""
    adapter = transcription(*before, first=first)
    interface: Adapter = adapter
    return adapter, list(interface.open("x"))


def committed(*texts: str) -> events.Committed:
    words = tuple(Word(text, 100 * at, 100 * at + 90, 0.9) for at, text in enumerate(texts))
    return events.Committed(words, 0)


DONE = events.Done(16_000, 8_000, 3, 1, 0)


# -------------------------------------------------------------------------------------------------------------- frames


def test_a_frame_is_a_line_data_and_a_payload() -> None:
    """Data behind the line is put over data in the line; both may be missing."""
    reader = FrameReader()
    reader.feed(b'{"type": "a", "data": {"x": 1, "y": 1}, "data_length": 8, "payload_length": 2}\n{"y": 2}PP')
    reader.feed(b'{"type": "b"}\n{"type": "c", "data": null, "payload_length": null}\n')
    found = [reader.take() for _ in range(4)]
    assert [(one.type, one.data, one.payload) for one in found if one] == [
        ("a", {"x": 1, "y": 2}, b"PP"),
        ("b", {}, b""),
        ("c", {}, b""),
    ]
    assert found[-1] is None


def test_what_the_server_writes_is_a_frame() -> None:
    """The length counts bytes, not letters."""
    assert read(encode("transcript", {"text": "Ёж"}), encode("transcript-stop")) == [
        ("transcript", {"text": "Ёж"}),
        ("transcript-stop", {}),
    ]


@pytest.mark.parametrize(
    ("sent", "error", "message"),
    [
        (b"GET / HTTP/1.1\r\n", BadMessage, "a line that is not JSON"),
        (b"\xff\xfe\n", BadMessage, "a line that is not JSON"),
        (b"\n", BadMessage, "a line that is not JSON"),
        (b"[1]\n", BadMessage, "a line that is no JSON object"),
        (b"{}\n", BadMessage, "a line without a type"),
        (b'{"type": 1}\n', BadMessage, "a line without a type"),
        (b'{"type": "a", "data": []}\n', BadMessage, "data of a is no object"),
        (b'{"type": "a", "data_length": -1}\n', BadMessage, "data_length is not a number of bytes"),
        (b'{"type": "a", "payload_length": 1.5}\n', BadMessage, "payload_length is not a number of bytes"),
        (b'{"type": "a", "payload_length": true}\n', BadMessage, "payload_length is not a number of bytes"),
        (b'{"type": "a", "data_length": 2}\n[]', BadMessage, "the data that is no JSON object"),
        (b'{"type": "a", "data_length": 2}\n{]', BadMessage, "the data that is not JSON"),
        (b'{"type": "a", "payload_length": 1048577}\n', MessageTooBig, "a has 10486"),
        (b'{"type": "a", "data_length": 1048577}\n', MessageTooBig, "a has 10486"),
        (b'{"type": "a", "payload_length": 9' + b"9" * 400 + b"}\n", MessageTooBig, "expected up to 1048576"),
        (b"x" * (MAX_LINE_BYTES + 1), MessageTooBig, "found no end of a line"),
        (b"[" * 60_000 + b"\n", BadMessage, "a line that is not JSON"),
    ],
)
def test_mistakes_in_frames(sent: bytes, error: type[ClientError], message: str) -> None:
    """Each is named before anything is collected that is longer than allowed."""
    reader = FrameReader()
    reader.feed(sent)
    with pytest.raises(error, match=message):
        reader.take()


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_objects = st.dictionaries(st.text(max_size=8), _json, max_size=4)
_frames = st.tuples(st.text(max_size=12), _objects, st.binary(max_size=60))
_cuts = st.lists(st.integers(0, 2_000), max_size=8)


def pieces(stream: bytes, cuts: list[int]) -> Iterator[bytes]:
    """The stream cut at these places."""
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for begin, end in pairwise(edges):
        yield stream[begin:end]


@given(frames=st.lists(_frames, max_size=5), cuts=_cuts)
def test_frames_do_not_depend_on_how_the_stream_is_cut(
    frames: list[tuple[str, dict[str, Any], bytes]], cuts: list[int]
) -> None:
    """Whatever arrives together, each frame is read once and unchanged."""
    stream = b"".join(frame(*one) for one in frames)
    reader = FrameReader()
    found = []
    for piece in pieces(stream, cuts):
        reader.feed(piece)
        while (one := reader.take()) is not None:
            found.append((one.type, dict(one.data), one.payload))
    assert found == frames


# ------------------------------------------------------------------------------------------------- between


def test_describe_is_answered_with_what_home_assistant_reads() -> None:
    """Every field of the reference implementation; Russian is among the languages of an installed model."""
    conversation = WyomingConversation(INFO)
    conversation.feed(frame("describe"))
    answer = conversation.next()
    assert isinstance(answer, bytes)
    assert conversation.next() is None
    [(kind, data)] = read(answer)
    assert kind == "info"
    assert set(data) == {"asr", "tts", "handle", "intent", "wake", "mic", "snd"}
    [program] = data["asr"]
    assert program["installed"] is program["supports_transcript_streaming"] is program["requires_external_vad"] is True
    assert {"name", "description", "version", "attribution"} < set(program)
    [model] = program["models"]
    assert (model["name"], model["installed"], model["attribution"]["name"]) == ("base", True, "OpenAI")
    assert {"ru", "en"} < set(model["languages"])


def test_ping_is_answered_and_other_events_are_not() -> None:
    """Events that mean nothing here, or are not known, are ignored."""
    conversation = WyomingConversation(INFO)
    for kind in ("voice-stopped", "audio-stop", "news", "ping"):
        conversation.feed(frame(kind))
    conversation.feed(frame("ping", {"text": "да"}))
    answers = []
    while isinstance(answer := conversation.next(), bytes):
        answers.append(answer)
    assert read(*answers) == [("pong", {}), ("pong", {"text": "да"})]


def test_both_are_answered_during_a_transcription() -> None:
    adapter, _ = begun()
    [info, pong] = adapter.receive(frame("describe") + frame("ping", {"text": "x"}))
    assert isinstance(info, Reply)
    assert isinstance(pong, Reply)
    assert [kind for kind, _ in read(info.message, pong.message)] == ["info", "pong"]


# ------------------------------------------------------------------------------------------------------- transcriptions


def test_home_assistants_flow() -> None:
    """transcribe, audio-start, chunks, audio-stop; then the text, whole and in parts."""
    asked = frame("transcribe", {"language": "ru", "context": {"id": 7}})
    adapter, commands = begun(asked)
    assert commands == [Start("ru", commit="utterance")]
    [audio] = adapter.receive(chunk())
    assert isinstance(audio, Audio)
    assert audio.samples == pytest.approx(np.array([1, 2, -1]) / 32_768)
    assert [adapter.holds_text, *adapter.receive(STOP), adapter.holds_text] == [True, Stop(), False]
    told = [
        *adapter.send(events.Ready("x", "base", "ru")),
        *adapter.send(events.Partial(" Вкл", 0, 100)),
        *adapter.send(committed(" Включи", " свет.")),
        *adapter.send(events.UtteranceEnded(0, 300, 300)),
        *adapter.send(committed(" Спасибо.")),
        *adapter.send(DONE),
    ]
    assert read(*told) == [
        ("transcript-start", {"language": "ru", "context": {"id": 7}}),
        ("transcript-chunk", {"text": "Включи свет."}),
        ("transcript-chunk", {"text": " Спасибо."}),
        ("transcript", {"text": "Включи свет. Спасибо.", "language": "ru", "context": {"id": 7}}),
        ("transcript-stop", {}),
    ]


def test_silence_is_an_empty_transcript() -> None:
    """Home Assistant says that nothing was understood."""
    adapter, _ = begun()
    list(adapter.receive(STOP))
    assert read(*adapter.send(DONE)) == [("transcript", {"text": ""}), ("transcript-stop", {})]


def test_audio_that_could_not_be_decoded_is_an_error() -> None:
    """Not an empty transcript, which would say that nobody spoke."""
    adapter, _ = begun()
    told = read(*adapter.send(events.Done(16_000, 8_000, 0, 1, 8_000)))
    assert [kind for kind, _ in told] == ["error", "transcript-stop"]
    assert told[0][1]["code"] == "decode_failed"


def test_names_and_terms_are_hotwords() -> None:
    """Names first, because the protocol gives them priority; no more than allowed, none that is too long."""
    asked = {"transcript_names": ["Алиса", " ", "x" * 65], "transcript_terms": [" Зигби "] + ["слово"] * 200}
    _, [start] = begun(frame("transcribe", asked))
    assert isinstance(start, Start)
    assert start.hotwords[:3] == ("Алиса", "Зигби", "слово")
    assert len(start.hotwords) == 100


def test_what_was_asked_holds_for_one_transcription() -> None:
    """The next one without transcribe has the server's defaults. Frames after audio-stop wait for the next one."""
    conversation = WyomingConversation(INFO)
    conversation.feed(frame("transcribe", {"language": "en"}) + frame("audio-start", FORMAT) + chunk() + STOP)
    conversation.feed(frame("ping") + frame("audio-start", FORMAT) + STOP)
    first = conversation.next()
    assert isinstance(first, WyomingAdapter)
    assert [type(command) for command in first.open("x")] == [Start, Audio, Stop]
    assert first.stopped
    assert isinstance(conversation.next(), bytes)
    second = conversation.next()
    assert isinstance(second, WyomingAdapter)
    assert list(second.open("x")) == [Start(commit="utterance"), Stop()]
    assert conversation.next() is None


def test_a_client_may_leave_out_audio_start_or_change_its_mind() -> None:
    """Chunks have a format too. transcribe after audio-start changes the options."""
    adapter, commands = begun(first=chunk())
    assert [type(command) for command in commands] == [Start, Audio]
    assert list(adapter.receive(frame("transcribe", {"language": "ru-RU"}))) == [Configure("ru")]


def test_each_chunk_may_have_its_own_format() -> None:
    """What the resampler of the old format still held is not lost."""
    adapter, _ = begun(first=frame("audio-start", {"rate": 48_000, "width": 2, "channels": 2}))
    commands = adapter.receive(chunk(bytes(4 * 48_000), rate=48_000, channels=2) + chunk(bytes(32_000)) + STOP)
    samples = sum(len(command.samples) for command in commands if isinstance(command, Audio))
    assert samples == pytest.approx(32_000, abs=2)


@pytest.mark.parametrize(
    ("sent", "error", "message"),
    [
        (frame("audio-start", FORMAT), BadMessage, "found a second audio-start"),
        (chunk(SAMPLES[:3]), BadAudio, "chunk has 3 bytes, expected a multiple of 2"),
        (chunk(width=4), UnsupportedFormat, "width is 4, expected 2"),
        (chunk(rate=100), UnsupportedFormat, "sample_rate is 100, expected 8000"),
        (chunk(channels=6), UnsupportedFormat, "channels is 6"),
        (chunk(rate="fast"), BadMessage, "audio-chunk.rate is wrong"),
        (frame("transcribe", {"language": "klingon"}), UnsupportedFormat, "language is"),
        (frame("transcribe", {"language": 5}), BadMessage, "transcribe.language is wrong"),
        (frame("transcribe", {"transcript_names": [{}]}), BadMessage, "transcribe.transcript_names.0 is wrong"),
    ],
)
def test_mistakes_in_a_transcription(sent: bytes, error: type[ClientError], message: str) -> None:
    """Each names what was found and what is expected."""
    adapter, _ = begun()
    with pytest.raises(error, match=message):
        list(adapter.receive(sent))


def test_an_unknown_language_is_an_error_at_once() -> None:
    """Before any audio is sent."""
    conversation = WyomingConversation(INFO)
    conversation.feed(frame("transcribe", {"language": "klingon"}))
    with pytest.raises(UnsupportedFormat, match="language is"):
        conversation.next()


def test_errors_are_events() -> None:
    """The reference client shows text and code. A draining worker gives the text that it has before."""
    adapter, _ = begun()
    full = NoCapacity("4 of 4 streams are in use; try again later")
    expected = ("error", {"text": str(full), "code": "server_full"})
    assert read(error_event(full)) == read(*adapter.fail(full, "x")) == [expected]
    adapter.send(committed(" Включи"))
    kinds = [kind for kind, _ in read(*adapter.fail(ShuttingDown("connect again"), "x"))]
    assert kinds == ["transcript", "transcript-stop", "error"]


_known = st.one_of(
    st.builds(
        frame,
        st.sampled_from(["transcribe", "audio-start", "audio-stop", "audio-chunk", "describe", "ping"]),
        st.one_of(
            _objects,
            st.fixed_dictionaries(
                {},
                optional={
                    "rate": st.sampled_from([16_000, 8_000, 48_000, "16000", 0, 10**30, None]),
                    "width": st.sampled_from([2, 1, None]),
                    "channels": st.sampled_from([1, 2, -1]),
                    "language": st.sampled_from(["ru", "RU_ru", "auto", "", "zz", 5, None]),
                    "transcript_names": _json,
                    "context": _json,
                },
            ),
        ),
        st.binary(max_size=9),
    ),
    st.just(chunk()),
    st.just(STOP),
    st.binary(max_size=20),
)


def converse(stream: bytes, cuts: list[int]) -> list[str]:
    """Play a client's bytes to the end, or to its first mistake. Returns the types of what they gave."""
    conversation = WyomingConversation(INFO)
    adapter: WyomingAdapter | None = None
    found: list[str] = []
    try:
        for piece in pieces(stream, cuts):
            assert adapter is None or not adapter.stopped
            commands: Iterable[Command | Reply] = []
            if adapter is None:
                conversation.feed(piece)
            else:
                commands = adapter.receive(piece)
            while True:
                if adapter is None:
                    step = conversation.next()
                    if step is None:
                        break
                    if isinstance(step, bytes):
                        found.append("answer")
                        continue
                    adapter = step
                    commands = adapter.open("x")
                for command in commands:
                    found.append(type(command).__name__)
                if not adapter.stopped:
                    break
                adapter.send(DONE)
                adapter, commands = None, []
    except ClientError as error:
        found.append(error.code)
    return found


@settings(max_examples=300)
@given(sent=st.lists(_known, max_size=8), cuts=_cuts)
def test_any_client_is_understood_or_told_its_mistake(sent: list[bytes], cuts: list[int]) -> None:
    """Nothing but a ClientError is raised; each transcription begins with Start and ends with Stop."""
    stream = b"".join(sent)
    found = converse(stream, cuts)
    assert converse(stream, []) == found
    open_ = False
    for kind in found:
        if kind == "Start":
            assert not open_
            open_ = True
        elif kind in {"Audio", "Configure", "Stop"}:
            assert open_
            open_ = kind != "Stop"


# ------------------------------------------------------------------------------------------------- recorded


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.jsonl")), ids=lambda path: path.stem)
def test_recorded_conversations(path: Path) -> None:
    """What the package ``wyoming`` 1.10.2 wrote for its events gives these commands and answers."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    sent = b"".join(base64.b64decode(line["bytes"]) for line in lines if line["from"] == "client")
    expected = [line["command"] for line in lines if line["from"] == "adapter"]
    assert converse(sent, []) == converse(sent, [1, 100, 700]) == expected


def test_the_longest_frame_is_the_longest_message() -> None:
    """The pump's limit for a message holds for a frame."""
    reader = FrameReader()
    payload = bytes(MAX_MESSAGE_BYTES - 200)
    reader.feed(frame("audio-chunk", FORMAT, payload))
    one = reader.take()
    assert one is not None
    assert one.payload == payload
