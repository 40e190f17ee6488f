"""The ``/asr`` socket of WhisperLiveKit 0.2."""

from fastapi import APIRouter
from starlette.websockets import WebSocket

from whisperlivekit.server.socket import serve_socket
from whisperlivekit.wire.whisperlivekit import WhisperLiveKitAdapter

router = APIRouter(tags=["streams"])


@router.websocket("/asr")
async def whisperlivekit_stream(websocket: WebSocket) -> None:
    """A stream of WhisperLiveKit's page."""
    await serve_socket(websocket, lambda: WhisperLiveKitAdapter(websocket.query_params), "whisperlivekit")
