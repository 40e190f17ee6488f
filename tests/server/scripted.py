"""The real application on a real socket, with a scripted engine: everything but the model and Gunicorn."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import uvicorn
from websockets.sync.client import ClientConnection, connect

from whisperlivekit.engine.scripted import ScriptedEngine
from whisperlivekit.server.app import create_app
from whisperlivekit.server.service import ServedEngine, Service
from whisperlivekit.server.worker import SpeechWorker
from whisperlivekit.settings.declarations import Settings

LOUD = (np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000) * 8_000).astype("<i2").tobytes()
"""A second of what the scripted engine takes for speech."""

QUIET = bytes(32_000)
"""A second of silence."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    port: int
    service: Service
    uvicorn: uvicorn.Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    def connect(self, **options: Any) -> ClientConnection:
        socket: ClientConnection = connect(self.ws_url, compression=None, max_size=None, **options)
        return socket

    def check_alive(self) -> None:
        """A stream works: what every test of bad input ends with."""
        assert self.transcript() == "раз два три"

    def transcript(self) -> str:
        """The committed text of 1.2 s of loud audio."""
        with self.connect() as socket:
            socket.send('{"type":"start"}')
            socket.send((LOUD * 2)[: int(1.2 * 32_000)])
            socket.send('{"type":"stop"}')
            events = [json.loads(message) for message in socket]
        assert socket.close_code == 1000, events
        return "".join(event["text"] for event in events if event["type"] == "committed").strip()

    def wait_until(self, what: str, condition: Any, within_s: float = 5.0) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, what
            time.sleep(0.01)


@contextmanager
def scripted_server(engine: ServedEngine | None = None, *, wait: bool = True, **settings: Any) -> Iterator[Server]:
    """Serves on a free port, in a thread, with the worker's own transport and limits."""
    app = create_app(Settings(model="base", **settings), lambda _: ScriptedEngine() if engine is None else engine)
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_config=None, **{**SpeechWorker.CONFIG_KWARGS, "timeout_graceful_shutdown": 1}
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    service: Service = app.state.service
    deadline = time.monotonic() + 10
    while not server.started or (wait and service.unavailable() is not None):
        assert time.monotonic() < deadline, "the server does not start"
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Server(port, service, server)
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive(), "the server does not stop"


def told(socket: ClientConnection) -> list[dict[str, Any]]:
    """All events up to the close frame."""
    return [json.loads(message) for message in socket]


@contextmanager
def limits(server: Server, **shorter: float) -> Iterator[None]:
    """Shorter times for one test."""
    usual = server.service.limits
    server.service.limits = replace(usual, **shorter)
    yield
    server.service.limits = usual
