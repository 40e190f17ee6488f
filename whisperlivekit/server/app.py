"""Puts the server together: one FastAPI application per worker process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.websockets import WebSocket

from whisperlivekit.server import ops, rest
from whisperlivekit.server.service import EngineFactory, Service
from whisperlivekit.server.socket import explain_socket, serve_socket
from whisperlivekit.settings.declarations import Settings
from whisperlivekit.wire.native import NativeAdapter

PAGE = Path(__file__).parents[1] / "web"
"""The page's files, which are part of the package."""


def create_app(settings: Settings, engine_factory: EngineFactory, *, page: Path | None = PAGE) -> FastAPI:
    """The application. It holds no model until its lifespan runs, so a master process may make it before it forks.

    The model is loaded while the event loop turns: /live answers at once, /ready when it is warm. A model that does not
    load leaves the state FAILED; whoever runs the application ends the process (see ``worker.py``).
    """
    service = Service(settings, engine_factory)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(service.load())
        if service.warm_within_s:
            await asyncio.wait((loading,), timeout=service.warm_within_s)
        try:
            yield
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            await service.close()

    # FastAPI's own documentation pages load scripts from elsewhere.
    app = FastAPI(title="WhisperLiveKit", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.service = service
    app.add_middleware(ops.EveryAnswer)
    app.add_exception_handler(HTTPException, ops.refuse)
    app.add_exception_handler(Exception, ops.confess)
    app.add_route("/live", ops.live)
    app.add_route("/ready", ops.ready)
    app.add_route("/metrics", ops.metrics)
    app.add_route("/openapi.json", ops.schema)
    app.add_route("/v1/audio/transcriptions", rest.transcriptions, methods=["POST"])
    app.add_api_websocket_route("/ws", _native)
    app.add_route("/ws", explain_socket)
    if page is not None:
        app.add_route("/status", ops.status)
        app.mount("/", ops.Page(page))
    return app


async def _native(websocket: WebSocket) -> None:
    await serve_socket(websocket, NativeAdapter, "native")
