"""The WebSockets of Vosk's protocol. Its clients are configured with a host and a port, so they connect to "/"."""

from fastapi import APIRouter
from starlette.websockets import WebSocket

from whisperlivekit.server.socket import serve_socket
from whisperlivekit.wire.vosk import VoskAdapter

SUBPROTOCOLS = ("ws",)
"""What Asterisk's res_speech_vosk offers."""

router = APIRouter(tags=["streams"])


@router.websocket("/vosk")
@router.websocket("/")
async def vosk_stream(websocket: WebSocket) -> None:
    """A stream in the protocol of Vosk's server, see docs/clients.md."""
    await serve_socket(websocket, lambda: VoskAdapter(websocket.query_params), "vosk", SUBPROTOCOLS)
