"""The state of one worker process: its engine, its streams, and whether it takes more of them."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Protocol

from fastapi import Depends
from starlette.requests import HTTPConnection

from whisperlivekit import __version__
from whisperlivekit.core.commands import Start
from whisperlivekit.core.file_session import FileSession
from whisperlivekit.core.session import Session
from whisperlivekit.engine.api import EngineObserver, Recognizer, SpeechDetector, check_task
from whisperlivekit.errors import ModelUnavailable, ShuttingDown, WhisperLiveKitError
from whisperlivekit.observe import systemd
from whisperlivekit.observe.metrics import Metrics
from whisperlivekit.server.auth import Guard, own_names
from whisperlivekit.server.upload import Uploads
from whisperlivekit.session.admission import Admission, Ticket
from whisperlivekit.session.multichannel import MultichannelRunner, Runner
from whisperlivekit.session.pace import TimedRecognizer
from whisperlivekit.session.runner import SessionRunner
from whisperlivekit.settings.configs import file_config, session_config
from whisperlivekit.settings.declarations import Settings
from whisperlivekit.settings.machine import lanes_per_worker, resolved_compute_type, resolved_device, worker_count

log = logging.getLogger(__name__)


class ServedEngine(Recognizer, Protocol):
    """A Recognizer with a life cycle: created before the event loop runs, loaded in it, closed at the end."""

    failed: bool
    """The model cannot serve any more; the process should be replaced."""

    translates: bool
    """The model can translate into English; known once it is loaded."""

    observer: EngineObserver | None
    """Counts what the engine does; to be set before ``load``."""

    async def load(self) -> None:
        """Loads and warms the model.

        Raises:
            WhisperLiveKitError: the model does not load; the message says why.
        """
        ...

    def detector(self) -> SpeechDetector:
        """A speech detector for a new session."""
        ...

    def close(self) -> None:
        """Stops the engine; may block."""
        ...


EngineFactory = Callable[[int], ServedEngine]
"""Creates the engine of the worker with this number (0, 1, ...); must not load anything yet."""


class Drained(Protocol):
    """A stream that can be asked to end soon."""

    def drain(self, within_s: float) -> None:
        """The worker waits for so long."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits of a session."""

    idle_s: float
    """Longest time without audio."""
    session_s: float
    """Longest session; also the longest audio of a file."""
    first_message_s: float = 10.0
    """Longest time from the connection to the start of its stream."""
    send_s: float = 20.0
    """Longest time to send one message: the client does not read, and every buffer on the way is full."""


