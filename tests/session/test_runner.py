"""One session with its detector and recognizer, on a real event loop.

Long because ends, failures, back-pressure and several decodes at once meet in one class.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from whisperlivekit.core.commands import Audio, Flush, Resume, Start, Stop
from whisperlivekit.core.events import Committed, Done, Event, Flushed, Gap, Refined, SpeechStarted, UtteranceEnded
from whisperlivekit.core.file_session import FileConfig, FileSession
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, Word
from whisperlivekit.core.session import Session, SessionConfig
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.engine.scripted import WORD_S, ScriptedEngine
from whisperlivekit.errors import DecodeFailed, ModelUnavailable
from whisperlivekit.session import runner as session_runner
from whisperlivekit.session.runner import MAX_WAITING_S, SessionRunner

WORD = round(WORD_S * SAMPLE_RATE)
CHUNK = 1_600


def loud(samples: int) -> NDArray[np.float32]:
    return (0.5 * np.sin(np.arange(samples) / 6)).astype(np.float32)


def quiet(samples: int) -> NDArray[np.float32]:
    return np.zeros(samples, np.float32)


class HeldEngine(ScriptedEngine):
    """Decodes wait until the test releases them."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = 0

    async def transcribe(self, request: DecodeRequest) -> Hypothesis:
        self.begun.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return await super().transcribe(request)


class BusyEngine(HeldEngine):
    """Decodes wait for their turn until the test releases them."""

    def __init__(self) -> None:
        super().__init__()
        self.newer: dict[int, DecodeRequest] = {}

    def replace(self, request: DecodeRequest, newer: DecodeRequest) -> bool:
        assert request.id == newer.id
        self.newer[request.id] = newer
        return not self.release.is_set()

    async def transcribe(self, request: DecodeRequest) -> Hypothesis:
        self.begun.set()
        await self.release.wait()
        return await ScriptedEngine.transcribe(self, self.newer.get(request.id, request))


def runner_of(engine: ScriptedEngine, start: Start | None = None) -> SessionRunner:
    return SessionRunner(engine, engine.detector(), Session(SessionConfig(), start or Start()))


