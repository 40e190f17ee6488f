"""The Gunicorn worker: uvicorn's, plus what long streams need.

- It sends heartbeats while it starts and drains, too.
- It drains its streams before their sockets close: each client is told, and gets the text of the audio it has sent.
- It is replaced after a number of streams, and only when it serves none; health checks and pages do not count.
- One of its sockets may be for Wyoming, which is not HTTP.
- A model that cannot load stops the whole server at its start. A model that fails later ends this worker only.
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
from whisperlivekit.server.wyoming import WyomingServer
from whisperlivekit.wire.adapter import MAX_MESSAGE_BYTES

log = logging.getLogger(__name__)

HEARTBEAT_S = 1.0

SUCCESSOR_CHECK_S = 0.2

RELOADED = "reloaded"
"""A file in the metrics folder; gunicorn_conf.py touches it when all workers are about to be replaced."""

DRAIN_SHARE = 0.6
"""Share of the graceful timeout for draining. In the rest, uvicorn and the engine end before Gunicorn kills them."""

RESPAWN_PAUSE_S = 5.0
"""A replacement that cannot load its model is tried again after this time, while the other workers continue."""

WARM_WITHIN_S = 15.0
"""A replacement leaves all connections to its siblings until its model is warm, but no longer than this."""

SUCCESSOR_WITHIN_S = 20.0
"""When all workers are replaced (HUP), an old one continues until a new one is warm, but no longer than this."""

OVERDUE = 2
"""A worker that is never idle is replaced at this multiple of its streams; its clients resume on another worker."""


class DrainingServer(Server):
    """uvicorn's server. It asks the worker when to exit, and drains first."""

    def __init__(self, worker: "SpeechWorker", service: Service) -> None:
        super().__init__(worker.config)
        self._worker = worker
        self._service = service
        self._wyoming = WyomingServer(service)

    async def on_tick(self, counter: int) -> bool:
        """Whether to exit; called ten times a second."""
        return await super().on_tick(counter) or self._worker.should_exit(self._service)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen: the first workers at once, so that /live answers; a replacement when it is warm.

        All workers take connections from one queue. If a replacement took them while it loads, it would reject clients
        that a sibling could serve, among them those that resume because the previous worker has ended.
        """
        if self._worker.replaces_another:
            self._service.warm_within_s = WARM_WITHIN_S
        wyoming_port = self._service.settings.wyoming_port
        wyoming = [listening for listening in sockets or [] if listening.getsockname()[1] == wyoming_port]
        await super().startup([listening for listening in sockets or [] if listening not in wyoming])
        await self._wyoming.listen(wyoming)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, drain, then close what is left. If all workers are replaced, wait for a warm one first."""
        await self._wait_for_successor()
        for server in self.servers:
            server.close()
        await self._wyoming.close()
        await self._service.drain(self._worker.drain_limit_s)
        await super().shutdown(sockets)

    async def _wait_for_successor(self) -> None:
        deadline = time.monotonic() + SUCCESSOR_WITHIN_S
        while self._worker.is_succeeded(self._service) and time.monotonic() < deadline:
            # The old workers are ready too, so one more than configured is a new one.
            if await asyncio.to_thread(self._service.metrics.ready_workers) > int(self._worker.cfg.workers):
                return
            await asyncio.sleep(SUCCESSOR_CHECK_S)


class SpeechWorker(UvicornWorker):  # type: ignore[misc]  # has no types
    """See the module."""

    CONFIG_KWARGS: dict[str, Any] = {  # noqa: RUF012  (uvicorn-worker's own form)
        "loop": "asyncio",
        "http": HttpTransport,
        "ws": WebSocketTransport,
        # Above the protocol's limit, so that a message a little too big gets an error message, not only a close code.
        "ws_max_size": 2 * MAX_MESSAGE_BYTES,
        "ws_ping_interval": 20.0,
        "ws_ping_timeout": 20.0,
        # Audio hardly compresses, and every connection would need memory for a compressor.
        "ws_per_message_deflate": False,
        "lifespan": "on",
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": 3,
        # uvicorn's limit counts HTTP responses only, and would end open streams: see should_exit.
        "limit_max_requests": None,
    }

    slot = 0
    """This worker's number among the workers; gunicorn_conf.py sets it before the fork."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._made = time.time()
        # The base class gives uvicorn's loggers the handlers of Gunicorn's logger. It has none: ours are at the root.
        for name in ("uvicorn.error", "uvicorn.access"):
            logger = logging.getLogger(name)
            logger.propagate = True
            logger.setLevel(logging.WARNING)

    @property
    def drain_limit_s(self) -> float:
        """Time limit for draining."""
        return float(self.cfg.graceful_timeout) * DRAIN_SHARE

    @property
    def replaces_another(self) -> bool:
        """Not one of the first workers, and not alone: it has siblings, or its predecessor still serves."""
        siblings = int(self.cfg.workers) > 1 or self._reloaded_between(self._made - SUCCESSOR_WITHIN_S, self._made)
        return siblings and int(self.age) > int(self.cfg.workers)

    def is_succeeded(self, service: Service) -> bool:
        """It exits because all workers are being replaced, and could still serve."""
        now = time.time()
        return service.state is State.READY and self._reloaded_between(max(self._made, now - SUCCESSOR_WITHIN_S), now)

    def _reloaded_between(self, begin: float, end: float) -> bool:
        """Whether the replacement of all workers was requested in this period (Unix time)."""
        marker = Path(os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")) / RELOADED
        try:
            return begin < marker.stat().st_mtime <= end
        except OSError:
            return False

    def should_exit(self, service: Service) -> bool:
        """The model has failed, or the worker has served its number of streams and serves none now."""
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
        """One of the first workers, still starting: what stops it would stop the others too."""
        return not service.was_ready and int(self.age) <= int(self.cfg.workers)

    async def _watch_certificate(self) -> None:
        """Load a renewed certificate. A restart would end every stream."""
        if not self.cfg.is_ssl:
            return
        await asyncio.sleep(HEARTBEAT_S)
        context = self.config.ssl  # created when uvicorn began to serve
        assert context is not None
        files = CertificateFiles(context, Path(self.config.ssl_certfile), Path(self.config.ssl_keyfile))
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            files.refresh()

    async def _beat(self) -> None:
        # On the event loop on purpose: if the loop hangs, Gunicorn must notice.
        while True:
            self.notify()
            await asyncio.sleep(HEARTBEAT_S)
