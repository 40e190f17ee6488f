"""The Wyoming server of a worker: TCP connections of Home Assistant and its like, without keys and without TLS, because
the protocol has neither.

A connection as such takes no place among the streams: ``describe`` is answered whatever the load, and only a
transcription is admitted. Gunicorn's master opens the port before it forks, so the workers take connections from one
queue, as they do for HTTP: one that loads or drains takes none.
"""

import asyncio
import logging
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from whisperlivekit import __version__
from whisperlivekit.engine import models
from whisperlivekit.errors import InternalError, NoCapacity, TimedOut, WhisperLiveKitError
from whisperlivekit.observe.logs import session_context
from whisperlivekit.server.accounting import StreamAccount
from whisperlivekit.server.connection import Connection, Disconnected
from whisperlivekit.server.discovery import Announcement
from whisperlivekit.server.service import Service, new_session_id
from whisperlivekit.server.transport import LINGER_S
from whisperlivekit.wire.adapter import Message
from whisperlivekit.wire.wyoming import WyomingAdapter, WyomingConversation, describe_server, error_event

log = logging.getLogger(__name__)

MAX_CLIENTS = 256
"""Open connections of one worker. Home Assistant has one for each command, and none between them."""

ANNOUNCEMENT_S = 2.0
"""Time limit for the end of the announcement."""

READ_BYTES = 64 * 1024
"""Read at once: 2 s of audio at 16 kHz."""


class WyomingServer:
    """All connections of one worker."""

    def __init__(self, service: Service) -> None:
        self._service = service
        model = service.settings.model
        self._info = describe_server(__version__, Path(model).name, "OpenAI" if model in models.NAMES else "")
        self._servers: list[asyncio.Server] = []
        self._clients: dict[asyncio.Task[None], _Client] = {}
        self._announcement: Announcement | None = None

    async def listen(self, sockets: Sequence[socket.socket]) -> None:
        """Serve connections from these sockets, which are bound, and let Home Assistant find them."""
        for listening in sockets:
            self._servers.append(await asyncio.start_server(self._connected, sock=listening, limit=READ_BYTES))
        if sockets:
            self._announcement = await Announcement.make(self._service.settings.host, sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Take no new connection, and close those without a transcription. The service drains the others."""
        for server in self._servers:
            server.close()
        for task, client in self._clients.items():
            client.closing = True
            if not client.busy:
                task.cancel()
        if self._announcement is not None:
            # Whatever happens to it, the streams are drained next.
            await asyncio.wait((asyncio.create_task(self._announcement.close()),), timeout=ANNOUNCEMENT_S)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Client(self._service, reader, writer, WyomingConversation(self._info))
        full = len(self._clients) >= MAX_CLIENTS
        task = asyncio.create_task(client.reject() if full else client.run())
        self._clients[task] = client
        task.add_done_callback(self._clients.pop)


class _Client:
    """One connection. It is also the Channel of its transcriptions."""

    def __init__(
        self,
        service: Service,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        conversation: WyomingConversation,
    ) -> None:
        self.busy = False
        """A transcription is served."""
        self.closing = False
        """The connection ends when it is not busy."""
        self._service = service
        self._reader = reader
        self._writer = writer
        self._conversation = conversation
        self._adapter: WyomingAdapter | None = None
        self._close_code: int | None = None
        """How the last transcription ended; None: the client has disconnected."""
        peer = writer.get_extra_info("peername")
        self._address = str(peer[0]) if peer else "unknown"

    async def run(self) -> None:
        """Serve the client until it disconnects or makes a mistake; raises nothing."""
        try:
            await self._serve()
        except Disconnected:
            pass
        except WhisperLiveKitError as error:
            await self._end_with(error)
        except Exception:  # the connection's edge: a fault in one connection must not affect the others
            log.exception("unexpected exception in a connection")
            await self._end_with(InternalError())
        finally:
            self._hang_up()

    async def reject(self) -> None:
        """There are too many connections."""
        try:
            await self._end_with(NoCapacity(f"{MAX_CLIENTS} connections are open; try again later"))
        finally:
            self._hang_up()

    async def _serve(self) -> None:
        while not self.closing:
            match self._conversation.next():
                case None:
                    self._conversation.feed(await self._receive_in_time())
                case bytes() as answer:
                    await self._send_in_time(answer)
                case adapter:
                    self.busy = True
                    await self._transcribe(adapter)
                    self.busy = False
                    if self._close_code != 1000:
                        await self._linger()
                        return

    async def _transcribe(self, adapter: WyomingAdapter) -> None:
        with self._service.metrics.counted_rejection():
            ticket = self._service.admit(self._address)
        account = StreamAccount(self._service.metrics, ticket, "wyoming")
        self._adapter, self._close_code = adapter, None
        await Connection(self, adapter, self._service, ticket, account).run()

    async def _receive_in_time(self) -> bytes:
        limit_s = self._service.limits.idle_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._read()
        except TimeoutError:
            raise TimedOut(f"no event for {limit_s:g} s, expected one, or the end of the connection") from None

    async def _send_in_time(self, message: bytes) -> None:
        limit_s = self._service.limits.send_s
        try:
            async with asyncio.timeout(limit_s):
                await self.send(message)
        except TimeoutError:
            raise TimedOut(f"the client did not read for {limit_s:g} s") from None

    async def _end_with(self, error: WhisperLiveKitError) -> None:
        with session_context(new_session_id()):
            log.info("session rejected", extra={"code": error.code, "address": self._address})
        with suppress(Disconnected, TimedOut):
            await self._send_in_time(error_event(error))
            await self._linger()

    async def _linger(self) -> None:
        """The client may still be sending: without reading that, the kernel would reset the connection, and the client
        might not see the error.
        """
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(LINGER_S):
                self._writer.write_eof()
                while await self._reader.read(READ_BYTES):
                    pass

    def _hang_up(self) -> None:
        self._writer.close()
        # A client that does not read would keep the connection.
        asyncio.get_running_loop().call_later(LINGER_S, self._writer.transport.abort)

    # ---- the Channel of a transcription

    async def receive(self) -> Message:
        """What the client sends, up to the end of the transcription."""
        if self._adapter is not None and self._adapter.stopped:
            # What follows is for the next one. The end of the client's side is not the end of the connection: it may
            # still wait for the text.
            await asyncio.get_running_loop().create_future()
        return await self._read()

    async def send(self, message: Message) -> None:
        """Returns when the socket has room."""
        assert isinstance(message, bytes)
        try:
            self._writer.write(message)
            await self._writer.drain()
        except OSError as error:
            raise Disconnected from error

    async def close(self, code: int, reason: str) -> None:  # noqa: ARG002  (the protocol has no close frame)
        """The transcription has ended; the connection goes on if that was no error."""
        self._close_code = code

    async def _read(self) -> bytes:
        try:
            received = await self._reader.read(READ_BYTES)
        except OSError as error:
            raise Disconnected from error
        if not received:
            raise Disconnected
        return received