def file_runner_of(engine: ScriptedEngine, at_once: int = 2) -> SessionRunner:
    return SessionRunner(engine, engine.detector(), FileSession(FileConfig(at_once=at_once), Start()))


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test with a time limit: one that hangs fails."""

    async def limited() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(limited())


async def collect(runner: SessionRunner) -> list[Event]:
    return [event async for event in runner.events()]


async def feed(runner: SessionRunner, samples: NDArray[np.float32], sizes: Iterable[int] = (CHUNK,)) -> None:
    """Send audio in chunks of these sizes, the last one repeated; decodes run in between."""
    sizes = list(sizes)
    position = 0
    while position < len(samples):
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        await runner.receive(Audio(samples[position : position + size]))
        position += size
        await asyncio.sleep(0)


def words_of(events: list[Event]) -> list[Word]:
    return [word for event in events if isinstance(event, Committed) for word in event.words]


def text_of(events: list[Event]) -> str:
    return "".join(word.text for word in words_of(events))


def test_a_stream_from_start_to_done() -> None:
    """Events come in order, words have the times of the stream, and ``Done`` is last."""

    async def test() -> None:
        runner = runner_of(ScriptedEngine())
        reader = asyncio.create_task(collect(runner))
        await feed(runner, loud(10 * WORD))
        await runner.receive(Stop())
        events = await reader
        assert isinstance(events[0], SpeechStarted)
        assert text_of(events) == " раз два три четыре пять раз два три четыре пять"
        assert [word.start for word in words_of(events)] == [WORD * number for number in range(10)]
        assert isinstance(events[-2], UtteranceEnded)
        assert events[-1] == Done(10 * WORD, 10 * WORD, 10, 1, 0)
        assert runner.received == 10 * WORD

    run(test)


def test_a_decode_that_waits_takes_the_newest_audio() -> None:
    """Where the recognizer is busy, words do not get older while their decode waits for its turn."""

    async def test() -> None:
        engine = BusyEngine()
        runner = runner_of(engine)
        reader = asyncio.create_task(collect(runner))
        await feed(runner, loud(10 * WORD))
        engine.release.set()
        await runner.receive(Stop())
        text = text_of(await reader)
        assert len(engine.requests[0].samples) == 10 * WORD
        assert text == " раз два три четыре пять раз два три четыре пять"

    run(test)


@hypothesis_settings(max_examples=25)
@given(st.lists(st.integers(1, 60_000), min_size=1, max_size=30), st.integers(0, 511))
def test_chunks_do_not_change_the_words(sizes: list[int], rest: int) -> None:
    """The words do not depend on how the network cuts the audio."""
    audio = np.concatenate([quiet(9_000), loud(12 * WORD + rest)])

    async def test() -> None:
        texts = []
        for chunks in ([CHUNK], [len(audio)], [*sizes, CHUNK]):
            runner = runner_of(ScriptedEngine())
            reader = asyncio.create_task(collect(runner))
            await feed(runner, audio, chunks)
            await runner.receive(Stop())
            texts.append([word.start for word in words_of(await reader)])
        assert texts[0] == texts[1] == texts[2]
        assert len(texts[0]) >= 11

    run(test)


def test_events_may_be_read_after_everything_happened() -> None:
    """No event is lost while nobody reads, and ``pending_events`` says how many wait."""

    async def test() -> None:
        runner = runner_of(ScriptedEngine())
        await feed(runner, loud(4 * WORD))
        await runner.receive(Stop())
        await asyncio.sleep(0)
        pending = runner.pending_events
        assert pending > 0
        events = await collect(runner)
        assert len(events) >= pending
        assert isinstance(events[-1], Done)
        assert runner.pending_events == 0

    run(test)


def test_an_empty_stream() -> None:
    """Empty audio and an immediate stop give ``Done``."""

    async def test() -> None:
        runner = runner_of(ScriptedEngine())
        await runner.receive(Audio(quiet(0)))
        await runner.receive(Stop())
        assert await collect(runner) == [Done(0, 0, 0, 0, 0)]

    run(test)


def test_flush_is_answered_and_the_stream_goes_on() -> None:
    """All words before the flush come before its answer, and the stream continues."""

    async def test() -> None:
        engine = ScriptedEngine()
        runner = runner_of(engine)
        events = runner.events()
        await feed(runner, loud(5 * WORD))
        await runner.receive(Flush())
        before = []
        async for event in events:
            before.append(event)
            if isinstance(event, Flushed):
                break
        assert text_of(before) == " раз два три четыре пять"
        assert before[-1] == Flushed(5 * WORD, 5 * WORD)
        await feed(runner, loud(5 * WORD))
        await runner.receive(Stop())
        after = await collect(runner)
        assert words_of(after)[0].start >= 5 * WORD
        assert isinstance(after[-1], Done)

    run(test)


def test_a_session_starts_once() -> None:
    """A second start is a fault of the caller: the adapter rejects one that a client sends."""

    async def test() -> None:
        runner = runner_of(ScriptedEngine())
        with pytest.raises(ValueError, match="found a second Start"):
            await runner.receive(Start())

    run(test)


def test_resume_goes_on_where_the_client_was() -> None:
    """The words that the client has become the prefix and are not told again."""

    async def test() -> None:
        had = tuple(
            Word(f" {text}", number * WORD, (number + 1) * WORD, 0.9) for number, text in enumerate(("раз", "два"))
        )
        engine = ScriptedEngine()
        runner = runner_of(engine, Start(resume=Resume("before", 0, had)))
        reader = asyncio.create_task(collect(runner))
        await feed(runner, loud(5 * WORD))
        await runner.receive(Stop())
        assert text_of(await reader) == " три четыре пять"
        assert engine.requests[0].prefix == " раз два"

    run(test)


# ---- back-pressure


def test_a_slow_engine_makes_the_client_wait() -> None:
    """While a decode runs, audio is taken up to a bound only; when it is done, more is taken."""

    async def test() -> None:
        engine = HeldEngine()
        runner = runner_of(engine)
        reader = asyncio.create_task(collect(runner))
        sender = asyncio.create_task(feed(runner, loud(60 * SAMPLE_RATE), [60 * SAMPLE_RATE]))
        await engine.begun.wait()
        for _ in range(500):
            await asyncio.sleep(0)
        assert not sender.done()
        assert MAX_WAITING_S <= runner.received / SAMPLE_RATE <= MAX_WAITING_S + 3
        engine.release.set()
        await sender
        await runner.receive(Stop())
        events = await reader
        assert [word.start for word in words_of(events)] == [WORD * number for number in range(150)]
        assert isinstance(events[-1], Done)

    run(test)


def test_silence_is_taken_as_fast_as_it_comes() -> None:
    """Silence never waits for the model."""

    async def test() -> None:
        engine = HeldEngine()
        runner = runner_of(engine)
        await feed(runner, quiet(300 * SAMPLE_RATE), [300 * SAMPLE_RATE])
        await runner.receive(Stop())
        assert isinstance((await collect(runner))[-1], Done)
        assert not engine.begun.is_set()

    run(test)


# ---- failures


def test_a_failed_decode_is_tried_again() -> None:
    """One failed decode loses no word."""

    async def test() -> None:
        engine = ScriptedEngine()
        engine.error = DecodeFailed("a test")
        runner = runner_of(engine)
        reader = asyncio.create_task(collect(runner))
        await feed(runner, loud(5 * WORD))
        await runner.receive(Stop())
        events = await reader
        assert len(engine.requests) > 1
        assert text_of(events) == " раз два три четыре пять"
        assert not [event for event in events if isinstance(event, Gap)]

    run(test)


class FailingEngine(ScriptedEngine):
    """Every decode fails."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._always = error

    async def transcribe(self, request: DecodeRequest) -> Hypothesis:
        raise self._always


