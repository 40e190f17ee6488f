"""How fast a recognizer answers real-time requests: what one decode costs, and how long an answer takes.

Two measurements are kept of the latest decodes. ``cost_s`` is the time for which the whole recognizer is busy for one
decode; waiting in a queue does not count. ``turnaround_s`` is the time from a request to its answer, waiting included.
Admission derives from them how many streams fit into this worker.
"""

import time
from collections import deque
from collections.abc import Callable

from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis
from whisperlivekit.engine.api import Recognizer

SAMPLE = 20
"""Decodes in one measurement."""

MEMORY_S = 10.0
"""Answers older than this no longer count in ``turnaround_s``."""


class Pace:
    """Measures a recognizer: every request goes through ``transcribe``."""

    def __init__(self, lanes: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        """lanes: how many requests the recognizer can work on at once. clock: seconds, never going back."""
        self._lanes = lanes
        self._clock = clock
        self._in_flight = 0
        self._changed = 0.0
        """The time of the last change of ``_in_flight``."""
        self._busy_s = 0.0
        """How long the recognizer has been busy. Time with half of its lanes busy counts half."""
        self._answers: deque[tuple[float, float, float]] = deque(maxlen=SAMPLE)
        """For each of the latest answers: when it came, how long it took, and ``_busy_s`` at that time."""
        self._cost_s: float | None = None

    @property
    def cost_s(self) -> float | None:
        """Seconds for which the whole recognizer is busy for one decode; None until it is measured."""
        return self._cost_s

    @property
    def turnaround_s(self) -> float:
        """Mean seconds from request to answer in the last ``MEMORY_S``; 0 if that were fewer than ``SAMPLE`` / 2."""
        since = self._clock() - MEMORY_S
        recent = [took for at, took, _ in self._answers if at >= since]
        return sum(recent) / len(recent) if len(recent) * 2 >= SAMPLE else 0.0

    async def transcribe(self, recognizer: Recognizer, request: DecodeRequest) -> Hypothesis:
        """The recognizer's answer. Only real-time requests are measured: files wait on purpose."""
        if not request.realtime:
            return await recognizer.transcribe(request)
        began = self._change(+1)
        try:
            return await recognizer.transcribe(request)
        finally:
            self._record(began, self._change(-1))

    def _change(self, by: int) -> float:
        now = self._clock()
        self._busy_s += (now - self._changed) * min(self._in_flight, self._lanes) / self._lanes
        self._changed = now
        self._in_flight += by
        return now

    def _record(self, began: float, now: float) -> None:
        self._answers.append((now, now - began, self._busy_s))
        first = self._answers[0][2]
        # Answers that came together with the first one, as those of one batch do, were computed before it came.
        later = [busy_s for _, _, busy_s in self._answers if busy_s > first]
        if later and len(self._answers) == SAMPLE:
            self._cost_s = (later[-1] - first) / len(later)


class TimedRecognizer:
    """A Recognizer whose requests are measured by a ``Pace``."""

    def __init__(self, recognizer: Recognizer, pace: Pace) -> None:
        self._recognizer = recognizer
        self._pace = pace

    async def transcribe(self, request: DecodeRequest) -> Hypothesis:
        """See ``Recognizer``."""
        return await self._pace.transcribe(self._recognizer, request)

    def replace(self, request: DecodeRequest, newer: DecodeRequest) -> bool:
        """See ``Recognizer``. The time counts from the first request."""
        return self._recognizer.replace(request, newer)
