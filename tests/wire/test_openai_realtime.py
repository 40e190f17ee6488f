"""OpenAI's Realtime API: its messages, and the order of items, text and answers for any stream."""

import base64
import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.core.streams import Drive, Stream
from tests.wire.realtime_conversations import (
    CLEAR,
    COMMIT,
    CONVERSATIONS,
    FIXTURES,
    SESSION,
    adapter,
    append,
    configured,
    lines,
    receive,
    update,
)
from whisperlivekit.core import events
from whisperlivekit.core.commands import Audio, Command, Configure, Flush, Start, Stop
from whisperlivekit.errors import DecodeFailed
from whisperlivekit.wire.adapter import Reply
from whisperlivekit.wire.openai_realtime import MAX_WAITING, OpenAIRealtimeAdapter

TRANSCRIPTION = "conversation.item.input_audio_transcription."


# ---------------------------------------------------------------------------------------------------- conversations


def test_fixtures_are_up_to_date() -> None:
    """``python -m tests.wire.realtime_conversations`` writes them."""
    assert {path.stem for path in FIXTURES.glob("*.jsonl")} == set(CONVERSATIONS)
    for name in CONVERSATIONS:
        assert (FIXTURES / f"{name}.jsonl").read_text(encoding="utf-8") == lines(name), name


def told(name: str) -> list[dict[str, Any]]:
    """What the server says in a conversation."""
    conversation = map(json.loads, lines(name).splitlines())
    return [line["message"] for line in conversation if line["from"] == "server"]


def outline(messages: list[dict[str, Any]]) -> list[str]:
    """The types, in short: only the text of ``completed``, and only one of the three messages about a new item."""
    short = []
    for message in messages:
        kind = message["type"].removeprefix(TRANSCRIPTION).removeprefix("input_audio_buffer.")
        if kind == "completed":
            short.append(f"completed {message['transcript']}".strip())
        elif not kind.startswith("conversation.item"):
            short.append(kind)
    return short


def test_the_order_of_events() -> None:
    """Utterances by speech detection, also when one begins before the text of the one before is complete."""
    assert outline(told("server_vad")) == [
        "session.created", "session.updated",
        "speech_started", "delta", "speech_stopped", "committed",
        "speech_started", "delta", "completed Добрый день, Мак-сим!",
        "speech_stopped", "committed", "delta", "completed Склад.",
        "speech_started", "speech_stopped", "committed", "completed",
    ]  # fmt: skip


def test_a_client_that_commits_hears_nothing_of_utterances() -> None:
    """Words come as they are certain; a commit is acknowledged at once; empty and cleared buffers are no errors."""
    assert outline(told("client_commits")) == [
        "session.created", "session.updated",
        "committed", "completed",
        "delta", "committed", "delta", "completed Раз два",
        "delta", "cleared",
    ]  # fmt: skip


def test_commits_beside_speech_detection() -> None:
    """One while someone speaks ends the utterance, one in silence gives an empty item, what is cleared is not told."""
    assert outline(told("server_vad_commits")) == [
        "session.created",
        "speech_started", "speech_stopped", "committed", "delta", "completed Да.",
        "committed", "completed",
        "speech_started", "cleared",
    ]  # fmt: skip


def test_mistakes_are_answered_and_the_session_goes_on() -> None:
    """Each answer names the field, and the client's id where it gave one."""
    _, *errors, cleared = told("mistakes")
    assert {error["type"] for error in errors} == {"error"}
    assert [error["error"]["param"] for error in errors] == [
        "type", "audio", "audio", "session.audio.input.turn_detection.type",
        "session.audio.input.transcription.language", "session.audio.input.transcription.keywords",
    ]  # fmt: skip
    assert errors[0]["error"]["event_id"] == "event_of_client"
    assert "Максим" not in json.dumps(errors, ensure_ascii=False)
    assert cleared["type"] == "input_audio_buffer.cleared"


def test_the_end_of_a_connection() -> None:
    """At a shutdown open text is completed, and no error event is sent: some clients would not connect again after one.
    A client's own mistake is told.
    """
    assert outline(told("drained"))[-3:] == ["delta", "committed", "completed Раз"]
    assert outline(told("timed_out"))[-1] == "error"
    assert adapter().fail(DecodeFailed("the model failed"), SESSION) == []
    assert outline(told("failed"))[-1] == "failed"


