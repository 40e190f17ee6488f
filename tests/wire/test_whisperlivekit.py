"""The /asr protocol of WhisperLiveKit, without a socket."""

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.asr_conversations import CONVERSATIONS, FIXTURES, lines
from whisperlivekit.core import events
from whisperlivekit.core.commands import Audio, Start, Stop
from whisperlivekit.core.events import Event
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.errors import ClientError, ShuttingDown
from whisperlivekit.wire.adapter import Adapter, Reply
from whisperlivekit.wire.whisperlivekit import BadParameter, WhisperLiveKitAdapter

RATE = 16_000


def opened(**query: str) -> WhisperLiveKitAdapter:
    adapter = WhisperLiveKitAdapter(query)
    list(adapter.open("x"))
    return adapter


def word(text: str, start_s: float, end_s: float) -> Word:
    return Word(text, round(start_s * RATE), round(end_s * RATE), 0.9)


def committed(*words: Word) -> events.Committed:
    return events.Committed(words, 0)


def progress(received_s: float, settled_s: float, heard_s: float | None = None) -> events.Progress:
    heard = None if heard_s is None else round(heard_s * RATE)
    return events.Progress(round(received_s * RATE), round(settled_s * RATE), 0, heard=heard)


def told(adapter: WhisperLiveKitAdapter, *turns: Event) -> list[dict[str, Any]]:
    return [json.loads(message) for turn in turns for message in adapter.send(turn)]


DONE = events.Done(RATE, RATE, 1, 1, 0)


def test_fixtures_are_up_to_date() -> None:
    """If this fails, see what has changed for the page, and run python -m tests.wire.asr_conversations."""
    assert {path.stem for path in FIXTURES.glob("*.jsonl")} == set(CONVERSATIONS)
    for name in CONVERSATIONS:
        assert (FIXTURES / f"{name}.jsonl").read_text(encoding="utf-8") == lines(name), name


def test_the_server_speaks_first() -> None:
    """The page waits for config before it asks for the microphone; audio may follow at once."""
    adapter = WhisperLiveKitAdapter({"language": "ru-RU", "token": "secret", "target_language": "en"})
    interface: Adapter = adapter
    config, start = interface.open("x")
    assert isinstance(config, Reply)
    assert json.loads(config.message) == {"type": "config", "useAudioWorklet": True, "mode": "full"}
    assert start == Start("ru")


@pytest.mark.parametrize(
    ("query", "found"),
    [({"language": "klingon"}, "language is"), ({"mode": "both"}, 'mode is "both", expected one of')],
)
def test_a_wrong_option_is_told_after_the_handshake(query: dict[str, str], found: str) -> None:
    """Close code 4400, as WhisperLiveKit does: a page cannot see an HTTP status."""
    adapter = WhisperLiveKitAdapter(query)
    with pytest.raises(BadParameter, match=found) as caught:
        adapter.open("x")
    assert caught.value.close_code == 4400
    [message] = adapter.fail(caught.value, "x")
    assert json.loads(message) == {"type": "error", "error": caught.value.message}


def test_audio_may_be_cut_anywhere() -> None:
    """Also inside a sample. Text means nothing, an empty frame is the end, and what follows it is ignored."""
    adapter = opened()
    sent = np.array([1, 2, -3], "<i2").tobytes()
    commands = [*adapter.receive(sent[:1]), *adapter.receive("{}"), *adapter.receive(sent[1:4])]
    commands += [*adapter.receive(sent[4:]), *adapter.receive(b""), *adapter.receive(sent)]
    samples = [command.samples for command in commands if isinstance(command, Audio)]
    assert np.concatenate(samples) == pytest.approx(np.array([1, 2, -3]) / 32_768)
    assert commands[-1] == Stop()


