"""Who may open a stream: counts the live ones of a worker and refuses before it would make everybody slow."""

from collections import Counter
from dataclasses import dataclass

from whisperlivekit.errors import NoCapacity

CEILING = 256
"""Streams of one worker where no limit is set: a bound for memory, far above what one model serves."""

LATE_S = 5.0
"""A live stream this far behind its speaker is late. Partial results come within a second where the model keeps up."""


@dataclass(slots=True, eq=False)
class Ticket:
    """The right to one stream; ``leave`` gives it back."""

    admission: "Admission"
    address: str
    lag_s: float = 0.0
    """How far the committed text is behind the speaker. Its holder keeps it up to date while audio comes as it is
    spoken: a file that is sent in one go is behind by nature."""

    def leave(self) -> None:
        """The stream is over. Harmless when called again."""
        self.admission.forget(self)


class Admission:
    """The live streams of one worker."""

    def __init__(self, limit: int = 0, per_address: int = 0) -> None:
        """limit, per_address: streams at once. 0: no limit but what is measured."""
        self._limit = limit or CEILING
        self._per_address = per_address
        self._tickets: set[Ticket] = set()
        self._addresses: Counter[str] = Counter()

    @property
    def live(self) -> int:
        """Streams that are open."""
        return len(self._tickets)

    @property
    def refusal(self) -> str | None:
        """Why nobody would be let in now, or None."""
        if self.live >= self._limit:
            return f"{self.live} streams are live, this server takes {self._limit}"
        late = sum(ticket.lag_s > LATE_S for ticket in self._tickets)
        # One late stream may be its own fault (a burst after a bad network); half of them are not.
        if late >= 2 and late * 2 >= self.live:
            return f"{late} of {self.live} live streams are more than {LATE_S:.0f} s late"
        return None

    def enter(self, address: str) -> Ticket:
        """Let one stream in.

        Raises:
            NoCapacity: the worker is full, or this address has all it may have.
        """
        if refusal := self.refusal:
            raise NoCapacity(f"{refusal}; try again later")
        if self._per_address and self._addresses[address] >= self._per_address:
            raise NoCapacity(
                f"{self._addresses[address]} streams of your address are live, this server takes {self._per_address}"
            )
        ticket = Ticket(self, address)
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