def test_failures_without_end_become_a_gap() -> None:
    """The stream ends with ``Done``, and a gap names the audio that was lost."""

    async def test() -> None:
        runner = runner_of(FailingEngine(DecodeFailed("a test")))
        reader = asyncio.create_task(collect(runner))
        await feed(runner, loud(5 * WORD))
        await runner.receive(Stop())
        events = await reader
        (gap,) = [event for event in events if isinstance(event, Gap)]
        assert (gap.start, gap.end, gap.reason) == (0, 5 * WORD, "decode_failed")
        assert events[-1] == Done(5 * WORD, 5 * WORD, 0, 1, 5 * WORD)

    run(test)


@pytest.mark.parametrize("error", [ModelUnavailable("a test"), RuntimeError("an unexpected error")])
def test_a_dead_engine_is_raised_by_events(error: Exception) -> None:
    """``events`` raises the error, expected or not, after all earlier events: a reader never waits for ever."""

    async def test() -> None:
        runner = runner_of(FailingEngine(error))
        seen: list[Event] = []

        async def read() -> None:
            async for event in runner.events():
                seen.append(event)

        reader = asyncio.create_task(read())
        await feed(runner, loud(50 * WORD))
        await runner.receive(Stop())
        with pytest.raises(type(error), match=str(error)):
            await reader
        assert isinstance(seen[0], SpeechStarted)
        assert not [event for event in seen if isinstance(event, Done)]

    run(test)


# ---- the end


