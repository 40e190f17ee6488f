"""Endpoints for operators and browsers: /live, /ready, /metrics, and the web pages."""

import asyncio
from pathlib import Path
from typing import Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from whisperlivekit.errors import NoCapacity
from whisperlivekit.observe.metrics import CONTENT_TYPE
from whisperlivekit.server.auth import KEY_IS_OPTIONAL, KEY_SCHEMES
from whisperlivekit.server.responses import RETRY_AFTER_S, ErrorResponse
from whisperlivekit.server.service import ServiceDependency, new_session_id

STATUS_PAGE = Path(__file__).parents[1] / "web" / "status.html"


def require_metrics_key(request: Request, service: ServiceDependency) -> None:
    """Dependency: rejects a request for the metrics without a key, where keys are set."""
    service.guard.check_metrics_key(request)


Status = Literal["loading", "ready", "full", "failed", "draining"]
"""The states of a worker (``service.State``), and ready split by whether there is room."""


class Readiness(BaseModel):
    """Whether this worker would take a new stream."""

    status: Status
    streams: int = Field(ge=0, description="streams and files that are being served")
    message: str | None = Field(None, description="why no stream would be taken")


class Page(StaticFiles):
    """The files of ``web/``."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder, html=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            # The page is mounted at "/", so WebSockets to unknown paths arrive here.
            body = ErrorResponse(
                code="not_found",
                message=f"there is no WebSocket at {scope['path'][:100]}, expected /ws",
                session=new_session_id(),
            )
            response = JSONResponse(body.model_dump(), status_code=404)
            await WebSocket(scope, receive, send).send_denial_response(response)
            return
        await super().__call__(scope, receive, send)


router = APIRouter(tags=["operations"])

_ERROR_SCHEMA = f"#/components/schemas/{ErrorResponse.__name__}"


@router.get("/live", response_class=PlainTextResponse)
@router.head("/live", include_in_schema=False)
async def live() -> str:
    """The process runs and its event loop turns. Says nothing about the model."""
    return "live\n"


@router.get(
    "/ready",
    response_model_exclude_none=True,
    responses={503: {"model": Readiness, "description": "A new stream would be rejected; message says why"}},
)
@router.head("/ready", include_in_schema=False)
async def ready(service: ServiceDependency, response: Response) -> Readiness:
    """Whether a new stream would be taken: 200, or 503 with loading, failed, draining or full and the reason."""
    response.headers["cache-control"] = "no-store"
    unavailable = service.unavailable()
    if unavailable is None:
        return Readiness(status="ready", streams=service.streams)
    response.status_code = 503
    response.headers["retry-after"] = str(RETRY_AFTER_S)
    status = "full" if isinstance(unavailable, NoCapacity) else service.state.value
    return Readiness(status=status, streams=service.streams, message=unavailable.message)


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    # Written by hand, because with "model" FastAPI would give errors this route's own media type.
    responses={
        status: {"description": text, "content": {"application/json": {"schema": {"$ref": _ERROR_SCHEMA}}}}
        for status, text in {401: "No key, or a wrong one", 421: "The server does not answer to this host name"}.items()
    },
    dependencies=[*KEY_SCHEMES, Depends(require_metrics_key)],
    openapi_extra=KEY_IS_OPTIONAL,
)
@router.head("/metrics", include_in_schema=False, dependencies=[Depends(require_metrics_key)])
async def metrics(service: ServiceDependency) -> Response:
    """The counts of all workers in Prometheus' text format. They contain nothing that anybody said."""
    # In a thread: it reads the files of every worker and asks the GPUs.
    exposition = await asyncio.to_thread(service.metrics.exposition)
    return Response(exposition, media_type=CONTENT_TYPE, headers={"cache-control": "no-store"})


pages = APIRouter(include_in_schema=False)


@pages.get("/status", response_class=FileResponse)
@pages.head("/status")
async def status() -> str:
    """The page that shows people what /metrics tells programs. It holds no numbers itself."""
    return str(STATUS_PAGE)
