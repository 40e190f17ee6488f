"""The Wyoming server on real sockets, with a scripted engine."""

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.server.scripted import LOUD, QUIET
from tests.wire.test_wyoming import FORMAT, STOP, chunk, frame
from whisperlivekit.engine.scripted import ScriptedEngine
from whisperlivekit.errors import DecodeFailed
from whisperlivekit.server import wyoming
from whisperlivekit.server.service import Service
from whisperlivekit.server.wyoming import WyomingServer
from whisperlivekit.settings.declarations import Settings
from whisperlivekit.wire.wyoming import Frame, FrameReader

pytestmark = pytest.mark.anyio

START = frame("transcribe", {"language": "ru"}) + frame("audio-start", FORMAT)
SPEECH = (LOUD * 2)[: int(1.2 * 32_000)]
"""1.2 s, for which the engine has three words."""
WORDS = "раз два три"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Client:
    """A client that shows what it reads."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._frames = FrameReader()

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def next(self, within_s: float = 5.0) -> Frame | None:
        """The next frame; None at the end of the connection."""
        async with asyncio.timeout(within_s):
            while (found := self._frames.take()) is None:
                received = await self.reader.read(65_536)
                if not received:
                    return None
                self._frames.feed(received)
        return found

    async def up_to(self, kind: str) -> list[Frame]:
        frames: list[Frame] = []
        while not frames or frames[-1].type != kind:
            found = await self.next()
            assert found is not None, [one.type for one in frames]
            frames.append(found)
        return frames

    async def rest(self) -> list[Frame]:
        """All frames to the end of the connection."""
        frames: list[Frame] = []
        while (found := await self.next()) is not None:
            frames.append(found)
        return frames


class Running:
    """A server and its clients."""

    def __init__(self, server: WyomingServer, service: Service, port: int) -> None:
        self.server, self.service, self.port = server, service, port
        self._clients: list[Client] = []

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self._clients.append(client)
        return client

    async def transcript(self) -> str:
        """Of three words: what every test of bad input ends with."""
        client = await self.connect()
        client.send(START, chunk(SPEECH), STOP)
        frames = await client.up_to("transcript-stop")
        client.writer.close()
        return str(frames[-2].data["text"])

    async def nothing_left(self) -> None:
        """No stream, no place and no connection."""
        left: list[int] = []
        for _ in range(300):
            left = [self.service.streams, self.service.admission.open_streams, len(self.server._clients)]
            if not any(left):
                break
            await asyncio.sleep(0.01)
        assert left == [0, 0, 0]

    def hang_up(self) -> None:
        for client in self._clients:
            client.writer.close()


@asynccontextmanager
async def running(
    engine: ScriptedEngine | None = None, *, load: bool = True, **settings: Any
) -> AsyncIterator[Running]:
    made = engine or ScriptedEngine()
    service = Service(Settings(model="base", **settings), lambda _: made)
    if load:
        await service.load()
    server = WyomingServer(service)
    listening = socket.create_server(("127.0.0.1", 0))
    await server.listen([listening])
    subject = Running(server, service, listening.getsockname()[1])
    try:
        yield subject
    finally:
        subject.hang_up()
        await server.close()
        await service.drain(1.0)
        await service.close()


async def test_home_assistants_flow() -> None:
    """A command: text comes whole and in parts, and the connection stays for the next one, in its own language."""
    async with running() as subject:
        client = await subject.connect()
        for language in ("ru", "en"):
            client.send(frame("transcribe", {"language": language}), frame("audio-start", FORMAT))
            for at in range(0, len(SPEECH), 2_048):
                client.send(chunk(SPEECH[at : at + 2_048]))
            client.send(STOP)
            frames = await client.up_to("transcript-stop")
            kinds = [one.type for one in frames]
            assert kinds[0] == "transcript-start"
            assert kinds[-2:] == ["transcript", "transcript-stop"]
            assert "".join(one.data["text"] for one in frames if one.type == "transcript-chunk") == WORDS
            assert frames[-2].data == {"text": WORDS, "language": language}
        client.writer.close()
        await subject.nothing_left()


async def test_commands_may_be_sent_at_once() -> None:
    """What follows audio-stop in the same packet is the next command. A half-closed connection gets its answers."""
    async with running() as subject:
        client = await subject.connect()
        one = START + chunk(SPEECH) + STOP
        client.send(one, frame("ping", {"text": "x"}), one)
        client.writer.write_eof()
        texts = [found.data.get("text") for found in await client.rest() if found.type in {"transcript", "pong"}]
        assert texts == [WORDS, "x", WORDS]


async def test_describe_takes_no_place() -> None:
    """It is answered while the model loads, and while the server is full; connections as such never fill it."""
    async with running(load=False) as loading:
        client = await loading.connect()
        client.send(frame("describe"))
        began_s = time.monotonic()
        assert [one.type for one in await client.up_to("info")] == ["info"]
        assert time.monotonic() - began_s < 1.0
        client.send(START)
        [error] = await client.rest()
        assert (error.type, error.data["code"]) == ("error", "model_unavailable")
    async with running(max_sessions=1) as full:
        idle = [await full.connect() for _ in range(10)]
        busy = await full.connect()
        busy.send(START, chunk(QUIET))
        await busy.up_to("transcript-start")
        refused = await full.connect()
        refused.send(START, *[chunk(SPEECH)] * 40)
        [error] = await refused.rest()
        assert error.data["code"] == "server_full"
        for client in (*idle, busy):
            client.send(frame("describe"))
            assert (await client.up_to("info"))[-1].data["asr"][0]["models"][0]["name"] == "base"
        busy.send(STOP)
        await busy.up_to("transcript-stop")
        assert await full.transcript() == WORDS


async def test_mistakes_end_the_connection_with_an_error() -> None:
    """What was said before the mistake is still told, also when both came in one packet; others are not disturbed."""
    async with running() as subject:
        client = await subject.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        [error] = await client.rest()
        assert error.data["code"] == "bad_message"
        client = await subject.connect()
        client.send(START, chunk(SPEECH), chunk(b"odd"))
        frames = await client.rest()
        assert [one.type for one in frames] == ["transcript-start", "transcript-chunk", "error"]
        assert frames[1].data["text"] == WORDS
        assert frames[2].data["code"] == "bad_audio"
        assert await subject.transcript() == WORDS
        subject.hang_up()
        await subject.nothing_left()


async def test_a_failed_decode_is_an_error() -> None:
    """Not a transcript without text. The connection goes on."""
    engine = ScriptedEngine()
    async with running(engine) as subject:
        client = await subject.connect()
        client.send(START)
        await client.up_to("transcript-start")

        async def fail(_: object) -> Any:
            raise DecodeFailed("the model failed")

        engine.transcribe, works = fail, engine.transcribe  # type: ignore[assignment,method-assign]
        client.send(chunk(SPEECH), STOP)
        frames = await client.up_to("transcript-stop")
        assert [(one.type, one.data.get("code")) for one in frames[-2:]] == [
            ("error", "decode_failed"),
            ("transcript-stop", None),
        ]
        engine.transcribe = works  # type: ignore[method-assign]
        client.send(START, chunk(SPEECH), STOP)
        assert (await client.up_to("transcript"))[-1].data["text"] == WORDS


async def test_a_client_that_disconnects_leaves_nothing() -> None:
    """At any point: the session ends and its place is free."""
    async with running() as subject:
        for sent in (b"", b'{"type"', START, START + chunk(SPEECH), START + chunk(SPEECH) + STOP):
            client = await subject.connect()
            client.send(sent)
            await client.writer.drain()
            client.writer.transport.abort()
        await subject.nothing_left()


async def test_silent_and_too_many_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can hold connections for ever."""
    monkeypatch.setattr(wyoming, "MAX_CLIENTS", 2)
    async with running() as subject:
        subject.service.limits = replace(subject.service.limits, idle_s=0.3)
        silent, talking = await subject.connect(), await subject.connect()
        talking.send(frame("ping"))
        await talking.up_to("pong")
        [error] = await (await subject.connect()).rest()
        assert error.data["code"] == "server_full"
        talking.send(START, chunk(SPEECH))
        for client in (silent, talking):
            frames = await client.rest()
            assert frames[-1].data["code"] == "timed_out"


