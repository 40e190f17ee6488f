"""Which of the waiting requests go through the model next: pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from whisperlivekit.core.hypothesis import DecodeRequest

PATIENCE = 50
"""Requests that may come after a file's before it counts like a live one. At full load, with some six decodes a second,
a file is decoded every eight seconds or so: slow, but not for ever."""


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A request and its place in the order of arrival."""

    request: DecodeRequest
    arrival: int


def next_batch(waiting: Sequence[Waiting], max_batch: int) -> list[Waiting]:
    """Up to ``max_batch`` requests: live speech before files, then finals, then the oldest.

    The batch is of one kind, which the model decodes in one go: a batch of two kinds would take two, and nobody would
    have an answer before the end of both.

    No request starves. A session has at most one request waiting, so the finals that can pass a partial are bounded by
    the number of sessions; a file's request waits for up to ``PATIENCE`` others.
    """
    if not waiting:
        return []
    newest = max(entry.arrival for entry in waiting)

    def order(entry: Waiting) -> tuple[bool, bool, int]:
        overdue = newest - entry.arrival >= PATIENCE
        return not (entry.request.realtime or overdue), not (entry.request.final or overdue), entry.arrival

    ordered = sorted(waiting, key=order)
    first = _kind(ordered[0].request)
    return [entry for entry in ordered if _kind(entry.request) == first][:max_batch]


def _kind(request: DecodeRequest) -> tuple[object, ...]:
    """What requests of one batch have in common.

    Options of the model are shared by a batch, and prompts must be of one length, for which their letters have to do
    here. A file's windows are long: live speech must not wait for them.
    """
    earlier = len(request.prompt) + sum(map(len, request.hotwords))
    return request.realtime, request.final, request.language, earlier
