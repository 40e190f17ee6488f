"""Whether a worker takes another stream."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.session.recognizers import OneAtATime, four_at_a_time, one_by_one, transcribe_all
from whisperlivekit.errors import NoCapacity
from whisperlivekit.session.admission import CEILING, LATE_S, ROUND_S, SLOW_S, UNMEASURED, Admission, Ticket
from whisperlivekit.session.pace import MEMORY_S, TimedRecognizer


def test_a_full_worker_rejects_until_a_stream_ends() -> None:
    """The limit holds, the message has its numbers, and a released ticket makes room."""
    admission = Admission(limit=2)
    first = admission.admit("a")
    admission.admit("b")
    with pytest.raises(NoCapacity, match=r"^2 of 2 streams are in use; try again later$") as caught:
        admission.admit("c")
    assert caught.value.reason == "full"
    first.release()
    assert admission.rejection is None
    admission.admit("c")


def test_one_address_cannot_take_everything() -> None:
    """The limit of an address rejects streams of that address only."""
    admission = Admission(limit=10, per_address=1)
    ticket = admission.admit("a")
    with pytest.raises(NoCapacity, match=r"^1 of 1 streams of your address are in use; try again later$") as caught:
        admission.admit("a")
    assert caught.value.reason == "address"
    admission.admit("b")
    ticket.release()
    admission.admit("a")


def test_a_worker_that_is_late_takes_no_more() -> None:
    """When half of the streams are late, another one is rejected. One late stream alone may be its own fault."""
    admission = Admission(limit=10)
    tickets = [admission.admit("a") for _ in range(4)]
    tickets[0].lag_s = LATE_S + 1
    assert admission.rejection is None
    tickets[1].lag_s = LATE_S + 1
    with pytest.raises(NoCapacity, match=r"^2 of 4 streams are more than 5 s late; try again later$") as caught:
        admission.admit("a")
    assert caught.value.reason == "late"
    tickets[1].lag_s = 0.5
    admission.admit("a")


def test_late_files_reject_nobody() -> None:
    """A file is behind by nature, however many there are."""
    admission = Admission(limit=10)
    for _ in range(4):
        admission.admit("a", realtime=False).lag_s = LATE_S + 1
    assert admission.rejection is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60), st.integers(1, 5), st.integers(0, 3))
def test_counts_are_right_whatever_happens(moves: list[tuple[str, bool]], limit: int, per_address: int) -> None:
    """Streams begin and end in any order, and tickets are released twice: the count never exceeds a limit and is 0 at
    the end.
    """
    admission = Admission(limit, per_address)
    held: list[Ticket] = []
    released: list[Ticket] = []
    for address, begins in moves:
        if begins:
            of_address = sum(ticket.address == address for ticket in held)
            room = len(held) < limit and (not per_address or of_address < per_address)
            if room:
                held.append(admission.admit(address))
            else:
                with pytest.raises(NoCapacity):
                    admission.admit(address)
        elif held:
            ticket = held.pop()
            ticket.release()
            released.append(ticket)
        for ticket in released:
            ticket.release()
        assert admission.open_streams == len(held)
    for ticket in held:
        ticket.release()
    assert admission.open_streams == 0


def test_a_stereo_stream_takes_two_places() -> None:
    """Of the worker and of its address, from when it is known to have two channels until it ends."""
    admission = Admission(limit=3, per_address=2)
    stereo = admission.admit("a")
    stereo.take(2)
    assert admission.open_streams == 2
    with pytest.raises(NoCapacity, match=r"^2 of 2 streams of your address are in use"):
        admission.admit("a")
    other = admission.admit("b")
    with pytest.raises(NoCapacity, match=r"^3 of 3 streams are in use"):
        other.take(2)
    assert other.places == 1
    stereo.take(1)
    other.take(2)
    other.release()
    stereo.release()
    stereo.release()
    assert admission.open_streams == 0
    admission.admit("a").take(2)


def test_one_address_may_not_widen_its_streams_without_end() -> None:
    """The limit of an address holds for channels too."""
    admission = Admission(limit=10, per_address=3)
    admission.admit("a").take(2)
    with pytest.raises(NoCapacity, match=r"^3 of 3 streams of your address are in use") as caught:
        admission.admit("a").take(2)
    assert caught.value.reason == "address"


# ---- measured limits


def measured(recognizer: OneAtATime) -> Admission:
    """An Admission that measured a recognizer which was asked one request at a time."""
    admission = Admission(clock=recognizer.clock)
    asyncio.run(one_by_one(TimedRecognizer(recognizer, admission.pace)))
    return admission


def test_capacity_is_the_decodes_of_one_round() -> None:
    """The slower the model, the fewer streams; at least one, and never more than memory holds. A limit that the
    operator set overrides the measurement.
    """
    assert measured(OneAtATime(0.19)).capacity == int(ROUND_S / 0.19)
    assert measured(OneAtATime(10.0)).capacity == 1
    assert measured(OneAtATime(1e-6)).capacity == CEILING
    assert Admission(limit=3).capacity == 3


def test_a_worker_that_is_not_measured_takes_few_streams() -> None:
    """Until the cost of a decode is known only ``UNMEASURED`` streams fit; then as many as the model can serve."""
    recognizer = OneAtATime(0.1)
    admission = Admission(clock=recognizer.clock)
    for _ in range(UNMEASURED):
        admission.admit("a")
    with pytest.raises(NoCapacity, match=f"^{UNMEASURED} of {UNMEASURED} streams are in use"):
        admission.admit("a")
    asyncio.run(one_by_one(TimedRecognizer(recognizer, admission.pace)))
    admission.admit("a")


def test_slow_answers_reject_streams_until_they_are_fast_again() -> None:
    """Whatever makes them slow. Old answers do not count, and while only one stream is open nothing is rejected."""
    recognizer = OneAtATime(SLOW_S * 0.6)
    admission = Admission(limit=10, clock=recognizer.clock)
    admission.admit("a")
    asyncio.run(transcribe_all(TimedRecognizer(recognizer, admission.pace), four_at_a_time))
    assert admission.rejection is None
    second = admission.admit("b")
    with pytest.raises(
        NoCapacity, match=r"^a decode takes [12]\.\d s .* with 2 open streams, expected up to"
    ) as caught:
        admission.admit("c")
    assert caught.value.reason == "slow"
    recognizer.now += MEMORY_S + 1
    assert admission.rejection is None
    second.release()
