"""Serves WebSockets of every protocol: receive -> adapter -> session -> adapter -> send.

A connection has three parts: ``serve_socket`` rejects it before it is accepted (host, origin, key, capacity),
``Connection`` runs its session, and ``Channel`` is what a connection needs of a socket.

Bounds: a message is at most MAX_MESSAGE_BYTES long. Audio waits in the socket while the session has enough: not calling
receive is the back-pressure. Events wait for a slow reader up to MAX_PENDING_EVENTS or Limits.send_s, then the
connection ends.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.websockets import WebSocket, WebSocketDisconnect

from whisperlivekit.core.commands import Audio, Command, Start, Stop
from whisperlivekit.core.events import Done, Draining, Event, Ready
from whisperlivekit.errors import ClientError, InternalError, MessageTooBig, ShuttingDown, TimedOut, WhisperLiveKitError
from whisperlivekit.observe.logs import rename_session, session_context
from whisperlivekit.server.accounting import StreamAccount
from whisperlivekit.server.auth import KEY_IS_OPTIONAL, KEY_SCHEMES, client_address
from whisperlivekit.server.responses import ErrorResponse, error_response
from whisperlivekit.server.service import Service, ServiceDependency, new_session_id
from whisperlivekit.session.admission import Ticket
from whisperlivekit.session.runner import SessionRunner
from whisperlivekit.wire.adapter import MAX_MESSAGE_BYTES, Adapter, Message
from whisperlivekit.wire.languages import AUTO
from whisperlivekit.wire.native import NativeAdapter

log = logging.getLogger(__name__)

MAX_PENDING_EVENTS = 1_000
"""Events that may wait for a slow reader: some minutes of real-time speech. Who sends faster must read faster."""

LAST_WORDS_S = 10.0
"""Audio received before a client's mistake is still transcribed, if that takes no longer than this."""

CLOSE_S = 2.0
"""Time limit for the error message, and for the close frame, of a connection that ends."""


class Disconnected(Exception):
    """The client has disconnected."""


class Channel(Protocol):
    """What a connection needs of a socket."""

    async def receive(self) -> Message:
        """The next message; raises Disconnected."""
        ...

    async def send(self, message: Message) -> None:
        """Returns when the socket has room; raises Disconnected."""
        ...

    async def close(self, code: int, reason: str) -> None: ...


