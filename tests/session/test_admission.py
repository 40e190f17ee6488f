"""Who may open a stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.errors import NoCapacity
from whisperlivekit.session.admission import CEILING, LATE_S, Admission, Ticket


def test_a_full_worker_refuses_and_a_leaver_makes_room() -> None:
    """The limit holds, says its numbers, and is given back."""
    admission = Admission(limit=2)
    first = admission.enter("a")
    admission.enter("b")
    with pytest.raises(NoCapacity, match="2 streams are live, this server takes 2; try again later"):
        admission.enter("c")
    first.leave()
    assert admission.refusal is None
    admission.enter("c")


def test_one_address_cannot_take_everything() -> None:
    """The limit of an address refuses that address only."""
    admission = Admission(limit=10, per_address=1)
    ticket = admission.enter("a")
    with pytest.raises(NoCapacity, match="1 streams of your address are live, this server takes 1"):
        admission.enter("a")
    admission.enter("b")
    ticket.leave()
    admission.enter("a")


def test_without_a_limit_there_is_still_a_ceiling() -> None:
    """0 is not unlimited memory."""
    admission = Admission()
    for number in range(CEILING):
        admission.enter(str(number))
    with pytest.raises(NoCapacity):
        admission.enter("one more")


def test_a_worker_that_is_late_takes_no_more() -> None:
    """When half of the streams are late, a new one would make it worse; one alone may have itself to blame."""
    admission = Admission()
    tickets = [admission.enter("a") for _ in range(4)]
    tickets[0].lag_s = LATE_S + 1
    assert admission.refusal is None
    tickets[1].lag_s = LATE_S + 1
    with pytest.raises(NoCapacity, match="2 of 4 live streams are more than 5 s late; try again later"):
        admission.enter("a")
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
        assert admission.live == len(inside)
    for ticket in inside:
        ticket.leave()
    assert admission.live == 0
