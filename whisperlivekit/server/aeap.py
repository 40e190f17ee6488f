"""The WebSocket to which Asterisk's res_speech_aeap connects."""

from fastapi import APIRouter
from starlette.websockets import WebSocket

from whisperlivekit.server.socket import serve_socket
from whisperlivekit.wire.aeap import AeapAdapter

SUBPROTOCOLS = ("speech_to_text",)

router = APIRouter(tags=["streams"])


@router.websocket("/aeap")
async def aeap_stream(websocket: WebSocket) -> None:
    """A stream in Asterisk's External Application Protocol, see docs/clients.md."""
    await serve_socket(websocket, lambda: AeapAdapter(websocket.query_params), "aeap", SUBPROTOCOLS)
