"""Streams and files of two channels, on a real event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.session.test_runner import CHUNK, WORD, HeldEngine, PatientEngine, loud, quiet, run, text_of, words_of
from whisperlivekit.core.commands import Audio, Flush, Resume, Start, Stop
from whisperlivekit.core.events import (
    Committed,
    Done,
    Event,
    Flushed,
    OfChannel,
    Partial,
    Refined,
    SpeechStarted,
    UtteranceEnded,
)
from whisperlivekit.core.file_session import FileConfig, FileSession
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, Word
from whisperlivekit.core.session import Session, SessionConfig
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.engine.scripted import LOUD, ScriptedEngine
from whisperlivekit.errors import ModelUnavailable
from whisperlivekit.session.multichannel import MultichannelRunner, Runner
from whisperlivekit.session.runner import MAX_WAITING_S, SessionRunner

Samples = NDArray[np.float32]


class HearingEngine(ScriptedEngine):
    """Hears the word of a position of the stream only where the audio is loud from its beginning to its end, so that
    the words of a stream do not depend on where an utterance ends.
    """

    async def transcribe(self, request: DecodeRequest) -> Hypothesis:
        self.requests.append(request)
        end = request.start + len(request.samples)
        heard = [
            Word(self.word_at(start // WORD), start, start + WORD, 0.9)
            for start in range(-(-request.start // WORD) * WORD, end - WORD + 1, WORD)
            if self._is_loud(request.samples[start - request.start :][:WORD])
        ]
        return Hypothesis(request.id, tuple(heard[len(request.prefix.split()) :]), language="ru")

    @staticmethod
    def _is_loud(samples: Samples) -> bool:
        # Every part of a word: two runs of speech with a gap between them are no word.
        return bool(np.sqrt(np.mean(samples.reshape(-1, 320) ** 2, axis=1)).min() > LOUD)


def runner_of(engine: ScriptedEngine, start: Start) -> Runner:
    """A runner of a stream, or of a file, of one or several channels."""

    def run_one(start: Start, moved: asyncio.Event | None = None) -> SessionRunner:
        session = Session(SessionConfig(), start) if start.realtime else FileSession(FileConfig(), start)
        return SessionRunner(engine, engine.detector(), session, moved)

    return run_one(start) if start.channels == 1 else MultichannelRunner(start, run_one)


def stereo(first: Samples, second: Samples) -> Samples:
    """Both channels, as long as the longer one."""
    length = max(len(first), len(second))
    return np.stack([np.pad(channel, (0, length - len(channel))) for channel in (first, second)])


async def collect(runner: Runner) -> list[Event]:
    return [event async for event in runner.events()]


async def feed(runner: Runner, samples: Samples, sizes: Sequence[int] = (CHUNK,)) -> None:
    """Send audio, [n] or [channels, n], in chunks of these sizes, the last one repeated."""
    position, length = 0, samples.shape[-1]
    for size in [*sizes, *[sizes[-1]] * (length // sizes[-1] + 1)]:
        if position < length:
            await runner.receive(Audio(samples[..., position : position + size]))
            position += size
            await asyncio.sleep(0)


async def transcribe(
    start: Start, samples: Samples, sizes: Sequence[int] = (CHUNK,), engine: ScriptedEngine | None = None
) -> list[Event]:
    """All events of a whole stream."""
    runner = runner_of(engine or HearingEngine(), start)
    reader = asyncio.create_task(collect(runner))
    await feed(runner, samples, sizes)
    await runner.receive(Stop())
    return await reader


def of_channel(events: list[Event], channel: int) -> list[Event]:
    return [event for event in events if isinstance(event, OfChannel) and event.channel == channel]


def check_channels(events: list[Event]) -> None:
    """Every event but the last has a channel, and positions never go back in one of them."""
    assert isinstance(events[-1], Done)
    assert all(isinstance(event, OfChannel) and event.channel in {0, 1} for event in events[:-1])
    for channel in (0, 1):
        kept = [
            event.kept_from for event in of_channel(events, channel) if isinstance(event, UtteranceEnded | Committed)
        ]
        assert all(before <= after for before, after in pairwise(kept))


# Runs of speech and silence in turns, in words and tenths of a second.
speech = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 20)), max_size=4).map(
    lambda runs: np.concatenate(
        [quiet(0), *(part for words, gap in runs for part in (loud(words * WORD), quiet(gap * CHUNK)))]
    )
)
starts = st.sampled_from(
    [
        Start(),
        Start(commit="utterance"),
        Start(refine=True),
        Start(realtime=False),
        Start(commit="utterance", refine=True),
    ]
)


@settings(max_examples=60, deadline=None)
@given(speech, speech, starts, st.lists(st.integers(1, 40_000), min_size=1, max_size=8))
def test_each_channel_has_the_words_of_its_own_mono_stream(
    first: Samples, second: Samples, start: Start, sizes: list[int]
) -> None:
    """Whatever is said on the other channel, and however the network cuts the audio; the totals are the sums."""
    audio = stereo(first, second)
    sizes = [*sizes, CHUNK]

    async def test() -> None:
        both = await transcribe(
            Start(commit=start.commit, refine=start.refine, realtime=start.realtime, channels=2), audio, sizes
        )
        check_channels(both)
        alone = [await transcribe(start, channel, sizes) for channel in audio]
        for channel in (0, 1):
            told = of_channel(both, channel)
            assert words_of(told) == words_of(alone[channel])
            for kind in (Refined, UtteranceEnded):
                assert [(e.start, e.end) for e in told if isinstance(e, kind)] == [
                    (e.start, e.end) for e in alone[channel] if isinstance(e, kind)
                ]
        ends = [events[-1] for events in alone]
        assert both[-1] == Done(
            audio.shape[1],
            *(sum(getattr(end, name) for end in ends) for name in ("speech", "words", "utterances", "gaps")),
        )

    run(test)


def test_two_speakers_who_take_turns() -> None:
    """Each event has the channel of who spoke, in the order in which it happened."""

    async def test() -> None:
        audio = stereo(
            np.concatenate([loud(5 * WORD), quiet(9 * WORD)]), np.concatenate([quiet(7 * WORD), loud(5 * WORD)])
        )
        events = await transcribe(Start(channels=2), audio)
        started = [(event.channel, event.at) for event in events if isinstance(event, SpeechStarted)]
        assert [channel for channel, _ in started] == [0, 1]
        assert text_of(of_channel(events, 0)) == " раз два три четыре пять"
        assert all(word.start >= 6 * WORD for word in words_of(of_channel(events, 1)))
        committed = [event.channel for event in events if isinstance(event, Committed)]
        assert committed == [0] * committed.count(0) + [1] * committed.count(1)
        assert {event.channel for event in events if isinstance(event, Partial)} == {0, 1}

    run(test)


def test_a_flush_is_answered_once_for_each_channel() -> None:
    """All words of a channel come before its answer."""

    async def test() -> None:
        runner = runner_of(ScriptedEngine(), Start(channels=2))
        await feed(runner, stereo(loud(5 * WORD), loud(3 * WORD)))
        await runner.receive(Flush())
        await runner.receive(Stop())
        events = await collect(runner)
        for channel, words in ((0, 5), (1, 3)):
            told = of_channel(events, channel)
            answered = [place for place, event in enumerate(told) if isinstance(event, Flushed)]
            assert len(answered) == 1
            assert len(words_of(told[: answered[0]])) >= words

    run(test)


class Client:
    """What a client that follows docs/protocol.md has of one channel, over all connections."""

    def __init__(self) -> None:
        self.words: list[Word] = []
        self.refined = 0
        self.kept_from = 0
        self.live_from: int | None = None

    def receive(self, event: Event) -> None:
        if isinstance(event, Committed):
            self.words += event.words
        if isinstance(event, Refined):
            self.words[self.refined : self.refined + event.replaces] = event.words
            self.refined += len(event.words)
        if (kept_from := getattr(event, "kept_from", None)) is not None:
            self.kept_from, self.live_from = kept_from, getattr(event, "live_from", None)

    def resume(self) -> Resume:
        unrefined = self.words[self.refined :] if self.live_from is not None else self.words
        live_from = self.kept_from if self.live_from is None else self.live_from
        after = tuple(word for word in unrefined if word.end > live_from)
        before = () if self.live_from is None else tuple(word for word in unrefined if word.end <= live_from)
        return Resume(None, self.kept_from, after, self.live_from, before)


async def read(events: AsyncIterator[Event], clients: Sequence[Client]) -> None:
    async for event in events:
        if isinstance(event, OfChannel):
            assert event.channel is not None
            clients[event.channel].receive(event)


@settings(max_examples=40, deadline=None)
@given(speech, speech, starts.filter(lambda start: start.realtime), st.lists(st.integers(1, 300_000), max_size=3))
def test_a_stream_that_is_drained_and_resumed_loses_nothing(
    first: Samples, second: Samples, start: Start, cuts: list[int]
) -> None:
    """Wherever the worker is drained: the audio is sent again from the smaller of both positions, and the words of each
    channel are those of a stream that was never cut.
    """
    audio = stereo(first, second)

    def options(resume: Resume | None = None) -> Start:
        return Start(commit=start.commit, refine=start.refine, channels=2, resume=resume)

    async def test() -> None:
        clients = [Client(), Client()]
        resume, position = None, 0
        for cut in [*sorted(cuts), None]:
            runner = runner_of(HearingEngine(), options(resume))
            reader = asyncio.create_task(read(runner.events(), clients))
            await feed(runner, audio[:, position:cut])
            assert runner.received == max(position, min(audio.shape[1], cut or audio.shape[1]))
            if cut is None:
                await runner.receive(Stop())
            else:
                await runner.drain()
            await reader
            known = tuple(client.resume() for client in clients)
            position = min(channel.position for channel in known)
            resume = Resume(None, position, channels=known)
        whole = await transcribe(options(), audio)
        for channel, client in enumerate(clients):
            uncut = Client()
            for event in of_channel(whole, channel):
                uncut.receive(event)
            assert [word.text for word in client.words] == [word.text for word in uncut.words]

    run(test)


def test_a_channel_that_waits_makes_the_client_wait() -> None:
    """Back-pressure comes from the slower channel, and when its decode is done both go on."""

    async def test() -> None:
        engine = HeldEngine()
        runner = runner_of(engine, Start(channels=2))
        reader = asyncio.create_task(collect(runner))
        seconds = 60
        sender = asyncio.create_task(
            feed(runner, stereo(quiet(seconds * SAMPLE_RATE), loud(seconds * SAMPLE_RATE)), [SAMPLE_RATE])
        )
        await engine.begun.wait()
        for _ in range(500):
            await asyncio.sleep(0)
        assert not sender.done()
        assert MAX_WAITING_S <= runner.received / SAMPLE_RATE <= MAX_WAITING_S + 3
        engine.release.set()
        await sender
        await runner.receive(Stop())
        events = await reader
        assert len(words_of(of_channel(events, 1))) == 150
        assert not words_of(of_channel(events, 0))

    run(test)


def test_pause_and_end_are_those_of_both_channels() -> None:
    """A stream pauses when neither channel speaks, and its last event comes when both have ended."""

    async def test() -> None:
        runner = runner_of(ScriptedEngine(), Start(channels=2))
        reader = asyncio.create_task(collect(runner))
        paused = [runner.paused]
        for part in (stereo(quiet(5 * WORD), loud(5 * WORD)), stereo(*[quiet(2 * SAMPLE_RATE)] * 2)):
            await feed(runner, part)
            await asyncio.sleep(0.01)
            paused.append(runner.paused)
        assert paused == [True, False, True]
        assert runner.language == "ru"
        await runner.receive(Stop())
        events = await reader
        done = events[-1]
        assert isinstance(done, Done)
        assert done.received == 5 * WORD + 2 * SAMPLE_RATE
        assert (done.words, done.utterances) == (len(words_of(events)), 1)

    run(test)


def test_a_dead_engine_ends_the_stream() -> None:
    """``events`` raises the error of either channel."""

    async def test() -> None:
        engine = ScriptedEngine()
        engine.error = ModelUnavailable("a test")
        runner = runner_of(engine, Start(channels=2))
        reader = asyncio.create_task(collect(runner))
        await feed(runner, stereo(quiet(5 * WORD), loud(5 * WORD)))
        with pytest.raises(ModelUnavailable):
            await reader
        await runner.close()

    run(test)


@pytest.mark.parametrize("end", [MultichannelRunner.close, MultichannelRunner.drain])
def test_close_and_drain_end_both_channels(end: Callable[[MultichannelRunner], Coroutine[Any, Any, None]]) -> None:
    """``events`` ends without Done, and no decode of a paragraph is waited for."""

    async def test() -> None:
        engine = PatientEngine()
        runner = runner_of(engine, Start(channels=2, refine=True))
        assert isinstance(runner, MultichannelRunner)
        reader = asyncio.create_task(collect(runner))
        speech = np.concatenate([loud(30 * WORD), quiet(3 * SAMPLE_RATE)])
        await feed(runner, stereo(speech, speech))
        await engine.begun.wait()
        await end(runner)
        events = await reader
        assert engine.cancelled >= 1
        assert not [event for event in events if isinstance(event, Done)]

    run(test)


def test_audio_of_another_number_of_channels_is_a_fault() -> None:
    """An adapter must send what it asked for."""

    async def test() -> None:
        runner = runner_of(ScriptedEngine(), Start(channels=2))
        with pytest.raises(ValueError, match="found audio of 1 channels, expected 2"):
            await runner.receive(Audio(quiet(10)[None, :]))

    run(test)