async def test_a_draining_worker_finishes_its_commands() -> None:
    """An idle connection is closed at once. A command goes on to its audio-stop, and its text is told, then the
    connection ends. New connections are not taken.
    """
    async with running() as subject:
        idle, busy = await subject.connect(), await subject.connect()
        busy.send(START, chunk(SPEECH), chunk(QUIET))  # a pause: other protocols would end here
        await busy.up_to("transcript-chunk")
        idle.send(frame("ping"))
        await idle.up_to("pong")
        await subject.server.close()
        draining = asyncio.create_task(subject.service.drain(20.0))
        assert await idle.rest() == []
        with pytest.raises(ConnectionRefusedError):
            await subject.connect()
        await asyncio.sleep(0.5)
        busy.send(chunk(SPEECH), STOP)
        frames = await busy.rest()
        assert [one.type for one in frames][-2:] == ["transcript", "transcript-stop"]
        assert frames[-2].data["text"].split()[:3] == WORDS.split()
        assert len(frames[-2].data["text"].split()) > 5
        await asyncio.wait_for(draining, 5)


async def test_a_command_without_end_is_told_as_far_as_it_came() -> None:
    """When there is no more time to drain, the text so far comes as a transcript, before the error."""
    async with running() as subject:
        client = await subject.connect()
        client.send(START, chunk(SPEECH))
        await client.up_to("transcript-start")
        await subject.server.close()
        await subject.service.drain(6.0)
        frames = await client.rest()
        assert [one.type for one in frames][-3:] == ["transcript", "transcript-stop", "error"]
        assert frames[-3].data["text"] == WORDS
        assert frames[-1].data["code"] == "shutting_down"


_sent = st.lists(
    st.one_of(
        st.sampled_from([START, chunk(SPEECH[:6_400]), chunk(b"odd"), STOP, frame("describe"), frame("ping")]),
        st.binary(max_size=30),
    ),
    max_size=6,
).map(b"".join)


@pytest.mark.slow
def test_any_bytes(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is sent, the connection ends, nothing is left, and nothing is logged as an error."""
    loop = asyncio.new_event_loop()
    context = running()
    subject = loop.run_until_complete(context.__aenter__())

    @hypothesis_settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(sent=_sent, polite=st.booleans())
    def talk(sent: bytes, polite: bool) -> None:
        async def once() -> None:
            client = await subject.connect()
            client.send(sent)
            if polite:
                client.writer.write_eof()
                await client.rest()
            client.writer.close()

        loop.run_until_complete(once())

    try:
        talk()
        assert loop.run_until_complete(subject.transcript()) == WORDS
        loop.run_until_complete(subject.nothing_left())
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    finally:
        loop.run_until_complete(context.__aexit__(None, None, None))
        loop.close()
