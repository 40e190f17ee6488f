"""Assembles the server: one FastAPI application per worker process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from whisperlivekit import __version__
from whisperlivekit.errors import WhisperLiveKitError
from whisperlivekit.server import (
    aeap,
    asr,
    deepgram,
    openai_realtime,
    ops,
    responses,
    rest,
    socket,
    telephony,
    vosk,
)
from whisperlivekit.server.middleware import KnownHosts, ResponseHeaders
from whisperlivekit.server.service import EngineFactory, Service
from whisperlivekit.settings.declarations import Settings

PAGE = Path(__file__).parents[1] / "web"
"""The page's files, which are part of the package."""


def create_app(settings: Settings, engine_factory: EngineFactory, *, page: Path | None = PAGE) -> FastAPI:
    """The application. It loads no model until its lifespan runs, so a master process may create it before forking.

    The model is loaded while the event loop runs: /live answers at once, /ready when the model is warm. If the model
    does not load, the state becomes FAILED and whoever runs the application ends the process (see ``worker.py``).
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

    # FastAPI's own documentation pages load scripts from other sites; /openapi.json stays.
    app = FastAPI(title="WhisperLiveKit", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    app.add_middleware(KnownHosts, guard=service.guard)
    app.add_middleware(ResponseHeaders)  # outermost: the other one needs the request's id
    app.add_exception_handler(WhisperLiveKitError, responses.handle_error)
    app.add_exception_handler(HTTPException, responses.handle_http_exception)
    app.add_exception_handler(Exception, responses.handle_unexpected)
    routers = (
        ops.router,
        rest.files,
        rest.models,
        socket.router,
        deepgram.router,
        openai_realtime.router,
        telephony.router,
        vosk.router,
        aeap.router,
        asr.router,
    )
    for router in routers:
        app.include_router(router)
    if page is not None:
        app.include_router(ops.pages)
        app.mount("/", ops.Page(page))
    return app