@given(audio=st.binary(max_size=60), cuts=st.lists(st.integers(1, 20), max_size=20))
def test_the_same_audio_whatever_the_cuts(audio: bytes, cuts: list[int]) -> None:
    """No sample is lost or shifted, and no frame is refused."""
    adapter = opened()
    samples: list[float] = []
    at = 0
    for cut in [*cuts, len(audio)]:
        for command in adapter.receive(audio[at : at + cut]) if audio[at : at + cut] else []:
            assert isinstance(command, Audio)
            samples += command.samples.tolist()
        at += cut
    whole = np.frombuffer(audio[: len(audio) // 2 * 2], "<i2") / 32_768
    assert samples == pytest.approx(whole.tolist())


def test_an_update_has_every_field_of_the_original() -> None:
    """Version 0.2.26 sends these, without a type. Nothing said yet is a status of its own."""
    [first] = told(opened(), progress(1, 0, 0.4))
    assert first == {
        "status": "no_audio_detected",
        "lines": [],
        "buffer_transcription": "",
        "buffer_diarization": "",
        "buffer_translation": "",
        "remaining_time_transcription": 1.0,
        "remaining_time_transcription_processing": 0.6,
        "remaining_time_transcription_policy": 0.4,
        "remaining_time_diarization": 0.0,
    }


def test_text_is_one_line_until_a_long_silence() -> None:
    """Silence from 5 s on is a line of its own, which grows while nobody speaks."""
    adapter = opened()
    updates = told(
        adapter,
        events.Partial(" Раз", 16_000, 20_000),
        committed(word(" Раз", 1.0, 1.5), word(" два.", 1.5, 2.0)),
        events.Partial(" Три", 48_000, 56_000),
        committed(word(" Три.", 3.0, 3.5)),
        progress(9, 9),
        progress(10, 10),
        committed(word(" Пять", 10.75, 11.25)),
        DONE,
    )
    assert updates[0]["buffer_transcription"] == "Раз"
    assert updates[0]["status"] == "active_transcription"
    assert updates[1]["lines"] == [{"speaker": 1, "text": "Раз два.", "start": "0:00:01.00", "end": "0:00:02.00"}]
    assert updates[1]["buffer_transcription"] == ""
    assert updates[2]["buffer_transcription"] == " Три"
    speech = {"speaker": 1, "text": "Раз два. Три.", "start": "0:00:01.00", "end": "0:00:03.50"}
    assert updates[3]["lines"][:1] == [speech]
    assert [update["lines"][1] for update in updates[4:6]] == [
        {"speaker": -2, "text": "", "start": "0:00:03.50", "end": "0:00:09.00"},
        {"speaker": -2, "text": "", "start": "0:00:03.50", "end": "0:00:10.00"},
    ]
    assert updates[-2]["lines"] == [
        speech,
        {"speaker": -2, "text": "", "start": "0:00:03.50", "end": "0:00:10.75"},
        {"speaker": 1, "text": "Пять", "start": "0:00:10.75", "end": "0:00:11.25"},
    ]
    assert updates[-1] == {"type": "ready_to_stop"}


def test_a_silence_that_was_not_told_is_a_line_too() -> None:
    """Speech may be committed before the next progress."""
    [update] = told(opened(), committed(word(" Раз", 3_725.5, 3_726.0)))
    assert [(line["speaker"], line["start"], line["end"]) for line in update["lines"]] == [
        (-2, "0:00:00.00", "1:02:05.50"),
        (1, "1:02:05.50", "1:02:06.00"),
    ]


def test_nothing_is_told_twice() -> None:
    """An event that changes nothing gives no message."""
    adapter = opened()
    assert len(told(adapter, progress(1, 1), progress(2, 2), events.SpeechStarted(0), events.Draining())) == 1


def test_an_error_comes_with_the_transcript() -> None:
    """The page shows the lines of the last message that it got."""
    adapter = opened()
    told(adapter, committed(word(" Раз", 1.0, 1.5)))
    [message] = adapter.fail(ShuttingDown("connect again"), "x")
    update = json.loads(message)
    assert (update["status"], update["error"]) == ("error", "connect again")
    assert update["lines"][0]["text"] == "Раз"


class Diffed:
    """A client of ``mode=diff``, by its documentation."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.state: dict[str, Any] = {}
        self.seq = 0

    def receive(self, message: dict[str, Any]) -> None:
        kind = message.pop("type")
        self.seq += 1
        assert message.pop("seq") == self.seq
        assert (kind == "snapshot") is (self.seq == 1)
        if kind == "snapshot":
            self.lines = message.pop("lines")
        else:
            new = message.pop("new_lines", [])
            count = message.pop("n_lines")
            self.lines = self.lines[: count - len(new)] + new
            assert len(self.lines) == count
        self.state = message


_events = st.one_of(
    st.builds(lambda text: events.Partial(text, 0, 0), st.sampled_from(["", " а", " б"])),
    st.builds(
        lambda start, length, texts: committed(*(word(text, start, start + length) for text in texts)),
        st.floats(0, 60),
        st.floats(0, 3),
        st.lists(st.sampled_from([" раз", " два", "."]), min_size=1, max_size=3),
    ),
    st.builds(
        lambda received, behind: progress(received, max(0, received - behind)), st.floats(0, 60), st.floats(0, 9)
    ),
)


@given(turns=st.lists(_events, max_size=20))
def test_differences_give_the_full_state(turns: list[Event]) -> None:
    """A client of ``diff`` knows after each message what a client of ``full`` knows; lines lie in order."""
    full, diff, client = opened(), opened(mode="diff"), Diffed()
    for turn in turns:
        whole, changed = told(full, turn), told(diff, turn)
        assert len(whole) == len(changed) <= 1
        for state, message in zip(whole, changed, strict=True):
            client.receive(message)
            assert client.lines == state.pop("lines")
            assert client.state == state
            kinds = [line["speaker"] for line in client.lines]
            assert all(line["start"] <= line["end"] for line in client.lines)
            assert all(one == 1 or two == 1 for one, two in pairwise(kinds))


@given(
    frames=st.lists(st.one_of(st.binary(max_size=50), st.text(max_size=20)), max_size=10),
    query=st.dictionaries(st.sampled_from(["language", "mode", "target_language", "x"]), st.text(max_size=10)),
)
def test_any_client_is_understood_or_told_its_mistake(frames: list[bytes | str], query: dict[str, str]) -> None:
    """Nothing but a ClientError is raised, and only by the address."""
    adapter = WhisperLiveKitAdapter(query)
    try:
        list(adapter.open("x"))
    except ClientError as error:
        json.loads(adapter.fail(error, "x")[0])
        return
    commands = [command for frame in frames for command in adapter.receive(frame)]
    assert sum(isinstance(command, Stop) for command in commands) == (b"" in frames)
