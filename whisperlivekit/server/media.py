"""A channel whose client sends pieces of a media file: the adapter receives the audio that they hold."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from whisperlivekit.audio.stream_container import StreamContainer
from whisperlivekit.errors import MessageTooBig
from whisperlivekit.server.connection import Channel
from whisperlivekit.wire.adapter import MAX_MESSAGE_BYTES, Message


@contextmanager
def media_channel(channel: Channel, ends: Callable[[Message], bool], channels: int = 1) -> Iterator[Channel]:
    """``channel`` with decoded audio, as binary messages of pcm_f32le at 16 kHz.

    ends: no audio follows a message, which is passed on after the rest of the audio. channels: of the audio; with 1
    they are mixed.
    """
    container = StreamContainer(channels)
    try:
        yield _MediaChannel(channel, container, ends)
    finally:
        container.close()


class _MediaChannel:
    def __init__(self, channel: Channel, container: StreamContainer, ends: Callable[[Message], bool]) -> None:
        self._channel = channel
        self._container = container
        self._ends = ends
        self._last: Message | None = None
        """The message that ends the audio, until the rest of the audio is passed on."""
        self._ended = False

    async def receive(self) -> Message:
        while True:
            if (piece := await self._container.read()) is not None:
                return piece.T.astype("<f4").tobytes()
            if self._last is not None:
                last, self._last = self._last, None
                return last
            message = await self._channel.receive()
            if not self._ended and self._ends(message):
                self._ended = True
                self._last = message
                self._container.end()
            elif isinstance(message, str):
                return message
            elif len(message) > MAX_MESSAGE_BYTES:
                raise MessageTooBig(f"message has {len(message)} bytes, expected up to {MAX_MESSAGE_BYTES}")
            elif not self._ended:
                self._container.feed(message)

    async def send(self, message: Message) -> None:
        await self._channel.send(message)

    async def close(self, code: int, reason: str) -> None:
        await self._channel.close(code, reason)
