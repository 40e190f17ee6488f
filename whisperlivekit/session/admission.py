"""Decides whether a worker takes another stream: it rejects one before every stream would become slow.

A stream has at most one decode in flight, so two measurements (see ``session/pace.py``) give a worker's capacity. The
cost of one decode gives the number of streams whose decodes together keep the model busy for ``ROUND_S``, as if all of
them had somebody speaking at once. The turnaround shows that the worker is full for any other reason.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from whisperlivekit.errors import NoCapacity
from whisperlivekit.session.pace import Pace

CEILING = 256
"""The most streams of one worker where no limit is set: it bounds memory and is far above what one model serves."""

LATE_S = 5.0
"""A real-time stream is late if its committed text is this far behind the speaker. Where the model keeps up, partial
results come within a second."""

ROUND_S = 0.8
"""The longest time that one decode of every stream may take, over all lanes. docs/operations.md has the measurement."""

SLOW_S = 1.2
"""Mean time from request to answer above which the worker counts as full."""

UNMEASURED = 4
"""Capacity until enough decodes have been measured."""


@dataclass(slots=True, eq=False)
class Ticket:
    """The right to one stream, until it is released."""

    admission: "Admission"
    address: str
    realtime: bool = True
    """False: a file."""
    lag_s: float = 0.0
    """How far the committed text is behind the speaker. The holder of the ticket updates it while audio arrives as it
    is spoken; audio that is sent faster than that is behind by nature."""
    places: int = 1
    """How many streams it counts as: one for each channel."""

    def take(self, places: int) -> None:
        """Count as so many streams from now on.

        Raises:
            NoCapacity: the worker is full, or this address has as many streams as one address may have.
        """
        self.admission.resize(self, places)

    def release(self) -> None:
        """The stream has ended. Calling it twice has no effect."""
        self.admission.release(self)


class Admission:
    """The streams of one worker."""

    def __init__(
        self, limit: int = 0, per_address: int = 0, lanes: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """limit: streams at once; 0: as many as the measurements allow. per_address: streams of one address at once;
        0: no limit. lanes: how many decodes the model can work on at once.
        """
        self._limit = limit
        self._per_address = per_address
        self._tickets: set[Ticket] = set()
        self._addresses: Counter[str] = Counter()
        self.pace = Pace(lanes, clock)

    @property
    def open_streams(self) -> int:
        """Streams and files that are open; those of several channels count once for each."""
        return sum(ticket.places for ticket in self._tickets)

    @property
    def capacity(self) -> int:
        """How many streams fit: the operator's limit, or what the measurements allow."""
        if self._limit:
            return self._limit
        if self.pace.cost_s is None:
            return UNMEASURED
        return max(1, min(CEILING, int(ROUND_S / max(self.pace.cost_s, ROUND_S / CEILING))))

    @property
    def rejection(self) -> NoCapacity | None:
        """The error that any new stream would get now; None if there is room."""
        if full := self._lack(1):
            return full
        realtime = [ticket for ticket in self._tickets if ticket.realtime]
        if len(realtime) >= 2 and self.pace.turnaround_s > SLOW_S:
            took = f"a decode takes {self.pace.turnaround_s:.1f} s from request to answer"
            return _no_capacity("slow", f"{took} with {len(realtime)} open streams, expected up to {SLOW_S} s")
        late = sum(ticket.lag_s > LATE_S for ticket in realtime)
        # A single stream can be late by its own fault (a burst after a bad network), but not half of all streams.
        if late >= 2 and late * 2 >= len(realtime):
            return _no_capacity("late", f"{late} of {len(realtime)} streams are more than {LATE_S:.0f} s late")
        return None

    def admit(self, address: str, *, realtime: bool = True, places: int = 1) -> Ticket:
        """Take one stream from ``address``; ``realtime`` is False for a file. ``places``: see ``Ticket``.

        Raises:
            NoCapacity: the worker is full, or this address has as many streams as one address may have.
        """
        if rejection := self.rejection:
            raise rejection
        if lack := self._lack(places) or self._lack_of_address(address, places):
            raise lack
        ticket = Ticket(self, address, realtime, places=places)
        self._tickets.add(ticket)
        self._addresses[address] += places
        return ticket

    def resize(self, ticket: Ticket, places: int) -> None:
        """See ``Ticket.take``."""
        more = places - ticket.places
        if more > 0 and (lack := self._lack(more) or self._lack_of_address(ticket.address, more)):
            raise lack
        ticket.places = places
        self._addresses[ticket.address] += more

    def _lack(self, places: int) -> NoCapacity | None:
        """The error where so many more streams do not fit."""
        # Files give way to real-time streams, but each of them holds memory, so they count here.
        if self.open_streams + places <= self.capacity:
            return None
        return _no_capacity("full", f"{self.open_streams} of {self.capacity} streams are in use{_wanted(places)}")

    def _lack_of_address(self, address: str, places: int) -> NoCapacity | None:
        """The error where one address may not have so many more streams."""
        if not self._per_address or self._addresses[address] + places <= self._per_address:
            return None
        found = f"{self._addresses[address]} of {self._per_address} streams of your address are in use{_wanted(places)}"
        return _no_capacity("address", found)

    def release(self, ticket: Ticket) -> None:
        """The stream of ``ticket`` no longer counts. Calling it twice has no effect."""
        if ticket not in self._tickets:
            return
        self._tickets.remove(ticket)
        self._addresses[ticket.address] -= ticket.places
        if not self._addresses[ticket.address]:
            del self._addresses[ticket.address]


def _wanted(places: int) -> str:
    return f", and {places} more were asked for" if places > 1 else ""


def _no_capacity(reason: str, found: str) -> NoCapacity:
    return NoCapacity(f"{found}; try again later", reason)