def samples(session: OpenAIRealtimeAdapter, chunks: list[bytes]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The audio that the chunks become."""
    parts = []
    for chunk in [*chunks, None]:
        encoded = "" if chunk is None else base64.b64encode(chunk).decode()
        message = COMMIT if chunk is None else {"type": "input_audio_buffer.append", "audio": encoded}
        parts += [command.samples for command in receive(session, message)[0] if isinstance(command, Audio)]
    return np.concatenate(parts)


@pytest.mark.parametrize("form", [{"type": "audio/pcm"}, {"type": "audio/pcmu"}, {"type": "audio/pcma"}])
def test_audio_may_be_cut_anywhere(form: dict[str, str]) -> None:
    """Also inside a sample. A commit takes all of it, to the last sample."""
    audio = (np.sin(np.arange(24_000) / 20) * 8_000).astype("<i2").tobytes()
    whole = adapter()
    cut = adapter()
    for session in (whole, cut):
        configured(session, format=form)
    rate = 24_000 if form["type"] == "audio/pcm" else 8_000
    seconds = len(audio) / (2 if form["type"] == "audio/pcm" else 1) / rate
    expected = samples(whole, [audio])
    assert len(expected) == pytest.approx(seconds * 16_000, abs=1)
    pieces = [audio[at : at + 1_111] for at in range(0, len(audio), 1_111)]
    np.testing.assert_allclose(samples(cut, pieces), expected, atol=1e-6)


def test_other_rates_are_accepted() -> None:
    """OpenAI has 24 kHz only; 16 kHz needs no resampling here."""
    session = adapter()
    assert configured(session, format={"type": "audio/pcm", "rate": 16_000})["format"]["rate"] == 16_000
    assert len(samples(session, [bytes(3_200)])) == 1_600
    _, [answer] = receive(session, update(format={"type": "audio/pcm", "rate": 4_000}))
    assert answer["error"]["param"] == "session.audio.input.format.rate"


@pytest.mark.parametrize("message", ["", "[]", '"x"', "{", "null", b"\x00\x01", '{"type": 1}', '{"event_id": {}}'])
def test_what_is_no_message_gets_an_error(message: str | bytes) -> None:
    """The session goes on."""
    session = adapter()
    [reply] = session.receive(message)
    assert isinstance(reply, Reply)
    error = json.loads(reply.message)
    assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
    assert receive(session, append())[0]


@pytest.mark.parametrize("turn_detection", [None, {"type": "server_vad"}])
@pytest.mark.parametrize("message", [COMMIT, CLEAR])
def test_commits_that_wait_are_bounded(turn_detection: dict[str, str] | None, message: dict[str, str]) -> None:
    """Then a commit gets an error, and later ones are accepted again."""
    session = adapter()
    receive(session, update(turn_detection=turn_detection))
    receive(session, append())
    for _ in range(MAX_WAITING):
        assert Flush() in receive(session, message)[0]
    commands, [error] = receive(session, message)
    assert (commands, error["error"]["code"]) == ([], "rate_limit_exceeded")
    session.send(events.Flushed(0, 0))
    assert Flush() in receive(session, message)[0]


# -------------------------------------------------------------------------------------------------------- any stream


class Client:
    """A client of the whole server but the model: the adapter, the pump's order of commands, the core."""

    def __init__(self, stream: Stream, delay: int) -> None:
        self._stream = stream
        self._delay = delay
        self._drive: Drive | None = None
        self._seen = 0
        self.session = adapter()
        self.told: list[dict[str, Any]] = []
        self.words = 0
        """Words that the core told."""
        self.say(update(format={"type": "audio/pcm", "rate": 16_000}))

    def say(self, message: dict[str, Any]) -> None:
        for item in self.session.receive(json.dumps(message)):
            self._take(item)

    def append(self, count: int) -> None:
        self.say(append(count))

    def finish(self) -> None:
        """The server ends the stream, as it does when it shuts down."""
        if self._drive is not None:
            self._take(Stop())

    def _take(self, item: Command | Reply) -> None:
        match item:
            case Reply(message):
                assert isinstance(message, str)
                self.told.append(json.loads(message))
                return
            case Start():
                self._drive = Drive(self._stream, self._stream.decode, start=item, delay=self._delay)
                self._seen = 0
        drive = self._drive
        assert drive is not None, "the first command is no Start"
        match item:
            case Audio(samples):
                drive.feed(drive.session.received + len(samples))
            case Configure():
                drive.session.receive_configure(item)
            case Flush():
                drive.flush()
            case Stop():
                drive.stop()
        for event in drive.events[self._seen :]:
            self.words += len(event.words) if isinstance(event, events.Committed) else 0
            for message in self.session.send(event):
                assert isinstance(message, str)
                self.told.append(json.loads(message))
        self._seen = len(drive.events)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.told if message["type"].endswith(kind)]


