"""Who may open a stream: counts the live ones of a worker and refuses before it would make everybody slow.

A session has one decode in flight at most, so what a worker holds follows from two measurements: how long one of the
model's lanes is busy for a decode, and how long a decode takes from its request to its answer, waiting included. From
the first comes the number of sessions whose decodes take all lanes ``ROUND_S`` together, as if all of them spoke at
once; the second says that the box is full whatever the reason is.
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis
from whisperlivekit.engine.api import Recognizer
from whisperlivekit.errors import NoCapacity

CEILING = 256
"""Streams of one worker where no limit is set: a bound for memory, far above what one model serves."""

LATE_S = 5.0
"""A live stream this far behind its speaker is late. Partial results come within a second where the model keeps up."""

ROUND_S = 0.8
"""One decode for each session, over all lanes, may take this long. docs/operations.md has the measurement."""

SLOW_S = 1.2
"""A decode's mean time from request to answer that says that the worker is full."""

UNMEASURED = 4
"""Streams of a worker that has not served enough yet to know what it holds."""

SAMPLE = 20
"""Decodes that make a measurement."""

MEMORY_S = 10.0
"""How long the answers that a measurement is made of are remembered."""


@dataclass(slots=True, eq=False)
class Ticket:
    """The right to one stream; ``leave`` gives it back."""

    admission: "Admission"
    address: str
    realtime: bool = True
    """False: a file."""
    lag_s: float = 0.0
    """How far the committed text is behind the speaker. Its holder keeps it up to date while audio comes as it is
    spoken: a file that is sent in one go is behind by nature."""

    def leave(self) -> None:
        """The stream is over. Harmless when called again."""
        self.admission.forget(self)


class Pace:
    """How fast a recognizer answers live speech: what it is asked is passed on and timed."""

    def __init__(self, lanes: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        """lanes: what the recognizer can do at once."""
        self._lanes = lanes
        self._clock = clock
        self._in_flight = 0
        self._changed = 0.0
        """When ``_in_flight`` last did."""
        self._busy_s = 0.0
        """How long the recognizer has been busy; with half of its lanes, half as long."""
        self._answers: deque[tuple[float, float, float]] = deque(maxlen=SAMPLE)
        """When, how long it took, and ``_busy_s`` by then."""
        self._cost_s: float | None = None

    @property
    def cost_s(self) -> float | None:
        """How long the whole recognizer is busy for one decode; None: too few were seen."""
        return self._cost_s

    @property
    def turnaround_s(self) -> float:
        """The mean time to an answer lately; 0 where there were too few."""
        since = self._clock() - MEMORY_S
        recent = [took for at, took, _ in self._answers if at >= since]
        return sum(recent) / len(recent) if len(recent) * 2 >= SAMPLE else 0.0

    async def time(self, recognizer: Recognizer, request: DecodeRequest) -> Hypothesis:
        """The recognizer's answer."""
        if not request.realtime:
            return await recognizer.transcribe(request)
        began = self._change(+1)
        try:
            return await recognizer.transcribe(request)
        finally:
            self._note(began, self._change(-1))

    def _change(self, by: int) -> float:
        now = self._clock()
        self._busy_s += (now - self._changed) * min(self._in_flight, self._lanes) / self._lanes
        self._changed = now
        self._in_flight += by
        return now

    def _note(self, began: float, now: float) -> None:
        self._answers.append((now, now - began, self._busy_s))
        first = self._answers[0][2]
        later = [busy_s for _, _, busy_s in self._answers if busy_s > first]
        # Answers that came with the first one, as those of a batch do, were paid for before it.
        if later and len(self._answers) == SAMPLE:
            self._cost_s = (later[-1] - first) / len(later)


class Timed:
    """A Recognizer whose pace is measured."""

    def __init__(self, recognizer: Recognizer, pace: Pace) -> None:
        self._recognizer = recognizer
        self._pace = pace

    async def transcribe(self, request: DecodeRequest) -> Hypothesis:
        """See ``Recognizer``."""
        return await self._pace.time(self._recognizer, request)


class Admission:
    """The streams of one worker."""

    def __init__(
        self, limit: int = 0, per_address: int = 0, lanes: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """limit, per_address: streams at once. 0: no limit but what is measured. lanes: of the model."""
        self._limit = limit
        self._per_address = per_address
        self._tickets: set[Ticket] = set()
        self._addresses: Counter[str] = Counter()
        self.pace = Pace(lanes, clock)

    @property
    def open_streams(self) -> int:
        """Streams and files that are open."""
        return len(self._tickets)

    @property
    def capacity(self) -> int:
        """Streams that fit: what the operator said, or what was measured."""
        if self._limit:
            return self._limit
        if self.pace.cost_s is None:
            return UNMEASURED
        return max(1, min(CEILING, int(ROUND_S / max(self.pace.cost_s, ROUND_S / CEILING))))

    @property
    def refusal(self) -> NoCapacity | None:
        """Why nobody would be let in now, or None."""
        # Files give way to speech, but each of them holds memory: they count like everybody.
        if self.open_streams >= self.capacity:
            return _refusal("full", f"{self.open_streams} streams are live, this server takes {self.capacity}")
        speakers = [ticket for ticket in self._tickets if ticket.realtime]
        if len(speakers) >= 2 and self.pace.turnaround_s > SLOW_S:
            took = f"text takes {self.pace.turnaround_s:.1f} s to be recognised"
            return _refusal("slow", f"{took}, {len(speakers)} streams are live")
        late = sum(ticket.lag_s > LATE_S for ticket in speakers)
        # One late stream may be its own fault (a burst after a bad network); half of them are not.
        if late >= 2 and late * 2 >= len(speakers):
            return _refusal("late", f"{late} of {len(speakers)} live streams are more than {LATE_S:.0f} s late")
        return None

    def enter(self, address: str, *, realtime: bool = True) -> Ticket:
        """Let one stream in; ``realtime`` is False for a file.

        Raises:
            NoCapacity: the worker is full, or this address has all it may have.
        """
        if refusal := self.refusal:
            raise refusal
        if self._per_address and self._addresses[address] >= self._per_address:
            of_address = f"{self._addresses[address]} streams of your address are live"
            raise NoCapacity(f"{of_address}, this server takes {self._per_address}", "address")
        ticket = Ticket(self, address, realtime)
        self._tickets.add(ticket)
        self._addresses[address] += 1
        return ticket

    def forget(self, ticket: Ticket) -> None:
        """Count a stream no more."""
        if ticket not in self._tickets:
            return
        self._tickets.remove(ticket)
        self._addresses[ticket.address] -= 1
        if not self._addresses[ticket.address]:
            del self._addresses[ticket.address]


def _refusal(reason: str, found: str) -> NoCapacity:
    return NoCapacity(f"{found}; try again later", reason)
