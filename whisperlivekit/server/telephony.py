"""WebSockets for telephone switches."""

from fastapi import APIRouter
from starlette.websockets import WebSocket

from whisperlivekit.server.socket import serve_socket
from whisperlivekit.wire.audio_fork import SUBPROTOCOL, AudioForkAdapter
from whisperlivekit.wire.jambonz import JambonzAdapter

router = APIRouter(tags=["streams"])


@router.websocket("/jambonz")
async def jambonz(websocket: WebSocket) -> None:
    """A custom speech vendor of jambonz."""
    await serve_socket(websocket, JambonzAdapter, "jambonz")


@router.websocket("/audio_fork")
async def audio_fork(websocket: WebSocket) -> None:
    """A call that FreeSWITCH's mod_audio_fork or mod_audio_stream sends."""
    query = websocket.query_params
    await serve_socket(websocket, lambda: AudioForkAdapter(query), "audio_fork", (SUBPROTOCOL,))