_actions = st.lists(
    st.one_of(
        st.integers(1, 24_000),
        st.sampled_from(["commit", "clear", "null", "server_vad", "language"]),
    ),
    max_size=25,
)
_streams = st.builds(Stream, st.lists(st.integers(3, 60), min_size=1, max_size=9).map(tuple))


def perform(client: Client, action: int | str) -> None:
    match action:
        case int():
            client.append(action)
        case "commit":
            client.say(COMMIT)
        case "clear":
            client.say(CLEAR)
        case "null":
            client.say(update(turn_detection=None))
        case "server_vad":
            client.say(update(turn_detection={"type": "server_vad"}))
        case _:
            client.say(update(transcription={"language": "en"}))


@hypothesis_settings(max_examples=150)
@given(stream=_streams, actions=_actions, delay=st.integers(0, 5))
def test_the_promises_of_any_session(stream: Stream, actions: list[int | str], delay: int) -> None:
    """Whatever the client does, in both ways to commit and with changes between them:

    every committed item is completed once, in order, with the text of its deltas; deltas are whole words that come
    before ``completed``; every commit is answered by an item of its own; nothing but what was cleared is lost.
    """
    client = Client(stream, delay)
    for action in actions:
        perform(client, action)
    client.finish()

    assert not client.of("error")
    ids = [message["event_id"] for message in client.told]
    assert len(set(ids)) == len(ids)
    committed = [message["item_id"] for message in client.of("buffer.committed")]
    assert len(committed) >= actions.count("commit")
    assert [message["previous_item_id"] for message in client.of("buffer.committed")] == [None, *committed][:-1]
    assert [message["item"]["id"] for message in client.of("item.added")] == committed
    assert [message["item"]["id"] for message in client.of("item.done")] == committed
    assert [message["item_id"] for message in client.of("completed")] == committed

    texts: dict[str, str] = {}
    over = set()
    for message in client.told:
        if message["type"] == f"{TRANSCRIPTION}delta":
            item = message["item_id"]
            assert item not in over
            assert message["delta"].startswith(" ") == (item in texts)
            texts[item] = texts.get(item, "") + message["delta"]
        elif message["type"] == f"{TRANSCRIPTION}completed":
            over.add(message["item_id"])
            assert message["transcript"] == texts.get(message["item_id"], "")
            assert message["usage"]["seconds"] >= 0
    if "clear" not in actions:
        assert sum(len(text.split()) for text in texts.values()) == client.words
        assert set(texts) <= set(committed)

    starts = [message["audio_start_ms"] for message in client.of("speech_started")]
    assert starts == sorted(starts)
    if "clear" not in actions:
        ends = [message["audio_end_ms"] for message in client.of("speech_stopped")]
        assert len(starts) == len(ends)
        assert all(start < end for start, end in zip(starts, ends, strict=True))
        assert all(end <= start for end, (_, start) in zip(ends, pairwise(starts), strict=False))


@hypothesis_settings(max_examples=60)
@given(stream=_streams, chunks=st.lists(st.integers(100, 8_000), min_size=1, max_size=8), delay=st.integers(0, 3))
def test_both_ways_to_commit_give_the_same_words(stream: Stream, chunks: list[int], delay: int) -> None:
    """A client that commits once, at the end, gets in one item what speech detection cuts into several."""
    found = []
    for turn_detection in (None, {"type": "server_vad"}):
        client = Client(stream, delay)
        client.say(update(turn_detection=turn_detection))
        at = 0
        while at < stream.length:
            client.append(chunks[at % len(chunks)])
            at += chunks[at % len(chunks)]
        client.say(COMMIT)
        client.finish()
        texts = [message["transcript"] for message in client.of("completed")]
        found.append(" ".join(text for text in texts if text).split())
    assert found[0] == found[1]
    assert len(found[0]) == len(stream.words)
