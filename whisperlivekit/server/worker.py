"""The Gunicorn worker: uvicorn's, plus what live streams need.

- It gives signs of life also while it starts and drains.
- It drains its streams before their sockets close: each is told, and what was heard is told.
- It is replaced after a number of streams, and only when nobody is on it: health checks and pages do not count.
- A model that cannot load ends the start of the whole server; one that fails later ends this worker only.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from gunicorn.arbiter import Arbiter
from uvicorn.server import Server
from uvicorn_worker import UvicornWorker

from whisperlivekit.server.certificate import LOOK_EVERY_S, CertificateFiles
from whisperlivekit.server.service import Service, State
from whisperlivekit.server.transport import HttpTransport, WebSocketTransport
from whisperlivekit.wire.adapter import MAX_MESSAGE_BYTES

log = logging.getLogger(__name__)

HEARTBEAT_S = 1.0

SUCCESSOR_CHECK_S = 0.2

RELOADED = "reloaded"
"""A file in the folder of the metrics; gunicorn_conf.py touches it when all workers are about to be replaced."""

DRAIN_SHARE = 0.6
"""Of the graceful timeout; the rest is for uvicorn and the engine to end before Gunicorn kills."""

RESPAWN_PAUSE_S = 5.0
"""A replacement that cannot load its model is tried again after this, while the other workers go on."""

WARM_WITHIN_S = 15.0
"""A replacement lets its siblings take all connections until its model is warm, but it answers /live after this."""

SUCCESSOR_WITHIN_S = 20.0
"""When all workers are replaced (HUP), an old one serves on until a new one is warm, but no longer than this."""

OVERDUE = 2
"""A worker that is never idle is replaced at this multiple of its streams; its clients resume elsewhere."""


class DrainingServer(Server):
    """uvicorn's server; it asks the worker when to leave and drains first."""

    def __init__(self, worker: "SpeechWorker", service: Service) -> None:
        super().__init__(worker.config)
        self._worker = worker
        self._service = service

    async def on_tick(self, counter: int) -> bool:
        """Whether to leave; asked ten times a second."""
        return await super().on_tick(counter) or self._worker.should_leave(self._service)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen: the first workers at once, so that /live answers; a replacement when it is warm.

        All workers take connections from one queue. A replacement that took them while it loads would refuse clients
        that a sibling could serve, and that resume just now because the worker before it is gone.
        """
        if self._worker.replaces_another:
            self._service.warm_within_s = WARM_WITHIN_S
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, drain, then close what is left. Where all workers are replaced: when there is another one."""
        await self._wait_for_successor()
        for server in self.servers:
            server.close()
        await self._service.drain(self._worker.drain_limit_s)
        await super().shutdown(sockets)

    async def _wait_for_successor(self) -> None:
        deadline = time.monotonic() + SUCCESSOR_WITHIN_S
        while self._worker.is_succeeded(self._service) and time.monotonic() < deadline:
            # The old ones are ready too: one more than there should be is a new one.
            if await asyncio.to_thread(self._service.metrics.ready_workers) > int(self._worker.cfg.workers):
                return
            await asyncio.sleep(SUCCESSOR_CHECK_S)


class SpeechWorker(UvicornWorker):  # type: ignore[misc]  # has no types
    """See the module."""

    CONFIG_KWARGS: dict[str, Any] = {  # noqa: RUF012  (uvicorn-worker's own form)
        "loop": "asyncio",
        "http": HttpTransport,
        "ws": WebSocketTransport,
        # Above our own limit, so that what is a little too big gets our error and not just a close code.
        "ws_max_size": 2 * MAX_MESSAGE_BYTES,
        "ws_ping_interval": 20.0,
        "ws_ping_timeout": 20.0,
        # Audio does not shrink, and every connection would hold a compressor.
        "ws_per_message_deflate": False,
        "lifespan": "on",
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": 3,
        # uvicorn's counts HTTP responses only, and recycles under live streams: see should_leave.
        "limit_max_requests": None,
    }

    slot = 0
    """This worker's number among its siblings; gunicorn_conf.py sets it before the fork."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._made = time.time()
        # The base class gives uvicorn's loggers Gunicorn's handlers, of which there are none: ours are at the root.
        for name in ("uvicorn.error", "uvicorn.access"):
            logger = logging.getLogger(name)
            logger.propagate = True
            logger.setLevel(logging.WARNING)

    @property
    def drain_limit_s(self) -> float:
        """How long streams may take to end."""
        return float(self.cfg.graceful_timeout) * DRAIN_SHARE

    @property
    def replaces_another(self) -> bool:
        """It was not there from the start, and is not alone: it has siblings, or the one before it still serves."""
        siblings = int(self.cfg.workers) > 1 or self._reloaded_between(self._made - SUCCESSOR_WITHIN_S, self._made)
        return siblings and int(self.age) > int(self.cfg.workers)

    def is_succeeded(self, service: Service) -> bool:
        """It leaves because all workers are being replaced, and could serve on."""
        now = time.time()
        return service.state is State.READY and self._reloaded_between(max(self._made, now - SUCCESSOR_WITHIN_S), now)

    def _reloaded_between(self, begin: float, end: float) -> bool:
        """All workers were told to be replaced in this time."""
        marker = Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")) / RELOADED
        try:
            return begin < marker.stat().st_mtime <= end
        except OSError:
            return False

    def should_leave(self, service: Service) -> bool:
        """The model is dead, or the worker has served enough and nobody is on it."""
        if service.state is State.FAILED:
            return True
        if service.served < self.max_requests:
            return False
        if service.streams and service.served < OVERDUE * self.max_requests:
            return False
        log.info("replacing this worker", extra={"served": service.served})
        return True

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        service: Service = self.wsgi.state.service
        service.worker = self.slot
        server = DrainingServer(self, service)
        tasks = [asyncio.create_task(self._beat()), asyncio.create_task(self._watch_certificate())]

        def quit_now() -> None:
            server.should_exit = True

        # The base class only sets a flag that uvicorn does not read.
        asyncio.get_running_loop().add_signal_handler(signal.SIGQUIT, quit_now)
        try:
            await server.serve(sockets=self.sockets)
            if service.failure and not self._starts_with_the_server(service):
                await asyncio.sleep(RESPAWN_PAUSE_S)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if not server.started or (service.failure and self._starts_with_the_server(service)):
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
        if service.failure:
            sys.exit(1)

    def _starts_with_the_server(self, service: Service) -> bool:
        """One of the first workers, in its start: what stops it would stop the others too."""
        return not service.was_ready and int(self.age) <= int(self.cfg.workers)

    async def _watch_certificate(self) -> None:
        """Take a renewed certificate without a restart, which would end every stream."""
        if not self.cfg.is_ssl:
            return
        await asyncio.sleep(HEARTBEAT_S)
        context = self.config.ssl  # made when uvicorn began to serve
        assert context is not None
        files = CertificateFiles(context, Path(self.config.ssl_certfile), Path(self.config.ssl_keyfile))
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            files.refresh()

    async def _beat(self) -> None:
        # On the event loop on purpose: a loop that hangs must not look alive.
        while True:
            self.notify()
            await asyncio.sleep(HEARTBEAT_S)
