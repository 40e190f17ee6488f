"""The ``/asr`` socket of WhisperLiveKit 0.2."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from fastapi import APIRouter
from starlette.websockets import WebSocket

from whisperlivekit.audio.stream_container import signed_format
from whisperlivekit.server.connection import Channel
from whisperlivekit.server.media import media_channel
from whisperlivekit.server.socket import serve_socket
from whisperlivekit.wire.adapter import Message
from whisperlivekit.wire.whisperlivekit import WhisperLiveKitAdapter, ends_audio

router = APIRouter(tags=["streams"])


@router.websocket("/asr")
async def whisperlivekit_stream(websocket: WebSocket) -> None:
    """A stream of WhisperLiveKit's page."""
    await serve_socket(
        websocket,
        lambda: WhisperLiveKitAdapter(websocket.query_params),
        "whisperlivekit",
        wrap=any_audio,
    )


@contextmanager
def any_audio(adapter: WhisperLiveKitAdapter, channel: Channel) -> Iterator[Channel]:
    """``channel``, whose audio may be raw or pieces of a media file. The first piece tells: pages that do not know the
    server's ``config`` send what their browser records.
    """
    with ExitStack() as stack:
        yield _Detecting(adapter, channel, stack)


class _Detecting:
    def __init__(self, adapter: WhisperLiveKitAdapter, channel: Channel, stack: ExitStack) -> None:
        self._adapter = adapter
        self._channel = channel
        self._stack = stack
        self._detected = False

    async def receive(self) -> Message:
        message = await self._channel.receive()
        if self._detected or not message or isinstance(message, str):
            return message
        self._detected = True
        if signed_format(message) is None:
            return message
        self._adapter.expect_decoded()
        self._channel = self._stack.enter_context(media_channel(_Again(message, self._channel), ends_audio))
        return await self._channel.receive()

    async def send(self, message: Message) -> None:
        await self._channel.send(message)

    async def close(self, code: int, reason: str) -> None:
        await self._channel.close(code, reason)


class _Again:
    """``channel``, with a message that was already received from it."""

    def __init__(self, message: Message, channel: Channel) -> None:
        self._message: Message | None = message
        self._channel = channel
        self.send = channel.send
        self.close = channel.close

    async def receive(self) -> Message:
        if self._message is not None:
            message, self._message = self._message, None
            return message
        return await self._channel.receive()
