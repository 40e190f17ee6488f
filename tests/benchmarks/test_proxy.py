"""The simulated bad network: what the proxy forwards, what it does not, and when."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.proxy import Proxy, proxy_to

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The loop that the proxy is written for."""
    return "asyncio"


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1_000):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def dialled(proxy: Proxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def test_everything_passes_in_order() -> None:
    """Without faults all bytes are forwarded, and the proxy knows the ports on both sides."""
    async with echo() as port, proxy_to(port) as proxy, dialled(proxy) as (reader, writer):
        content = bytes(range(256)) * 100
        writer.write(content)
        assert await reader.readexactly(len(content)) == content
        [link] = proxy.links
        assert link.client_port == writer.get_extra_info("sockname")[1]
        assert link.server_port != link.client_port


async def test_a_cut_resets_the_connection() -> None:
    """The client gets a reset, and a new connection works."""
    async with echo() as port, proxy_to(port) as proxy:
        async with dialled(proxy) as (reader, writer):
            writer.write(b"x")
            await reader.readexactly(1)
            proxy.cut()
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(reader.readexactly(1), 5)
        async with dialled(proxy) as (reader, writer):
            writer.write(b"y")
            assert await reader.readexactly(1) == b"y"


async def test_a_half_open_connection_stays_open() -> None:
    """Nothing is forwarded any more, and the client gets no error."""
    async with echo() as port, proxy_to(port) as proxy, dialled(proxy) as (reader, writer):
        writer.write(b"x")
        await reader.readexactly(1)
        proxy.silence()
        writer.write(b"y")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)


async def test_delays_hold_back_what_follows() -> None:
    """A delayed chunk and all chunks behind it arrive later, complete and in order."""
    async with echo() as port, proxy_to(port, delayed=1.0, delay_s=0.3, seed=2) as proxy, dialled(proxy) as connection:
        reader, writer = connection
        began = time.monotonic()
        for data in (b"a", b"b", b"c"):
            writer.write(data)
            await asyncio.sleep(0.01)
        assert await reader.readexactly(3) == b"abc"
        assert time.monotonic() - began > 0.02


async def test_without_a_server_the_connection_is_closed() -> None:
    """A client sees the same as where no server listens."""
    async with echo() as port:
        pass
    async with proxy_to(port) as proxy, dialled(proxy) as (reader, _):
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 5)
