"""Which of the waiting requests go through the model next: pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from whisperlivekit.core.hypothesis import DecodeRequest


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A request and its place in the order of arrival."""

    request: DecodeRequest
    arrival: int
    since_s: float = 0.0
    """When it arrived, on the monotonic clock."""


def next_batch(waiting: Sequence[Waiting], max_batch: int) -> list[Waiting]:
    """Up to ``max_batch`` requests: finals first, then the oldest.

    No request starves: a session has at most one request waiting, so the finals that can pass a partial are bounded by
    the number of sessions.
    """
    return sorted(waiting, key=lambda entry: (not entry.request.final, entry.arrival))[:max_batch]