class Connection:
    """One client and its session, from the first message to the close frame."""

    def __init__(
        self, channel: Channel, adapter: Adapter, service: Service, ticket: Ticket, account: StreamAccount
    ) -> None:
        self.session = new_session_id()
        """The stream's id: what the log and the client call it. Not unique: a resumed stream keeps its id."""
        self._channel = channel
        self._adapter = adapter
        self._service = service
        self._ticket = ticket
        self._account = account
        self._limits = service.limits
        self._runner: SessionRunner | None = None
        self._draining = asyncio.Event()
        """Set when the worker shuts down."""
        self._sending = asyncio.Lock()
        """Messages are sent in the order of their sequence numbers."""
        self._stopped = False
        """The client sent stop, or the server acted as if it had."""
        self._failing = False
        """An error ends the connection: Done is not sent."""
        self._last_audio_s = asyncio.get_running_loop().time()

    def drain(self) -> None:
        """End soon: the worker shuts down."""
        self._draining.set()

    async def run(self) -> None:
        """Serve the client until the connection ends; raises nothing."""
        code, close_code, reason = "ok", 1000, ""
        with session_context(self.session), self._service.track(self):
            try:
                await self._serve()
            except Disconnected:
                code = "disconnected"
            except WhisperLiveKitError as error:
                code, close_code, reason = error.code, error.close_code, error.message
                await self._send_error(error)
            except Exception:  # the connection's edge: a fault in one connection must not affect the others
                log.exception("unexpected exception in a connection")
                fault = InternalError()
                code, close_code, reason = fault.code, fault.close_code, fault.message
                await self._send_error(fault)
            finally:
                self._ticket.release()
                if self._runner is not None:
                    await self._runner.close()
                self._account.close(code)
            if code != "disconnected":
                await self._close(close_code, reason)

    async def _serve(self) -> None:
        start, rest = await self._receive_start()
        self._account.begin(start)
        resumed = self._resume(start)
        self._runner = self._service.start_session(start)
        language = start.language or self._service.session_config.language
        model = self._service.settings.model
        log.info("session opened", extra={"language": language or AUTO, **resumed})
        position = start.resume.position if start.resume else 0
        await self._send(Ready(self.session, model, None if language == AUTO else language, position))
        reader = asyncio.create_task(self._read(self._runner, rest))
        writer = asyncio.create_task(self._write(self._runner))
        draining = asyncio.create_task(self._draining.wait())
        tasks = (reader, writer, draining)
        try:
            await asyncio.wait(tasks, timeout=self._limits.session_s, return_when=asyncio.FIRST_COMPLETED)
            if writer.done():
                writer.result()
            elif reader.done():
                await self._end_after(reader, writer)
            elif draining.done():
                await self._end_for_drain(reader, writer)
            else:
                reader.cancel()
                await self._finish(writer)
                raise TimedOut(f"the session lasted {self._limits.session_s / 3600:g} h, the longest allowed")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _resume(self, start: Start) -> dict[str, object]:
        """Continue the stream of an earlier connection under its id. Returns what the log says of it."""
        if start.resume is None:
            return {}
        found: dict[str, object] = {"resumed_at": start.resume.position}
        if start.resume.session is not None:
            # The lost connection may still be open and log under the same id: this tells the two apart.
            found["connection"] = self.session
            self.session = start.resume.session
            rename_session(self.session)
        return found

    async def _receive_start(self) -> tuple[Start, list[Command]]:
        try:
            async with asyncio.timeout(self._limits.first_message_s):
                while not (commands := self._adapter.receive(await self._receive())):
                    pass  # Some protocols have messages without a command.
        except TimeoutError:
            raise TimedOut(
                f"no first message within {self._limits.first_message_s:g} s, expected the start of a stream"
            ) from None
        start, *rest = commands
        if not isinstance(start, Start):
            raise TypeError(f"an adapter's first command is {type(start).__name__}, expected Start")
        return start, rest

    async def _end_after(self, reader: asyncio.Task[None], writer: asyncio.Task[None]) -> None:
        """The reader ended, which only an error does. Audio received before a client's mistake is still transcribed."""
        error = reader.exception()
        if isinstance(error, ClientError):
            await self._finish(writer)
        reader.result()

    async def _finish(self, writer: asyncio.Task[None]) -> None:
        """Transcribe and send what was received, without a Done at the end."""
        if self._runner is None:
            return
        self._failing = True
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                if not self._stopped:
                    self._stopped = True
                    await self._runner.receive(Stop())
                await writer
        except (TimeoutError, WhisperLiveKitError):
            pass  # The error that ends the connection matters more.

    async def _end_for_drain(self, reader: asyncio.Task[None], writer: asyncio.Task[None]) -> None:
        """The worker shuts down. A stream that has all its audio ends normally; the others resume on another worker."""
        await self._send(Draining())
        if self._stopped:
            await writer
            return
        reader.cancel()
        if self._runner is not None:
            await self._runner.drain()
        await writer
        raise ShuttingDown("this worker is shutting down; connect again and resume")

    # ---- client to session

    async def _read(self, runner: SessionRunner, first: list[Command]) -> None:
        for command in first:
            await self._take(runner, command)
        while True:
            for command in self._adapter.receive(await self._receive_in_time()):
                await self._take(runner, command)

    async def _receive_in_time(self) -> Message:
        if self._stopped:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._last_audio_s + self._limits.idle_s):
                return await self._receive()
        except TimeoutError:
            raise TimedOut(f"no audio for {self._limits.idle_s:g} s, expected audio, or stop") from None

    async def _receive(self) -> Message:
        message = await self._channel.receive()
        size = len(message) if isinstance(message, bytes) else len(message.encode())
        if size > MAX_MESSAGE_BYTES:
            raise MessageTooBig(f"message has {size} bytes, expected up to {MAX_MESSAGE_BYTES}")
        return message

    async def _take(self, runner: SessionRunner, command: Command) -> None:
        if isinstance(command, Stop):
            self._stopped = True
        await runner.receive(command)
        if isinstance(command, Audio):
            self._account.receive_audio(len(command.samples))
            self._last_audio_s = asyncio.get_running_loop().time()
        if runner.pending_events > MAX_PENDING_EVENTS:
            raise TimedOut(f"{runner.pending_events} events are waiting, expected the client to read them")

    # ---- session to client

    async def _write(self, runner: SessionRunner) -> None:
        async for event in runner.events():
            self._account.observe(event, runner.received)
            if not (self._failing and isinstance(event, Done)):
                await self._send(event)

    async def _send(self, event: Event) -> None:
        async with self._sending:
            for message in self._adapter.send(event):
                await self._send_in_time(message)

    async def _send_in_time(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self._limits.send_s):
                await self._channel.send(message)
        except TimeoutError:
            raise TimedOut(f"the client did not read for {self._limits.send_s:g} s") from None

    async def _send_error(self, error: WhisperLiveKitError) -> None:
        try:
            async with asyncio.timeout(CLOSE_S), self._sending:
                for message in self._adapter.fail(error, self.session):
                    await self._channel.send(message)
        except (TimeoutError, Disconnected):
            pass  # The client does not read any more; the transport discards what is left.

    async def _close(self, code: int, reason: str) -> None:
        # A close frame has room for 123 bytes of reason.
        short = reason.encode()[:120].decode(errors="ignore")
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._channel.close(code, short)
        except (TimeoutError, Disconnected):
            pass


