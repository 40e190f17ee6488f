"""OpenAI's ``/v1/realtime``: transcription sessions over a WebSocket."""

import time

from fastapi import APIRouter
from starlette.websockets import WebSocket

from whisperlivekit.server.service import Service
from whisperlivekit.server.socket import serve_socket
from whisperlivekit.wire.openai_realtime import SUBPROTOCOL, OpenAIRealtimeAdapter

router = APIRouter(tags=["streams"])


@router.websocket("/v1/realtime")
async def transcription_session(websocket: WebSocket) -> None:
    """A transcription session, with or without ``?intent=transcription``; ``?model=`` is only told back."""
    service: Service = websocket.app.state.service

    def adapter() -> OpenAIRealtimeAdapter:
        return OpenAIRealtimeAdapter(
            model=websocket.query_params.get("model", service.settings.model)[:200],
            silence_s=service.session_config.min_silence_s,
            expires_at=round(time.time() + service.limits.session_s),
        )

    await serve_socket(websocket, adapter, "openai_realtime", [SUBPROTOCOL])