class State(Enum):
    """LOADING -> READY -> DRAINING; LOADING | READY -> FAILED -> DRAINING."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    DRAINING = "draining"


class Service:
    """The state of one worker process."""

    def __init__(self, settings: Settings, engine_factory: EngineFactory) -> None:
        self.settings = settings
        self.session_config = session_config(settings)
        self.file_config = file_config(settings)
        self.guard = Guard(
            keys=settings.api_key_list,
            origins=settings.allowed_origin_list,
            hosts=own_names() | {name.lower() for name in (settings.host, *settings.allowed_host_list)},
            metrics_networks=settings.metrics_network_list,
        )
        self.admission = Admission(settings.max_sessions, settings.max_sessions_per_address, lanes_per_worker(settings))
        self.limits = Limits(settings.idle_timeout, settings.max_session_hours * 3600)
        self.metrics = Metrics()
        self.uploads = Uploads()
        self.model_since = _changed_s(settings.model_path)
        """When the model's folder was changed last, in seconds since 1970; 0 if there is none."""
        self.worker = 0
        """This process's number among the workers; set after the fork."""
        self.served = 0
        """Streams and files admitted since the start."""
        self.was_ready = False
        self.warm_within_s = 0.0
        """How long to wait for the model before the first connection is accepted."""
        self._make_engine = engine_factory
        self._engine: ServedEngine | None = None
        self._state = State.LOADING
        self._failure = ""
        self._streams: set[Drained] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    # ---- the engine

    async def load(self) -> None:
        """Load the model; afterwards the state is READY or FAILED."""
        try:
            self.metrics.describe(
                version=__version__,
                model=self.settings.model,
                device=resolved_device(self.settings),
                compute_type=resolved_compute_type(self.settings),
                workers=worker_count(self.settings),
            )
            self._engine = self._make_engine(self.worker)
            self._engine.observer = self.metrics
            await self._engine.load()
        except WhisperLiveKitError as error:
            self._fail(error.message)
        except Exception as error:  # the start-up edge: an engine's libraries raise anything
            log.exception("the model did not load")
            self._fail(f"the model did not load: {type(error).__name__}: {error}")
        else:
            if self._state is State.LOADING:
                self._state = State.READY
                self.was_ready = True
                self.metrics.serves(lanes_per_worker(self.settings))
                systemd.notify("READY=1\nSTATUS=the model is loaded")
                log.info("ready", extra={"model": self.settings.model, "worker": self.worker})

    def _fail(self, reason: str) -> None:
        log.critical("this worker cannot serve: %s", reason)
        self._failure = reason
        if self._state is not State.DRAINING:
            self._state = State.FAILED
        self.metrics.serves(0)

    @property
    def state(self) -> State:
        """The current state. Looks at the engine too, which may have failed in the meantime."""
        if self._state is State.READY and self._engine is not None and self._engine.failed:
            self._fail("the model failed while serving")
        return self._state

    @property
    def failure(self) -> str:
        """Why the model cannot serve; empty if it can or is still loading."""
        return self._failure

    def unavailable(self) -> WhisperLiveKitError | None:
        """Why any new stream would be rejected; None if it would be admitted."""
        match self.state:
            case State.LOADING:
                return ModelUnavailable("the model is loading; try again in a few seconds")
            case State.FAILED:
                return ModelUnavailable("the model cannot serve; the reason is in the server's log")
            case State.DRAINING:
                return ShuttingDown("this worker is shutting down; connect again")
            case State.READY:
                return self.admission.rejection

    # ---- streams

    def admit(self, address: str, *, realtime: bool = True, places: int = 1) -> Ticket:
        """Admit one stream, or a file, which is not real-time. ``places``: one for each channel.

        Raises:
            NoCapacity: the worker is full.
            ModelUnavailable: the model does not serve, or not yet.
            ShuttingDown: the worker is shutting down.
        """
        unavailable = self.unavailable()
        if unavailable is not None:
            raise unavailable
        ticket = self.admission.admit(address, realtime=realtime, places=places)
        self.served += 1
        return ticket

    def start_session(self, start: Start) -> Runner:
        """A new session on this worker's engine: of a stream, or of a file, which is not real-time.

        Raises:
            UnsupportedFormat: it asks for a translation, and the model cannot translate.
        """
        if self._engine is None:
            raise ModelUnavailable("the model is not loaded")
        engine = self._engine
        check_task(start.task, self.settings.model, translates=engine.translates)
        timed = TimedRecognizer(engine, self.admission.pace)

        def run(start: Start, moved: asyncio.Event | None = None) -> SessionRunner:
            session = Session(self.session_config, start) if start.realtime else FileSession(self.file_config, start)
            return SessionRunner(timed, engine.detector(), session, moved)

        return run(start) if start.channels == 1 else MultichannelRunner(start, run)

    @contextmanager
    def track(self, stream: Drained) -> Iterator[None]:
        """Inside this context the stream is counted, and asked to end when the worker drains."""
        self._streams.add(stream)
        self._empty.clear()
        self.metrics.sessions.inc()
        try:
            yield
        finally:
            self._streams.discard(stream)
            self.metrics.sessions.dec()
            if not self._streams:
                self._empty.set()

    @property
    def streams(self) -> int:
        """Streams and files that are being served."""
        return len(self._streams)

    async def drain(self, limit_s: float) -> None:
        """Admit nothing new, ask every stream to end, and wait until they have, up to ``limit_s``."""
        self._state = State.DRAINING
        self.metrics.serves(0)
        self.uploads.drain()
        for stream in list(self._streams):
            stream.drain(limit_s)
        if self._streams:
            log.info("draining", extra={"streams": len(self._streams)})
        try:
            async with asyncio.timeout(limit_s):
                await self._empty.wait()
        except TimeoutError:
            log.warning("streams did not end in time", extra={"streams": len(self._streams), "limit_s": limit_s})

    async def close(self) -> None:
        """Stop the engine."""
        if self._engine is not None:
            # In a thread: it waits for the decode in flight.
            await asyncio.to_thread(self._engine.close)


def _changed_s(path: Path) -> int:
    try:
        return int(path.stat().st_mtime)
    except OSError:
        return 0


def new_session_id() -> str:
    """Short enough to be read aloud, too long to be guessed."""
    return secrets.token_hex(8)


def get_service(connection: HTTPConnection) -> Service:
    """Dependency of an endpoint: this worker's service."""
    service: Service = connection.app.state.service
    return service


ServiceDependency = Annotated[Service, Depends(get_service)]
