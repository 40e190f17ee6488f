"""Deepgram's ``/v1/listen``: a stream over a WebSocket, or a file as the body of a POST."""

from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket

from whisperlivekit.errors import WhisperLiveKitError
from whisperlivekit.server.connection import Channel
from whisperlivekit.server.media import media_channel
from whisperlivekit.server.responses import error_headers
from whisperlivekit.server.socket import serve_socket
from whisperlivekit.wire.deepgram import SUBPROTOCOL, DeepgramAdapter, ends_stream, error_body, read_options

PROTOCOL = "deepgram"

REQUEST_ID = "dg-request-id"
ERROR = "dg-error"
"""Headers that Deepgram's clients log."""

router = APIRouter(tags=["streams"])


@router.websocket("/v1/listen")
async def listen(websocket: WebSocket) -> None:
    """A stream, with its options in the address."""

    def make_adapter() -> DeepgramAdapter:
        return DeepgramAdapter(read_options(websocket.query_params.multi_items()), _now())

    def wrap(adapter: DeepgramAdapter, channel: Channel) -> AbstractContextManager[Channel]:
        return media_channel(channel, ends_stream) if adapter.in_container else nullcontext(channel)

    await serve_socket(
        websocket,
        make_adapter,
        PROTOCOL,
        [SUBPROTOCOL],
        wrap=wrap,
        session_header=REQUEST_ID,
        reject=_error_response,
    )


def _error_response(error: WhisperLiveKitError, session: str) -> Response:
    """An error in the form that Deepgram's clients read."""
    headers = {REQUEST_ID: session, ERROR: error.message.encode("ascii", "replace").decode().replace("\n", " ")}
    return JSONResponse(
        error_body(error, session), status_code=error.http_status, headers=error_headers(error) | headers
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
