"""A TCP proxy that simulates a bad network: its connections can be reset, become half-open, or be delayed."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

CHUNK = 4_096
"""Bytes forwarded at once: 0.13 s of audio, so that a delay applies to single messages of a stream."""


@dataclass(eq=False, slots=True)
class Link:
    """A client's connection and the proxy's connection to the server for it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    open: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is not set, nothing is forwarded in either direction, and neither side is notified."""

    @property
    def client_port(self) -> int:
        """The client's local port."""
        return int(self.client.get_extra_info("peername")[1])

    @property
    def server_port(self) -> int:
        """The proxy's local port, by which the server's process can be found."""
        return int(self.server.get_extra_info("sockname")[1])


class Proxy:
    """Forwards bytes between ``port`` and the server's port."""

    def __init__(self, delay_s: Callable[[], float]) -> None:
        self.port = 0
        self.links: list[Link] = []
        self._delay_s = delay_s

    def cut(self) -> None:
        """Reset every connection, on both sides."""
        for link in self.links:
            for writer in (link.client, link.server):
                # With a linger time of 0 the kernel sends a reset and not an orderly end.
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()

    def silence(self) -> None:
        """Make every connection half-open: it stays open, and nothing is forwarded any more."""
        for link in self.links:
            link.open.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int) -> None:
        """Serve one client until one of the two sides closes its connection."""
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            return
        link = Link(writer, to_server)
        link.open.set()
        self.links.append(link)
        ways = [
            asyncio.create_task(self._pass(link, reader, to_server, self._delay_s)),
            asyncio.create_task(self._pass(link, from_server, writer, lambda: 0.0)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(ways, timeout=1)
        finally:
            self.links.remove(link)
            to_server.transport.abort()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, to_server.wait_closed(), return_exceptions=True)

    async def _pass(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: Callable[[], float]
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                if wait_s := delay_s():
                    await asyncio.sleep(wait_s)
                await link.open.wait()
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()


@asynccontextmanager
async def proxy_to(
    port: int, *, delayed: float = 0.0, delay_s: float = 0.0, cut_every_s: float | None = None, seed: int = 0
) -> AsyncIterator[Proxy]:
    """Run a proxy in front of a server on this machine.

    Args:
        port: of the server.
        delayed: share of the client's chunks that are delayed. As with TCP, all data behind them is delayed too.
        delay_s: the longest delay of a chunk.
        cut_every_s: reset all connections at this interval; None: never.
        seed: of the random delays.
    """
    chance = random.Random(seed)
    proxy = Proxy(lambda: chance.uniform(0, delay_s) if chance.random() < delayed else 0.0)
    serving: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            with suppress(asyncio.CancelledError):
                await proxy.serve(reader, writer, port)
        finally:
            serving.discard(task)
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    async def cut_repeatedly(every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            proxy.cut()

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    cutting = asyncio.create_task(cut_repeatedly(cut_every_s)) if cut_every_s else None
    try:
        yield proxy
    finally:
        listener.close()
        tasks = [*serving, *([cutting] if cutting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
