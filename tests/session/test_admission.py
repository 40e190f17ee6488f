"""Who may open a stream."""

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis
from whisperlivekit.errors import DecodeFailed, NoCapacity
from whisperlivekit.session.admission import (
    CEILING,
    LATE_S,
    MEMORY_S,
    ROUND_S,
    SAMPLE,
    SLOW_S,
    UNMEASURED,
    Admission,
    Pace,
    Ticket,
    Timed,
)


def test_a_full_worker_refuses_and_a_leaver_makes_room() -> None:
    """The limit holds, says its numbers, and is given back."""
    admission = Admission(limit=2)
    first = admission.enter("a")
    admission.enter("b")
    with pytest.raises(NoCapacity, match="2 streams are live, this server takes 2; try again later") as caught:
        admission.enter("c")
    assert caught.value.reason == "full"
    first.leave()
    assert admission.refusal is None
    admission.enter("c")


def test_one_address_cannot_take_everything() -> None:
    """The limit of an address refuses that address only."""
    admission = Admission(limit=10, per_address=1)
    ticket = admission.enter("a")
    with pytest.raises(NoCapacity, match="1 streams of your address are live, this server takes 1") as caught:
        admission.enter("a")
    assert caught.value.reason == "address"
    admission.enter("b")
    ticket.leave()
    admission.enter("a")


def test_a_worker_that_is_late_takes_no_more() -> None:
    """When half of the streams are late, a new one would make it worse; one alone may have itself to blame."""
    admission = Admission(limit=10)
    tickets = [admission.enter("a") for _ in range(4)]
    tickets[0].lag_s = LATE_S + 1
    assert admission.refusal is None
    tickets[1].lag_s = LATE_S + 1
    with pytest.raises(NoCapacity, match="2 of 4 live streams are more than 5 s late; try again later") as caught:
        admission.enter("a")
    assert caught.value.reason == "late"
    tickets[1].lag_s = 0.5
    admission.enter("a")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60), st.integers(1, 5), st.integers(0, 3))
def test_counts_are_right_whatever_happens(moves: list[tuple[str, bool]], limit: int, per_address: int) -> None:
    """Entering and leaving, also twice, in any order: never above a limit, and nothing is left at the end."""
    admission = Admission(limit, per_address)
    inside: list[Ticket] = []
    gone: list[Ticket] = []
    for address, entering in moves:
        if entering:
            of_address = sum(ticket.address == address for ticket in inside)
            room = len(inside) < limit and (not per_address or of_address < per_address)
            if room:
                inside.append(admission.enter(address))
            else:
                with pytest.raises(NoCapacity):
                    admission.enter(address)
        elif inside:
            ticket = inside.pop()
            ticket.leave()
            gone.append(ticket)
        for ticket in gone:
            ticket.leave()
        assert admission.open_streams == len(inside)
    for ticket in inside:
        ticket.leave()
    assert admission.open_streams == 0


# ------------------------------------------------------------------------------------------------------ measured limits


class Model:
    """A Recognizer on a clock of its own: one decode at a time, each as long as said."""

    def __init__(self, seconds: float) -> None:
        self.now = 0.0
        self.seconds = seconds
        self.error: Exception | None = None
        self._thread = asyncio.Lock()

    def clock(self) -> float:
        return self.now

    async def transcribe(self, request: DecodeRequest) -> Hypothesis:
        async with self._thread:
            await asyncio.sleep(0)
            self.now += self.seconds
        if self.error:
            raise self.error
        return Hypothesis(request.id, ())


def request(*, realtime: bool = True) -> DecodeRequest:
    return DecodeRequest(1, np.zeros(0, np.float32), 0, "ru", realtime=realtime)


def after(model: Model, ask: Callable[[Timed], Awaitable[object]]) -> Admission:
    """An Admission that saw these decodes."""
    admission = Admission(clock=model.clock)

    async def run() -> None:
        await ask(Timed(model, admission.pace))

    asyncio.run(run())
    return admission


async def one_by_one(timed: Timed) -> None:
    for _ in range(SAMPLE + 5):
        await timed.transcribe(request())


async def four_at_a_time(timed: Timed) -> None:
    for _ in range(SAMPLE):
        await asyncio.gather(*(timed.transcribe(request()) for _ in range(4)))