def test_close_abandons_the_stream() -> None:
    """The decode in flight is cancelled, a waiting ``receive`` returns, and ``events`` ends without ``Done``."""

    async def test() -> None:
        engine = HeldEngine()
        runner = runner_of(engine)
        reader = asyncio.create_task(collect(runner))
        sender = asyncio.create_task(feed(runner, loud(60 * SAMPLE_RATE), [60 * SAMPLE_RATE]))
        await engine.begun.wait()
        await runner.close()
        await sender
        assert engine.cancelled == 1
        assert not [event for event in await reader if isinstance(event, Done)]
        assert engine.requests == []
        await runner.close()

    run(test)


def test_drain_tells_the_words_of_the_decode_in_flight() -> None:
    """A worker that shuts down tells the words that it is decoding; the client resumes the rest elsewhere."""

    async def test() -> None:
        engine = HeldEngine()
        runner = runner_of(engine)
        reader = asyncio.create_task(collect(runner))
        await feed(runner, loud(SAMPLE_RATE // 2))
        await runner.receive(Audio(loud(5 * WORD)))
        await engine.begun.wait()
        draining = asyncio.create_task(runner.drain())
        await asyncio.sleep(0)
        assert not reader.done()
        engine.release.set()
        await draining
        events = await reader
        assert words_of(events)
        assert not [event for event in events if isinstance(event, Done)]
        assert len(engine.requests) == 1

    run(test)


def test_drain_of_a_silent_stream_ends_at_once() -> None:
    """Without a decode in flight there is nothing to wait for."""

    async def test() -> None:
        runner = runner_of(ScriptedEngine())
        reader = asyncio.create_task(collect(runner))
        await feed(runner, quiet(SAMPLE_RATE // 2))
        await runner.drain()
        assert await reader == []

    run(test)


def test_the_resume_after_a_drain_completes_the_text() -> None:
    """The words of the first worker and those of the next one are the whole transcript."""

    async def test() -> None:
        audio = loud(30 * WORD)
        first = runner_of(ScriptedEngine())
        reader = asyncio.create_task(collect(first))
        await feed(first, audio[: 20 * WORD])
        await first.drain()
        events = await reader
        kept = [event.kept_from for event in events if isinstance(event, Committed)][-1]
        had = words_of(events)
        resume = Resume("before", kept, tuple(word for word in had if word.end > kept))
        second = runner_of(ScriptedEngine(), Start(resume=resume))
        reader = asyncio.create_task(collect(second))
        await feed(second, audio[kept:])
        await second.receive(Stop())
        rest = words_of(await reader)
        assert [word.start for word in had + rest] == [WORD * number for number in range(30)]

    run(test)


# ---- files: several decodes in flight


def spoken(paragraphs: int) -> NDArray[np.float32]:
    """So many paragraphs: 12 s of what the scripted detector takes for speech, and 3 s of silence, for each."""
    return np.concatenate([loud(12 * SAMPLE_RATE), quiet(3 * SAMPLE_RATE)] * paragraphs)


class CountingEngine(HeldEngine):
    """Counts the decodes in flight. No word is said twice: that would look like a loop."""

    def __init__(self) -> None:
        super().__init__()
        self._script = [f"слово{number}" for number in range(1_000)]
        self.in_flight = self.most = 0

    async def transcribe(self, request: DecodeRequest) -> Hypothesis:
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            return await super().transcribe(request)
        finally:
            self.in_flight -= 1

    async def busy(self, decodes: int) -> None:
        """Wait until so many decodes are in flight, and a while longer: there could be more."""
        for _ in range(2_000):
            await asyncio.sleep(0)
        assert self.in_flight == decodes


def test_a_client_that_has_stopped_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the recognizer has no time for paragraphs, the committed words stand, and the stream ends."""
    monkeypatch.setattr(session_runner, "REFINE_AFTER_STOP_S", 0.05)

    async def test() -> None:
        engine = PatientEngine()
        runner = runner_of(engine, Start(refine=True))
        reader = asyncio.create_task(collect(runner))
        await feed(runner, loud(10 * WORD))
        await runner.receive(Stop())
        events = await reader
        [refined] = [event for event in events if isinstance(event, Refined)]
        assert not refined.decoded
        assert list(refined.words) == words_of(events)
        assert isinstance(events[-1], Done)
        await runner.close()

    run(test)


def test_paragraphs_of_a_file_are_decoded_at_once_and_told_in_order() -> None:
    """As many as the configuration allows, and no more; the rest of the file waits outside."""

    async def test() -> None:
        engine = CountingEngine()
        runner = file_runner_of(engine)
        reader = asyncio.create_task(collect(runner))
        audio = spoken(10)
        sender = asyncio.create_task(feed(runner, audio, [len(audio)]))
        await engine.busy(2)
        assert not sender.done()
        assert runner.received < 6 * 15 * SAMPLE_RATE
        engine.release.set()
        await sender
        await runner.receive(Stop())
        events = await reader
        assert engine.most == 2
        starts = [word.start for word in words_of(events)]
        assert starts == sorted(starts)
        assert len([event for event in events if isinstance(event, Committed)]) == 10
        assert isinstance(events[-1], Done)

    run(test)


def test_close_cancels_every_decode_of_a_file() -> None:
    """Nobody will read the words."""

    async def test() -> None:
        engine = CountingEngine()
        runner = file_runner_of(engine, at_once=3)
        reader = asyncio.create_task(collect(runner))
        sender = asyncio.create_task(feed(runner, spoken(10)))
        await engine.busy(3)
        await runner.close()
        await sender
        assert engine.cancelled == 3
        assert not [event for event in await reader if isinstance(event, Done)]

    run(test)


class PatientEngine(HeldEngine):
    """Only decodes of paragraphs wait until the test releases them."""

    async def transcribe(self, request: DecodeRequest) -> Hypothesis:
        if request.realtime:
            return await ScriptedEngine.transcribe(self, request)
        return await super().transcribe(request)


def test_drain_does_not_wait_for_a_paragraph() -> None:
    """It may wait long for its turn behind live speech. The resumed stream decodes it again, and no word is lost."""

    async def test() -> None:
        engine = PatientEngine()
        first = runner_of(engine, Start(refine=True))
        reader = asyncio.create_task(collect(first))
        await feed(first, np.concatenate([loud(30 * WORD), quiet(3 * SAMPLE_RATE)]))
        await engine.begun.wait()
        await first.drain()
        events = await reader
        assert engine.cancelled == 1
        assert not [event for event in events if isinstance(event, Refined)]
        had = words_of(events)
        assert len(had) == 30
        kept, live = [(e.kept_from, e.live_from) for e in events if isinstance(e, UtteranceEnded)][-1]
        assert live is not None
        second = runner_of(ScriptedEngine(), Start(refine=True, resume=Resume("before", kept, (), live, tuple(had))))
        reader = asyncio.create_task(collect(second))
        await feed(second, np.concatenate([loud(30 * WORD), quiet(3 * SAMPLE_RATE)])[kept:])
        await second.receive(Stop())
        events = await reader
        assert not words_of(events)
        (refined,) = [event for event in events if isinstance(event, Refined)]
        assert refined.replaces == 30
        assert refined.text == "".join(word.text for word in had)

    run(test)


@pytest.mark.parametrize("error", [ModelUnavailable("a test"), RuntimeError("an unexpected error")])
def test_a_dead_engine_ends_a_file_with_several_decodes_in_flight(error: Exception) -> None:
    """``events`` raises the error although other decodes go on."""

    async def test() -> None:
        engine = HeldEngine()
        engine.error = error
        runner = file_runner_of(engine)
        reader = asyncio.create_task(collect(runner))
        await feed(runner, spoken(2))
        await runner.receive(Stop())
        engine.release.set()
        with pytest.raises(type(error), match=str(error)):
            await reader
        await runner.close()

    run(test)
