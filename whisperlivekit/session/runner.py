"""Runs one session on the event loop: commands in, events out, speech detection and decoding in between."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.core.commands import Audio, Command, Configure, Flush, Start, Stop
from whisperlivekit.core.events import Event
from whisperlivekit.core.file_session import FileSession
from whisperlivekit.core.hypothesis import DecodeRequest
from whisperlivekit.core.session import Session
from whisperlivekit.core.units import SAMPLE_RATE, WINDOW
from whisperlivekit.engine.api import Recognizer, SpeechDetector
from whisperlivekit.errors import DecodeFailed, WhisperLiveKitError

MAX_WAITING_S = 30
"""Seconds of speech that may wait for their first decode; with more, ``receive`` makes the client wait. Two of the
longest live windows, or one paragraph of a file and a bit, so that the next decode always has enough audio; 2 MB per
stream, 4 MB per file."""

DETECTOR_BATCH = 3 * WINDOW
"""Samples that the speech detector gets in one call. Between two calls other work fills the processor's caches, and
loading them again costs more than one window does: with single windows, detection took 0.04 CPU seconds per second of
audio."""

REFINE_AFTER_STOP_S = 60.0
"""How long a client that has stopped waits for its last paragraphs where live speech keeps the recognizer busy."""

PIECE = SAMPLE_RATE
"""Samples of one command that are processed at once (1 s): between two pieces other sessions get their turn."""


class SessionRunner:
    """One stream or file, from ``Start`` to ``Done``.

    ``receive`` takes commands in order. ``events`` yields events in order and ends after ``Done``. If the engine as a
    whole fails, ``events`` raises the error.
    """

    def __init__(self, recognizer: Recognizer, detector: SpeechDetector, session: Session | FileSession) -> None:
        """session: a new one, which has received nothing."""
        self._recognizer = recognizer
        self._detector = detector
        self._session = session
        self._undetected: list[NDArray[np.float32]] = []
        """Audio that the session has received and the detector has not."""
        self._decoding: dict[asyncio.Task[None], DecodeRequest] = {}
        """The decodes in flight: as many as the session asks for."""
        self._moved = asyncio.Event()
        """Something changed that ``events`` must look at."""
        self._events: list[Event] = []
        self._failure: BaseException | None = None
        self._giving_up: asyncio.TimerHandle | None = None
        """Ends the wait for refined paragraphs, once the client has stopped."""
        self._closed = False
        self._draining = False

    @property
    def received(self) -> int:
        """Samples received, counted from the beginning of the stream."""
        return self._session.received

    @property
    def language(self) -> str | None:
        """The language that was asked for or, after the first decode, the one that was detected."""
        return self._session.language

    @property
    def paused(self) -> bool:
        """Nobody speaks, and ``events`` has yielded all text of what was said. Never so for a file."""
        settled = isinstance(self._session, Session) and self._session.paused
        return settled and not self._events and not self._decoding

    async def receive(self, command: Command) -> None:
        """Take a command. Returns when the session has room for the next one: this is the back-pressure."""
        match command:
            case Audio(samples):
                for begin in range(0, len(samples), PIECE):
                    piece = samples[begin : begin + PIECE]
                    self._session.receive_audio(piece)
                    self._undetected.append(piece)
                    if sum(map(len, self._undetected)) >= DETECTOR_BATCH:
                        await self._detect()
                    self._advance()
                    await self._wait_for_room()
            case Configure() | Flush():
                if isinstance(self._session, FileSession):
                    raise TypeError(f"found {type(command).__name__} for a file, expected Audio or Stop")
                await self._detect()
                if isinstance(command, Flush):
                    self._session.receive_flush()
                else:
                    self._session.receive_configure(command)
            case Stop():
                await self._detect()
                self._session.receive_stop()
                if self._giving_up is None:
                    self._giving_up = asyncio.get_running_loop().call_later(REFINE_AFTER_STOP_S, self._give_up)
            case Start():
                raise ValueError("found a second Start, expected Audio, Flush or Stop")
        self._advance()

    async def events(self) -> AsyncIterator[Event]:
        """Events in order, as they happen. Ends after ``Done``, ``drain`` or ``close``.

        Raises:
            WhisperLiveKitError: the engine cannot serve this session any more. Any other exception is a fault in the
                engine.
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
            if self._session.finished or self._closed or (self._draining and not self._decoding):
                return
            await self._moved.wait()

    @property
    def pending_events(self) -> int:
        """Number of events that ``events`` has not yielded yet: it grows if the reader is too slow."""
        return len(self._events)

    async def drain(self) -> None:
        """Wait for the live decode in flight, whose words are still told, then end ``events`` without ``Done``. Other
        decodes may wait long for their turn: they are abandoned, and the resumed stream asks for them again.
        """
        self._draining = True
        for decoding, request in self._decoding.items():
            if not request.realtime:
                decoding.cancel()
        if self._decoding:
            await asyncio.wait(self._decoding)
        self._moved.set()

    async def close(self) -> None:
        """Abandon the stream: cancel the decodes in flight and end ``events``. Calling it twice has no effect."""
        self._closed = True
        self._moved.set()
        if self._giving_up is not None:
            self._giving_up.cancel()
        for decoding in self._decoding:
            decoding.cancel()
        if self._decoding:
            await asyncio.wait(self._decoding)

    def _give_up(self) -> None:
        if isinstance(self._session, Session) and not self._closed:
            self._session.give_up_refinement()
            self._advance()

    async def _detect(self) -> None:
        """Find the speech in the audio that the session has received."""
        if self._undetected:
            samples = np.concatenate(self._undetected)
            self._undetected = []
            self._session.receive_speech(await self._detector.feed(samples))

    async def _wait_for_room(self) -> None:
        while self._session.waiting > MAX_WAITING_S * SAMPLE_RATE and self._decoding and not self._closed:
            await asyncio.wait(self._decoding, return_when=asyncio.FIRST_COMPLETED)

    def _advance(self) -> None:
        """Collect events, and start the decodes that are due."""
        self._events.extend(self._session.events())
        while not (self._closed or self._draining or self._failure) and (request := self._session.next_decode()):
            decoding = asyncio.create_task(self._decode(request))
            self._decoding[decoding] = request
            decoding.add_done_callback(self._end_decode)
        self._renew()
        self._moved.set()

    def _renew(self) -> None:
        """A live decode that waits for its turn takes the newest audio."""
        if not isinstance(self._session, Session) or (newer := self._session.newer_decode()) is None:
            return
        for decoding, request in self._decoding.items():
            if request.id == newer.id and self._recognizer.replace(request, newer):
                self._decoding[decoding] = newer
                self._session.renew(newer)
                return

    def _end_decode(self, decoding: asyncio.Task[None]) -> None:
        """An unexpected exception is raised by ``events``: otherwise the stream would wait for ever."""
        del self._decoding[decoding]
        if not decoding.cancelled() and (error := decoding.exception()) is not None:
            self._failure = error
        self._moved.set()

    async def _decode(self, request: DecodeRequest) -> None:
        try:
            hypothesis = await self._recognizer.transcribe(request)
        except DecodeFailed:
            self._session.receive_failure(request.id)
        except WhisperLiveKitError as error:
            self._failure = error
        else:
            self._session.receive_hypothesis(hypothesis)
        self._advance()
