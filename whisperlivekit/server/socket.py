"""WebSockets of every protocol: rejected before they are accepted (host, origin, key, capacity), or served by a
``Connection``.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.responses import Response as HttpResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from whisperlivekit.errors import WhisperLiveKitError
from whisperlivekit.observe.logs import session_context
from whisperlivekit.server.accounting import StreamAccount
from whisperlivekit.server.auth import KEY_IS_OPTIONAL, KEY_SCHEMES, client_address
from whisperlivekit.server.connection import Channel, Connection, Disconnected
from whisperlivekit.server.responses import ErrorResponse, error_response
from whisperlivekit.server.service import Service, ServiceDependency, new_session_id
from whisperlivekit.wire.adapter import Adapter, Message
from whisperlivekit.wire.native import NativeAdapter

log = logging.getLogger(__name__)


class _WebSocketChannel:
    """A Channel over ASGI."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def receive(self) -> Message:
        message = await self._websocket.receive()
        if message["type"] != "websocket.receive":
            raise Disconnected
        data: bytes | None = message.get("bytes")
        text: str | None = message.get("text")
        return data if data is not None else text or ""

    async def send(self, message: Message) -> None:
        try:
            if isinstance(message, str):
                await self._websocket.send_text(message)
            else:
                await self._websocket.send_bytes(message)
        except (WebSocketDisconnect, OSError, RuntimeError) as error:
            # Starlette raises RuntimeError when something is sent after the close.
            raise Disconnected from error

    async def close(self, code: int, reason: str) -> None:
        try:
            await self._websocket.close(code, reason)
        except (WebSocketDisconnect, OSError, RuntimeError) as error:
            raise Disconnected from error


AnyAdapter = TypeVar("AnyAdapter", bound=Adapter)


def _as_it_is(adapter: Adapter, channel: Channel) -> AbstractContextManager[Channel]:  # noqa: ARG001
    return nullcontext(channel)


async def serve_socket(
    websocket: WebSocket,
    make_adapter: Callable[[], AnyAdapter],
    protocol: str,
    subprotocols: Sequence[str] = (),
    *,
    wrap: Callable[[AnyAdapter, Channel], AbstractContextManager[Channel]] = _as_it_is,
    session_header: str = "",
    reject: Callable[[WhisperLiveKitError, str], HttpResponse] = error_response,
) -> None:
    """Serve one WebSocket of any protocol, or reject it with an HTTP status before it is accepted.

    make_adapter: may raise a ClientError, if the address has wrong options. protocol: the metrics' name. subprotocols:
    those that clients of this protocol offer and may be answered with. wrap: what comes between the socket and the
    adapter. session_header: a header of the handshake's answer that names the session. reject: makes the answer to a
    rejected handshake.
    """
    service: Service = websocket.app.state.service
    address = client_address(websocket)
    try:
        with service.metrics.counted_rejection():
            subprotocol = service.guard.check(websocket)
            adapter = make_adapter()
            ticket = service.admit(address)
    except WhisperLiveKitError as error:
        session = new_session_id()
        with session_context(session):
            log.info("session rejected", extra={"code": error.code, "address": address})
        await websocket.send_denial_response(reject(error, session))
        return
    offered = websocket.scope.get("subprotocols", ())
    subprotocol = subprotocol or next((name for name in offered if name in subprotocols), None)
    account = StreamAccount(service.metrics, ticket, protocol)
    with wrap(adapter, _WebSocketChannel(websocket)) as channel:
        connection = Connection(channel, adapter, service, ticket, account)
        headers = [(session_header.encode(), connection.session.encode())] if session_header else []
        try:
            await websocket.accept(subprotocol, headers)
        except BaseException:
            ticket.release()
            account.close("disconnected")
            raise
        await connection.run()


router = APIRouter(tags=["streams"])


@router.websocket("/ws")
async def native_stream(websocket: WebSocket) -> None:
    """A stream in the protocol of docs/protocol.md."""
    await serve_socket(websocket, NativeAdapter, "native")


class UpgradeRequired(BaseModel):
    """A WebSocket from here would be accepted."""

    message: str = "this is a WebSocket, see docs/protocol.md"


@router.get(
    "/ws",
    dependencies=KEY_SCHEMES,
    openapi_extra=KEY_IS_OPTIONAL,
    status_code=426,
    responses={
        426: {"model": UpgradeRequired, "description": "A WebSocket would be accepted"},
        401: {"model": ErrorResponse, "description": "No key, or a wrong one"},
        403: {"model": ErrorResponse, "description": "A web page of another site asked"},
        421: {"model": ErrorResponse, "description": "The server does not answer to this host name"},
        503: {"model": ErrorResponse, "description": "The server is full, loading or draining; Retry-After says when"},
    },
)
async def check_stream(request: Request, response: Response, service: ServiceDependency) -> UpgradeRequired:
    """Why a WebSocket from here would be rejected. Browsers do not show that to a page, which asks here instead."""
    service.guard.check(request)
    if unavailable := service.unavailable():
        raise unavailable
    service.admission.admit(client_address(request)).release()
    response.headers["upgrade"] = "websocket"
    return UpgradeRequired()
