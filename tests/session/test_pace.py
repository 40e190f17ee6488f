"""How fast a recognizer answers."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.session.recognizers import OneAtATime, four_at_a_time, request, transcribe_all
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis
from whisperlivekit.errors import DecodeFailed
from whisperlivekit.session.pace import MEMORY_S, SAMPLE, Pace, TimedRecognizer


def pace_after(recognizer: OneAtATime, ask: Callable[[TimedRecognizer], Awaitable[object]]) -> Pace:
    """A Pace that measured these requests."""
    pace = Pace(clock=recognizer.clock)
    asyncio.run(transcribe_all(TimedRecognizer(recognizer, pace), ask))
    return pace


def test_waiting_is_no_cost() -> None:
    """Requests that wait for each other take longer; what the model needs for one of them stays the same."""
    pace = pace_after(OneAtATime(0.1), four_at_a_time)
    assert pace.cost_s == pytest.approx(0.1, abs=0.01)
    assert pace.turnaround_s == pytest.approx(0.25, abs=0.06)


@given(st.integers(1, 8), st.integers(1, 16))
def test_idle_lanes_are_capacity(lanes: int, streams: int) -> None:
    """However many streams there are: four lanes that take 0.1 s each make 40 decodes a second. One stream alone, which
    has one decode in flight, must not make it look like 10.
    """
    now = 0.0
    pace = Pace(lanes, lambda: now)
    answers: list[asyncio.Future[Hypothesis]] = []

    class Lanes:
        async def transcribe(self, request: DecodeRequest) -> Hypothesis:
            answers.append(asyncio.get_running_loop().create_future())
            return await answers[-1]

        def replace(self, request: DecodeRequest, newer: DecodeRequest) -> bool:
            return False

    async def run() -> None:
        nonlocal now
        timed = TimedRecognizer(Lanes(), pace)
        asked = [asyncio.create_task(timed.transcribe(request())) for _ in range(streams)]
        for _ in range(3 * SAMPLE):
            await asyncio.sleep(0)
            now += 0.1
            done, answers[:lanes] = answers[:lanes], []
            for answer in done:
                answer.set_result(Hypothesis(1, ()))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            asked += [asyncio.create_task(timed.transcribe(request())) for _ in done]
        assert pace.cost_s == pytest.approx(0.1 / lanes, rel=0.2)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)

    asyncio.run(run())


def test_pauses_are_no_cost() -> None:
    """Time between two decodes does not count, however long it is."""
    recognizer = OneAtATime(0.1)

    async def ask(timed: TimedRecognizer) -> None:
        await timed.transcribe(request())
        recognizer.now += 3.0

    assert pace_after(recognizer, ask).cost_s == pytest.approx(0.1)


def test_old_answers_are_forgotten() -> None:
    """The turnaround is that of the last seconds; the cost of a decode stays known."""
    recognizer = OneAtATime(0.1)
    pace = pace_after(recognizer, four_at_a_time)
    assert pace.turnaround_s > 0
    recognizer.now += MEMORY_S + 1
    assert pace.turnaround_s == 0
    assert pace.cost_s == pytest.approx(0.1, abs=0.01)


def test_files_are_not_measured() -> None:
    """They wait on purpose: their answers say nothing about real-time streams."""
    pace = pace_after(OneAtATime(3.0), lambda timed: timed.transcribe(request(realtime=False)))
    assert pace.cost_s is None
    assert pace.turnaround_s == 0


def test_failures_are_measured_too() -> None:
    """A decode that fails takes time as well, and its error is raised unchanged."""
    recognizer = OneAtATime(0.2)
    recognizer.error = DecodeFailed("a test")

    async def ask(timed: TimedRecognizer) -> None:
        with pytest.raises(DecodeFailed, match="a test"):
            await timed.transcribe(request())

    assert pace_after(recognizer, ask).cost_s == pytest.approx(0.2)


def test_nothing_is_claimed_before_it_is_measured() -> None:
    """A cost needs ``SAMPLE`` answers, a turnaround half as many."""
    recognizer = OneAtATime(0.1)
    pace = Pace(clock=recognizer.clock)
    timed = TimedRecognizer(recognizer, pace)
    assert (pace.cost_s, pace.turnaround_s) == (None, 0)

    async def ask(count: int) -> None:
        for _ in range(count):
            await timed.transcribe(request())

    asyncio.run(ask(SAMPLE // 2 - 1))
    assert (pace.cost_s, pace.turnaround_s) == (None, 0)
    asyncio.run(ask(1))
    assert pace.turnaround_s == pytest.approx(0.1)
    asyncio.run(ask(SAMPLE // 2 - 1))
    assert pace.cost_s is None
    asyncio.run(ask(1))
    assert pace.cost_s == pytest.approx(0.1)
