"""Streams to the whole server as a microphone sends them: Gunicorn, models and speech are real."""

import asyncio

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.client import Native, Recording, Sound, play, read_sound
from benchmarks.material import room
from benchmarks.scoring import count_retracted
from benchmarks.serving import Server
from benchmarks.speech import read_speech
from tests.speech import DATA, Span, assert_says, assert_times, clip

pytestmark = [pytest.mark.anyio, pytest.mark.model, pytest.mark.slow]

RATE = 16_000
LONG, PHRASE, TELEPHONE = (clip(name) for name in ("prompts_24s", "phrase_3s", "telephone_8k"))


def sound_of(samples: NDArray[np.float64]) -> Sound:
    return Sound((np.clip(samples, -1, 1) * 32767).astype(np.int16), RATE)


def assert_committed_never_changes(recording: Recording) -> None:
    for before, after in zip(recording.snapshots, recording.snapshots[1:], strict=False):
        assert after.committed.startswith(before.committed)


async def test_speech_at_real_time_is_committed_while_it_is_spoken(server: Server) -> None:
    """Two prompts at 1x give their words. Nothing committed changes, and text comes long before the speech ends.

    How soon is measured by ``benchmarks.live``.
    """
    sound, words = read_speech(DATA / "prompts_24s.flac", 14)
    recording = await play(server.ws_url, Native(sound.rate, language="ru"), sound)
    assert_committed_never_changes(recording)
    assert_says(recording.committed, " ".join(word.text for word in words))
    assert count_retracted(recording.snapshots) == 0
    first_partial = next(shot.t for shot in recording.snapshots if shot.partial)
    first_committed = next(shot.t for shot in recording.snapshots if shot.committed)
    assert first_partial < first_committed < sound.seconds


async def test_speech_is_translated_by_utterance(server: Server) -> None:
    """Two prompts at 1x become English, one commit for each utterance, and nothing that was committed changes. How well
    base translates differs between processors.
    """
    sound, _ = read_speech(DATA / "prompts_24s.flac", 14)
    recording = await play(server.ws_url, Native(sound.rate, language="ru", task="translate"), sound)
    assert_committed_never_changes(recording)
    assert all(letter.isascii() for letter in recording.committed), recording.committed
    expected = ("operators", "busy", "line", "call", "moment", "accept")
    assert sum(word in recording.committed for word in expected) >= len(expected) / 2, recording.committed
    assert len(recording.of_type("committed")) == len(recording.of_type("utterance_ended")) == 2


async def test_a_stream_sent_at_once_loses_nothing_and_its_events_agree(server: Server) -> None:
    """Back-pressure delays the client's audio and drops none of it.

    Events are numbered without gaps, words lie in order inside the stream and near their times in the transcript, each
    utterance ends, and the totals agree with the events.
    """
    sound = read_sound(DATA / "prompts_24s.flac")
    recording = await play(server.ws_url, Native(sound.rate, language="ru"), sound, pace=None)
    assert_committed_never_changes(recording)
    assert_says(recording.committed, LONG.text)
    events = [event for _, event in recording.events]
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert (events[0]["type"], events[-1]["type"]) == ("ready", "done")
    words = [word for event in recording.of_type("committed") for word in event["words"]]
    assert "".join(event["text"] for event in recording.of_type("committed")) == recording.committed
    assert [word["text"] for word in words] == recording.committed.split()
    found = [Span(word["text"], word["start"], word["end"]) for word in words]
    assert_times(found, LONG.words, audio_s=(0, sound.seconds))
    assert all(0 < word["probability"] <= 1 for word in words)
    [done] = recording.of_type("done")
    assert done["audio_s"] == pytest.approx(sound.seconds, abs=0.01)
    assert done["words"] == len(words)
    assert done["utterances"] == len(recording.of_type("utterance_ended")) == len(recording.of_type("speech_started"))
    assert done["gap_s"] == 0
    positions = [event["kept_from"] for event in events if "kept_from" in event]
    assert positions == sorted(positions)


async def test_a_telephone_is_transcribed(server: Server) -> None:
    """A stream of 8 kHz mu-law."""
    sound = read_sound(DATA / "telephone_8k.wav")
    assert sound.rate == 8000
    dialect = Native(sound.rate, encoding="mulaw", language="ru")
    recording = await play(server.ws_url, dialect, sound, pace=None)
    assert_says(recording.committed, TELEPHONE.text)


@pytest.mark.parametrize("kind", ["digital silence", "quiet line", "white noise", "room"])
async def test_a_minute_without_speech_gives_no_word(server: Server, kind: str) -> None:
    """Silence and noise give neither committed nor partial text."""
    seed = np.random.default_rng(5)
    count = 60 * RATE
    match kind:
        case "quiet line":
            samples = seed.standard_normal(count) * 0.0005
        case "white noise":
            samples = seed.standard_normal(count) * 0.05
        case "room":
            samples = room(seed, 60).astype(np.float64)
        case _:
            samples = np.zeros(count)
    recording = await play(server.ws_url, Native(RATE, language="ru"), sound_of(samples), pace=None)
    assert (recording.committed, recording.snapshots) == ("", [])
    assert recording.of_type("done")[0]["words"] == 0


async def test_sessions_at_once_do_not_mix(server: Server) -> None:
    """Two streams on one model at the same time: each gets its own words."""
    phrase, long = read_sound(DATA / "phrase_3s.flac"), read_sound(DATA / "prompts_24s.flac")
    short_one, long_one = await asyncio.gather(
        play(server.ws_url, Native(RATE, language="ru"), phrase, pace=4),
        play(server.ws_url, Native(RATE, language="ru"), long, pace=4),
    )
    assert_says(short_one.committed, PHRASE.text)
    assert_says(long_one.committed, LONG.text)
