"""Chooses which waiting requests form the next batch. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass

from whisperlivekit.core.hypothesis import DecodeRequest

PATIENCE = 50
"""Later requests that may be served before a file's request; after that it counts like a live one. At full load, with
about six decodes a second, a file gets a decode every eight seconds or so: slow, but it does not starve."""


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A request and its place in the order of arrival."""

    request: DecodeRequest
    arrival: int


def may_share_batch(one: DecodeRequest, other: DecodeRequest) -> bool:
    """Whether the model can decode both with one call.

    CTranslate2 takes one beam width and one prompt length for a whole batch. Language and prompt text make up the
    prompt, and equal texts have equally many tokens, so no text has to be tokenised to know this. A request whose
    language must be detected is decoded alone.
    """
    return one.language is not None and _shared_options(one) == _shared_options(other)


def next_batch(waiting: Sequence[Waiting], max_batch: int) -> list[Waiting]:
    """Up to ``max_batch`` requests that share a batch: live speech before files, then finals, then the oldest.

    No request starves. A session has at most one request waiting, so the number of finals that can overtake a partial
    is bounded by the number of sessions. A file's request is overtaken by at most ``PATIENCE`` later requests.
    """
    if not waiting:
        return []
    newest = max(entry.arrival for entry in waiting)

    def order(entry: Waiting) -> tuple[bool, bool, int]:
        overdue = newest - entry.arrival >= PATIENCE
        return not (entry.request.realtime or overdue), not (entry.request.final or overdue), entry.arrival

    first, *others = sorted(waiting, key=order)
    return [first, *(entry for entry in others if _belong_together(first.request, entry.request))][:max_batch]


def _belong_together(one: DecodeRequest, other: DecodeRequest) -> bool:
    """Whether the requests share a batch and lose nothing by it.

    The windows of files are long, and live speech must not wait for them. Forced text is read in one pass only when
    every request of the batch has some.
    """
    return may_share_batch(one, other) and one.realtime == other.realtime and _has_forced(one) == _has_forced(other)


def _shared_options(request: DecodeRequest) -> tuple[object, ...]:
    return request.final, request.language, request.prompt


def _has_forced(request: DecodeRequest) -> bool:
    return bool(request.context_text or request.prefix)