def test_a_worker_takes_what_its_model_can_decode_in_a_round() -> None:
    """The slower the model, the fewer streams; never none, and never more than memory holds."""
    assert after(Model(0.19), one_by_one).capacity == int(ROUND_S / 0.19)
    assert after(Model(10.0), one_by_one).capacity == 1
    assert after(Model(1e-6), one_by_one).capacity == CEILING
    assert Admission(limit=3).capacity == 3


def test_waiting_is_not_work() -> None:
    """Decodes that wait for each other take longer; what the model needs for one of them stays the same."""
    model = Model(0.1)
    admission = after(model, four_at_a_time)
    assert admission.pace.cost_s == pytest.approx(0.1, abs=0.01)
    assert admission.pace.turnaround_s == pytest.approx(0.25, abs=0.06)


@given(st.integers(1, 8), st.integers(1, 16))
def test_idle_lanes_are_room(lanes: int, speakers: int) -> None:
    """However many speak: each of four lanes that takes 0.1 s makes 40 decodes a second, not the ten that one speaker
    would show.
    """
    now = 0.0
    pace = Pace(lanes, lambda: now)
    answers: list[asyncio.Future[Hypothesis]] = []

    class Lanes:
        async def transcribe(self, request: DecodeRequest) -> Hypothesis:
            answers.append(asyncio.get_running_loop().create_future())
            return await answers[-1]

    async def run() -> None:
        nonlocal now
        timed = Timed(Lanes(), pace)
        asked = [asyncio.create_task(timed.transcribe(request())) for _ in range(speakers)]
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


def test_pauses_are_not_work() -> None:
    """Between two decodes nobody may speak for long."""
    model = Model(0.1)

    async def ask(timed: Timed) -> None:
        for _ in range(SAMPLE + 5):
            await timed.transcribe(request())
            model.now += 3.0

    assert after(model, ask).pace.cost_s == pytest.approx(0.1)


def test_a_worker_begins_carefully() -> None:
    """Before it is known what the model can do, only a few come in; then as many as it can hold."""
    model = Model(0.1)
    admission = Admission(clock=model.clock)
    for _ in range(UNMEASURED):
        admission.enter("a")
    with pytest.raises(NoCapacity, match=f"this server takes {UNMEASURED}"):
        admission.enter("a")
    asyncio.run(one_by_one(Timed(model, admission.pace)))
    admission.enter("a")


def test_slow_answers_close_the_door_until_they_are_fast_again() -> None:
    """Whatever makes them slow. What was long ago does not count, and one speaker alone is nobody's burden."""
    model = Model(SLOW_S * 0.6)
    admission = Admission(limit=10, clock=model.clock)
    admission.enter("a")
    timed = Timed(model, admission.pace)

    async def slowly() -> None:
        for _ in range(SAMPLE):
            await asyncio.gather(*(timed.transcribe(request()) for _ in range(4)))

    asyncio.run(slowly())
    assert admission.refusal is None
    second = admission.enter("b")
    with pytest.raises(NoCapacity, match=r"text takes [12].* s to be recognised, 2 streams are live") as caught:
        admission.enter("c")
    assert caught.value.reason == "slow"
    model.now += MEMORY_S + 1
    assert admission.refusal is None
    second.leave()


def test_files_do_not_speak_for_the_worker() -> None:
    """They wait by design: how long says nothing about live speech."""
    model = Model(SLOW_S * 3)

    async def files(timed: Timed) -> None:
        for _ in range(SAMPLE * 2):
            await timed.transcribe(request(realtime=False))

    admission = after(model, files)
    assert admission.pace.cost_s is None
    assert admission.pace.turnaround_s == 0


def test_failures_count_too() -> None:
    """An answer is an answer, and the error arrives as it is."""
    model = Model(0.2)
    model.error = DecodeFailed("a test")

    async def failing(timed: Timed) -> None:
        for _ in range(SAMPLE):
            with pytest.raises(DecodeFailed, match="a test"):
                await timed.transcribe(request())

    assert after(model, failing).pace.cost_s == pytest.approx(0.2)


def test_a_new_pace_knows_nothing() -> None:
    """Neither cost nor slowness is invented."""
    pace = Pace()
    assert (pace.cost_s, pace.turnaround_s) == (None, 0)
