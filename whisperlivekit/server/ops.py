"""What operators and browsers ask over HTTP: /live, /ready, /metrics, and the page."""

import asyncio
import logging
from http import HTTPStatus
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from whisperlivekit.errors import NoCapacity, ServerFault
from whisperlivekit.observe.logs import session_context
from whisperlivekit.observe.metrics import CONTENT_TYPE
from whisperlivekit.server.openapi import SCHEMA
from whisperlivekit.server.service import Service, new_session_id
from whisperlivekit.server.socket import RETRY_AFTER_S

STATUS_PAGE = Path(__file__).parents[1] / "web" / "status.html"

log = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"
"""Header of every answer: what to quote in a report, and what to look for in the log."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)

SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self), display-capture=(self), camera=(), geolocation=()",
}


async def live(_: Request) -> Response:
    """The process runs and its event loop turns: nothing about the model."""
    return PlainTextResponse("live\n")


async def ready(request: Request) -> Response:
    """200 where a new stream would be taken; else 503 with loading, failed, draining or full, and the reason."""
    service: Service = request.app.state.service
    unavailable = service.unavailable()
    answer: dict[str, str | int] = {"status": service.state.value, "streams": service.streams}
    if unavailable is None:
        return JSONResponse(answer, headers={"cache-control": "no-store"})
    if isinstance(unavailable, NoCapacity):
        answer["status"] = "full"
    answer["message"] = unavailable.message
    headers = {"cache-control": "no-store", "retry-after": str(RETRY_AFTER_S)}
    return JSONResponse(answer, status_code=503, headers=headers)


async def metrics(request: Request) -> Response:
    """Every worker's numbers in Prometheus' format: counts only, nothing that anybody said."""
    service: Service = request.app.state.service
    # Off the loop: it reads every worker's file and asks the GPUs.
    exposition = await asyncio.to_thread(service.metrics.exposition)
    return Response(exposition, media_type=CONTENT_TYPE, headers={"cache-control": "no-store"})


async def status(request: Request) -> Response:
    """The page that tells a person what /metrics tells a program."""
    del request
    return FileResponse(STATUS_PAGE)


async def schema(_: Request) -> Response:
    """OpenAPI, for tools that make clients and tests."""
    return JSONResponse(SCHEMA)


class Page(StaticFiles):
    """The files of ``web/``."""

    def __init__(self, folder: Path) -> None:
        super().__init__(directory=folder, html=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            # The page is what is left of all addresses: a WebSocket to a wrong one ends here.
            message = {
                "code": "not_found",
                "message": f"there is no WebSocket at {scope['path'][:100]}, try /ws",
                "session": new_session_id(),
            }
            await WebSocket(scope, receive, send).send_denial_response(JSONResponse(message, status_code=404))
            return
        await super().__call__(scope, receive, send)


async def refuse(request: Request, error: Exception) -> Response:
    """Answers for what no endpoint answers: unknown addresses, wrong methods."""
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    body = {"code": code, "message": str(error.detail).lower(), "session": request.scope.get("session", "")}
    return JSONResponse(body, status_code=error.status_code, headers=error.headers)


async def confess(request: Request, error: Exception) -> Response:
    """Answers where an endpoint failed: never with what it failed of, which is in the log."""
    session: str = request.scope.get("session", "")
    with session_context(session):
        log.error("a request failed", exc_info=error)
    message = "something failed in the server; its operator finds the reason in the log"
    body = {"code": ServerFault.code, "message": message, "session": session}
    return JSONResponse(
        body, status_code=HTTPStatus.INTERNAL_SERVER_ERROR, headers={REQUEST_ID: session, **SECURITY_HEADERS}
    )


class EveryAnswer:
    """Adds the headers that keep a browser from doing more than the page needs, and the id of the request.

    The id is ``scope["session"]``: for a file it is its session's id, and in every error's body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        session = scope["session"] = new_session_id()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault(REQUEST_ID, session)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                # A page of yesterday must not talk to the server of today: ask, and get 304 where nothing changed.
                headers.setdefault("cache-control", "no-cache")
            await send(message)

        with session_context(session):
            await self._app(scope, receive, send_with_headers)
