"""Sockets of protocols that are not WebSockets, as ``benchmarks.client`` uses them: frames of Wyoming over TCP."""

import asyncio
import json
import urllib.parse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from whisperlivekit.wire.wyoming import FrameReader

SCHEME = "tcp"
READ_BYTES = 65_536


class FrameSocket:
    """A TCP connection that gives each frame as JSON text: its data, with the type."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader()

    @property
    def local_address(self) -> Any:
        """Host and port of this end."""
        return self._writer.get_extra_info("sockname")

    async def send(self, message: str | bytes) -> None:
        """Returns when the connection has room."""
        self._writer.write(message if isinstance(message, bytes) else message.encode())
        await self._writer.drain()

    async def recv(self) -> str:
        """The next frame.

        Raises:
            ConnectionError: the connection was closed.
        """
        while (frame := self._frames.take()) is None:
            received = await self._reader.read(READ_BYTES)
            if not received:
                raise ConnectionError("the connection was closed before the end")
            self._frames.feed(received)
        return json.dumps({"type": frame.type, **frame.data}, ensure_ascii=False)


@asynccontextmanager
async def open_frames(url: str, open_timeout: float) -> AsyncIterator[FrameSocket]:
    """A connection to ``tcp://HOST:PORT``."""
    address = urllib.parse.urlsplit(url)
    async with asyncio.timeout(open_timeout):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield FrameSocket(reader, writer)
    finally:
        writer.close()
