"""A Recognizer on a clock of its own, for the tests of what is measured."""

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np

from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis
from whisperlivekit.session.pace import SAMPLE, TimedRecognizer


class OneAtATime:
    """Works on one decode at a time, each of which takes ``seconds`` on ``clock``."""

    def __init__(self, seconds: float) -> None:
        self.now = 0.0
        self.seconds = seconds
        self.error: Exception | None = None
        self._thread = asyncio.Lock()

    def clock(self) -> float:
        return self.now

    async def transcribe(self, request: DecodeRequest) -> Hypothesis:
        async with self._thread:
            await asyncio.sleep(0)
            self.now += self.seconds
        if self.error:
            raise self.error
        return Hypothesis(request.id, ())

    def replace(self, request: DecodeRequest, newer: DecodeRequest) -> bool:
        return False


def request(*, realtime: bool = True) -> DecodeRequest:
    return DecodeRequest(1, np.zeros(0, np.float32), 0, "ru", realtime=realtime)


async def transcribe_all(timed: TimedRecognizer, ask: Callable[[TimedRecognizer], Awaitable[object]]) -> None:
    """Enough requests for a measurement, made by ``ask``."""
    for _ in range(SAMPLE + 5):
        await ask(timed)


async def one_by_one(timed: TimedRecognizer) -> None:
    """Requests that do not wait for each other."""
    await transcribe_all(timed, lambda timed: timed.transcribe(request()))


async def four_at_a_time(timed: TimedRecognizer) -> None:
    """Four requests at the same moment: three of them wait."""
    await asyncio.gather(*(timed.transcribe(request()) for _ in range(4)))
