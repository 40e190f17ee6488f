"""Drives one session: commands in, events out, with speech detection and decoding in between."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.core.commands import Audio, Command, Flush, Start, Stop
from whisperlivekit.core.events import Event
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis
from whisperlivekit.core.session import Session, SessionConfig
from whisperlivekit.core.units import SAMPLE_RATE, WINDOW
from whisperlivekit.engine.api import Recognizer, SpeechDetector
from whisperlivekit.errors import DecodeFailed, WhisperLiveKitError

MAX_WAITING_S = 30
"""Speech that may wait for its first decode before ``receive`` makes the client wait: two of the longest windows, so
that the next decode never starves; 2 MB a session."""

JUDGED_AT_ONCE = 3 * WINDOW
"""Samples that the speech detector gets in one go. Between two calls others use the processor's caches, and filling
them costs more than judging one window: with single ones, detection took 0.04 CPU seconds a second of audio."""

PIECE = SAMPLE_RATE
"""Audio of one command is worked through in pieces of a second: a large message must not be a large step."""


class SessionRunner:
    """One stream, from ``Start`` to ``Done``.

    ``receive`` takes commands in order; ``events`` gives what happened, in order, and ends after ``Done``. A failure of
    the engine as a whole is raised by ``events``.
    """

    def __init__(self, recognizer: Recognizer, detector: SpeechDetector, config: SessionConfig, start: Start) -> None:
        self._recognizer = recognizer
        self._detector = detector
        self._session = Session(config, start)
        self._unjudged: list[NDArray[np.float32]] = []
        """Audio that the session has and the detector has not."""
        self._decoding: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()
        """Something changed: events wait, or audio was taken."""
        self._events: list[Event] = []
        self._failure: BaseException | None = None
        self._closed = False
        self._draining = False

    @property
    def received(self) -> int:
        """Samples received, counted from the beginning of the stream."""
        return self._session.received

    @property
    def language(self) -> str | None:
        """As asked or, once something was heard, as detected."""
        return self._session.language

    async def receive(self, command: Command) -> None:
        """Take a command. Returns when the session has room for the next one: that is the back-pressure."""
        match command:
            case Audio(samples):
                for begin in range(0, len(samples), PIECE):
                    piece = samples[begin : begin + PIECE]
                    self._session.receive_audio(piece)
                    self._unjudged.append(piece)
                    if sum(map(len, self._unjudged)) >= JUDGED_AT_ONCE:
                        await self._judge()
                    self._advance()
                    await self._wait_for_room()
            case Flush():
                await self._judge()
                self._session.receive_flush()
            case Stop():
                await self._judge()
                self._session.receive_stop()
            case Start():
                raise ValueError("a session starts once")
        self._advance()

    async def events(self) -> AsyncIterator[Event]:
        """Events in order, as they happen; ends after ``Done``, ``drain`` or ``close``.

        Raises:
            WhisperLiveKitError: the engine cannot serve this session any more; another exception is a fault in it.
        """
        while True:
            self._moved.clear()
            events, self._events = self._events, []
            for event in events:
                yield event
            if self._events:
                continue
            if self._failure:
                raise self._failure
            if self._session.finished or self._closed or (self._draining and self._decoding is None):
                return
            await self._moved.wait()

    @property
    def pending_events(self) -> int:
        """Events that nobody has taken yet: a reader that is too slow is seen here."""
        return len(self._events)

    async def drain(self) -> None:
        """Let the decode in flight commit what it can, then end ``events`` without ``Done``."""
        self._draining = True
        if self._decoding is not None:
            await asyncio.wait([self._decoding])
        self._moved.set()

    async def close(self) -> None:
        """Abandon the stream."""
        self._closed = True
        self._moved.set()
        if self._decoding is not None:
            self._decoding.cancel()
            await asyncio.wait([self._decoding])

    async def _judge(self) -> None:
        """Tell the session where there is speech in the audio that it got."""
        if self._unjudged:
            samples = np.concatenate(self._unjudged)
            self._unjudged = []
            self._session.receive_speech(await self._detector.feed(samples))

    async def _wait_for_room(self) -> None:
        while self._session.waiting > MAX_WAITING_S * SAMPLE_RATE and self._decoding is not None and not self._closed:
            await asyncio.wait([self._decoding])

    def _advance(self) -> None:
        """Collect events and start the decode that is due."""
        self._events.extend(self._session.events())
        if self._decoding is None and not self._closed and not self._draining and self._failure is None:
            request = self._session.next_decode()
            if request is not None:
                self._decoding = asyncio.create_task(self._decode(request))
                self._decoding.add_done_callback(self._end_decode)
        self._moved.set()

    def _end_decode(self, decoding: asyncio.Task[None]) -> None:
        """What nobody foresaw is for whoever reads the events: a stream must not hang in silence."""
        if not decoding.cancelled() and (error := decoding.exception()) is not None:
            self._failure = error
            self._moved.set()

    async def _decode(self, request: DecodeRequest) -> None:
        hypothesis: Hypothesis | None = None
        try:
            hypothesis = await self._recognizer.transcribe(request)
        except DecodeFailed:
            self._session.receive_failure(request.id)
        except WhisperLiveKitError as error:
            self._failure = error
        finally:
            self._decoding = None
        if hypothesis is not None:
            self._session.receive_hypothesis(hypothesis)
        self._advance()