class _WebSocketChannel:
    """A Channel over ASGI."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def receive(self) -> Message:
        message = await self._websocket.receive()
        if message["type"] != "websocket.receive":
            raise Disconnected
        data: bytes | None = message.get("bytes")
        text: str | None = message.get("text")
        return data if data is not None else text or ""

    async def send(self, message: Message) -> None:
        try:
            if isinstance(message, str):
                await self._websocket.send_text(message)
            else:
                await self._websocket.send_bytes(message)
        except (WebSocketDisconnect, OSError, RuntimeError) as error:
            # Starlette raises RuntimeError when something is sent after the close.
            raise Disconnected from error

    async def close(self, code: int, reason: str) -> None:
        try:
            await self._websocket.close(code, reason)
        except (WebSocketDisconnect, OSError, RuntimeError) as error:
            raise Disconnected from error


async def serve_socket(websocket: WebSocket, make_adapter: Callable[[], Adapter], protocol: str) -> None:
    """Serve one WebSocket of any protocol, or reject it with an HTTP status before it is accepted."""
    service: Service = websocket.app.state.service
    address = client_address(websocket)
    try:
        with service.metrics.counted_rejection():
            subprotocol = service.guard.check(websocket)
            ticket = service.admit(address)
    except WhisperLiveKitError as error:
        session = new_session_id()
        with session_context(session):
            log.info("session rejected", extra={"code": error.code, "address": address})
        await websocket.send_denial_response(error_response(error, session))
        return
    account = StreamAccount(service.metrics, ticket, protocol)
    try:
        await websocket.accept(subprotocol)
    except BaseException:
        ticket.release()
        account.close("disconnected")
        raise
    await Connection(_WebSocketChannel(websocket), make_adapter(), service, ticket, account).run()


router = APIRouter(tags=["streams"])


@router.websocket("/ws")
async def native_stream(websocket: WebSocket) -> None:
    """A stream in the protocol of docs/protocol.md."""
    await serve_socket(websocket, NativeAdapter, "native")


class UpgradeRequired(BaseModel):
    """A WebSocket from here would be accepted."""

    message: str = "this is a WebSocket, see docs/protocol.md"


@router.get(
    "/ws",
    dependencies=KEY_SCHEMES,
    openapi_extra=KEY_IS_OPTIONAL,
    status_code=426,
    responses={
        426: {"model": UpgradeRequired, "description": "A WebSocket would be accepted"},
        401: {"model": ErrorResponse, "description": "No key, or a wrong one"},
        403: {"model": ErrorResponse, "description": "A web page of another site asked"},
        421: {"model": ErrorResponse, "description": "The server does not answer to this host name"},
        503: {"model": ErrorResponse, "description": "The server is full, loading or draining; Retry-After says when"},
    },
)
async def check_stream(request: Request, response: Response, service: ServiceDependency) -> UpgradeRequired:
    """Why a WebSocket from here would be rejected. Browsers do not show that to a page, which asks here instead."""
    service.guard.check(request)
    if unavailable := service.unavailable():
        raise unavailable
    service.admission.admit(client_address(request)).release()
    response.headers["upgrade"] = "websocket"
    return UpgradeRequired()
