"""Chooses which waiting requests form the next batch. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass

from whisperlivekit.core.hypothesis import DecodeRequest

FINAL_FIRST_S = 0.6
"""A request that is final goes before those that came so much earlier: somebody has finished and waits for the text. At
full load the others would wait too long if finals always went first."""

PATIENCE = 200
"""Live requests that may be served while files wait; then one of a file goes first. At full load, with six to ten
decodes a second, one paragraph of a file is decoded every 20 to 30 s: slow, but files do not starve."""

LIVE_S = 30.0
"""How long after the last live request lanes are kept free for the next one. Whoever listens for a while in a
conversation is answered at once when speaking again."""


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A request and when it came."""

    request: DecodeRequest
    since_s: float
    """On the monotonic clock."""


def may_share_batch(one: DecodeRequest, other: DecodeRequest) -> bool:
    """Whether the model can decode both with one call.

    CTranslate2 takes one beam width and one prompt length for a whole batch. The width follows from ``final`` and
    ``beams``. Language, task and prompt text make up the prompt, and equal texts have equally many tokens, so no text
    has to be tokenised to know this. A request whose language must be detected is decoded alone.
    """
    return one.language is not None and _shared_options(one) == _shared_options(other)


def room_for_files(lanes: int, busy: int, live_s: float, overtaken: int) -> bool:
    """Whether a free lane may decode a file's request.

    That takes one or two seconds on a CPU, for which live requests may have to wait. So while people speak, files leave
    half of the lanes to them, and begin only where there is little to do. With one lane, a live request may wait for
    one decode of a file.

    Args:
        lanes: of the engine.
        busy: lanes that decode now, without the free one.
        live_s: seconds since the last live request came.
        overtaken: see ``next_batch``.
    """
    return live_s >= LIVE_S or busy < lanes / 2 or overtaken >= PATIENCE


def next_batch(waiting: Sequence[Waiting], max_batch: int, overtaken: int = 0) -> list[Waiting]:
    """Up to ``max_batch`` requests that share a batch: live speech before files, then the oldest, and finals as if they
    had come ``FINAL_FIRST_S`` earlier.

    ``overtaken``: live requests that were served since a file was, while files were waiting.

    No request starves: at most ``PATIENCE`` live requests are served between two of files.
    """
    if not waiting:
        return []

    files_first = overtaken >= PATIENCE

    def order(entry: Waiting) -> tuple[bool, float]:
        first_s = entry.since_s - FINAL_FIRST_S * entry.request.final
        return entry.request.realtime == files_first, first_s

    first, *others = sorted(waiting, key=order)
    return [first, *(entry for entry in others if _belong_together(first.request, entry.request))][:max_batch]


def _belong_together(one: DecodeRequest, other: DecodeRequest) -> bool:
    """Whether the requests share a batch and lose nothing by it.

    The windows of files are long, and live speech must not wait for them. Forced text is read in one pass only when
    every request of the batch has some.
    """
    return may_share_batch(one, other) and one.realtime == other.realtime and _has_forced(one) == _has_forced(other)


def _shared_options(request: DecodeRequest) -> tuple[object, ...]:
    return request.final, request.beams, request.language, request.task, request.prompt


def _has_forced(request: DecodeRequest) -> bool:
    return bool(request.context_text or request.prefix)
