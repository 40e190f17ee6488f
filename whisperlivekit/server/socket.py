"""The one pump of every WebSocket protocol: receive -> adapter -> session -> adapter -> send.

A connection goes through three places: ``serve_socket`` refuses it before it is accepted (origin, key, capacity),
``Connection`` runs its session, and ``Channel`` is what a connection needs of a socket.

Bounds: a message has MAX_MESSAGE_BYTES; audio waits in the socket while the session has enough (not calling receive is
the back-pressure); events wait for a slow reader up to MAX_PENDING_EVENTS or Limits.send_s, then the connection ends.

One module although it is long: how a connection ends depends on which of the three places it is in.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from prometheus_client import Histogram
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from whisperlivekit.core.commands import Audio, Command, Start, Stop
from whisperlivekit.core.events import Committed, Done, Draining, Event, Gap, Partial, Progress, Ready, UtteranceEnded
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.errors import (
    ClientError,
    MessageTooBig,
    ServerFault,
    ShuttingDown,
    TimedOut,
    WhisperLiveKitError,
)
from whisperlivekit.observe.logs import session_context
from whisperlivekit.server.service import Service, new_session_id
from whisperlivekit.session.admission import Ticket
from whisperlivekit.session.runner import SessionRunner
from whisperlivekit.wire.adapter import MAX_MESSAGE_BYTES, Adapter, Message
from whisperlivekit.wire.languages import AUTO

log = logging.getLogger(__name__)

MAX_PENDING_EVENTS = 1_000
"""Events that may wait for a slow reader, some minutes of live speech; one that is fed faster must read faster."""

LAST_WORDS_S = 10.0
"""What was said before a client's mistake is still transcribed, if it takes no longer."""

GOODBYE_S = 2.0
"""For the error message and the close frame of a connection that ends."""

RETRY_AFTER_S = 5


class Disconnected(Exception):
    """The client is gone."""


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

    def __init__(self, channel: Channel, adapter: Adapter, service: Service, ticket: Ticket) -> None:
        self.session = new_session_id()
        self._channel = channel
        self._adapter = adapter
        self._service = service
        self._ticket = ticket
        self._limits = service.limits
        self._runner: SessionRunner | None = None
        self._going = asyncio.Event()
        """The worker goes."""
        self._sending = asyncio.Lock()
        """Numbers of messages follow the order in which they are sent."""
        self._stopped = False
        """The client said stop, or we did in its place."""
        self._failing = False
        """An error ends the connection: Done is not told."""
        self._opened_s = self._heard_s = asyncio.get_running_loop().time()
        self._origin = 0
        self._samples = self._words = self._gaps = self._shown_to = 0

    def drain(self) -> None:
        """End soon: the worker goes."""
        self._going.set()

    async def run(self) -> None:
        """Serve the client to the end; raises nothing."""
        code, close_code, reason = "ok", 1000, ""
        with session_context(self.session), self._service.track(self):
            try:
                await self._serve()
            except Disconnected:
                code = "disconnected"
            except WhisperLiveKitError as error:
                code, close_code, reason = error.code, error.close_code, error.message
                await self._say_goodbye(error)
            except Exception:  # the connection's edge: one client's trouble must not be another's
                log.exception("a connection failed")
                fault = ServerFault("something failed in the server; its operator finds the reason in the log")
                code, close_code, reason = fault.code, fault.close_code, fault.message
                await self._say_goodbye(fault)
            finally:
                self._ticket.release()
                if self._runner is not None:
                    await self._runner.close()
                self._account(code)
            if code != "disconnected":
                await self._close(close_code, reason)

    async def _serve(self) -> None:
        start, rest = await self._receive_start()
        self._runner = self._service.start_session(start)
        self._origin = start.resume.position if start.resume else 0
        if start.resume:
            self._service.metrics.resumed.inc()
        language = start.language or self._service.session_config.language
        model = self._service.settings.model
        log.info("session opened", extra={"language": language or AUTO, "resumed_at": self._origin})
        await self._send(Ready(self.session, model, None if language == AUTO else language, self._origin))
        reader = asyncio.create_task(self._read(self._runner, rest))
        writer = asyncio.create_task(self._write(self._runner))
        going = asyncio.create_task(self._going.wait())
        tasks = (reader, writer, going)
        try:
            await asyncio.wait(tasks, timeout=self._limits.session_s, return_when=asyncio.FIRST_COMPLETED)
            if writer.done():
                writer.result()
            elif reader.done():
                await self._end_after(reader, writer)
            elif going.done():
                await self._end_for_drain(reader, writer)
            else:
                reader.cancel()
                await self._finish(writer)
                raise TimedOut(f"the session lasted {self._limits.session_s / 3600:g} h, the longest allowed")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _receive_start(self) -> tuple[Start, list[Command]]:
        try:
            async with asyncio.timeout(self._limits.first_message_s):
                while not (commands := self._adapter.receive(await self._receive())):
                    pass  # Some protocols have messages that mean nothing to a session.
        except TimeoutError:
            raise TimedOut(
                f"no first message within {self._limits.first_message_s:g} s, expected the start of a stream"
            ) from None
        start, *rest = commands
        if not isinstance(start, Start):
            raise TypeError(f"an adapter's first command is {type(start).__name__}, expected Start")
        return start, rest

    async def _end_after(self, reader: asyncio.Task[None], writer: asyncio.Task[None]) -> None:
        """The reader ended, which it does only by an error; what was heard before a client's mistake is still told."""
        error = reader.exception()
        if isinstance(error, ClientError):
            await self._finish(writer)
        reader.result()

    async def _finish(self, writer: asyncio.Task[None]) -> None:
        """Tell the last words without ending well."""
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
            pass  # The error that is already on its way matters more.

    async def _end_for_drain(self, reader: asyncio.Task[None], writer: asyncio.Task[None]) -> None:
        """The worker goes. A stream that has all its audio ends well; the others go on elsewhere."""
        await self._send(Draining())
        if self._stopped:
            await writer
            return
        reader.cancel()
        if self._runner is not None:
            await self._runner.drain()
        await writer
        raise ShuttingDown("this worker is going: connect again and resume")

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
            async with asyncio.timeout_at(self._heard_s + self._limits.idle_s):
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
            self._samples += len(command.samples)
            self._service.metrics.audio.inc(len(command.samples) / SAMPLE_RATE)
            self._heard_s = asyncio.get_running_loop().time()
        if runner.pending_events > MAX_PENDING_EVENTS:
            raise TimedOut(f"{runner.pending_events} events wait to be read, expected a client that reads")

    # ---- session to client

    async def _write(self, runner: SessionRunner) -> None:
        async for event in runner.events():
            self._observe(event)
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

    async def _say_goodbye(self, error: WhisperLiveKitError) -> None:
        try:
            async with asyncio.timeout(GOODBYE_S), self._sending:
                for message in self._adapter.fail(error, self.session):
                    await self._channel.send(message)
        except (TimeoutError, Disconnected):
            pass  # It does not listen any more; the transport throws away what it did not take.

    async def _close(self, code: int, reason: str) -> None:
        # A close frame has room for 123 bytes of reason.
        short = reason.encode()[:120].decode(errors="ignore")
        try:
            async with asyncio.timeout(GOODBYE_S):
                await self._channel.close(code, short)
        except (TimeoutError, Disconnected):
            pass

    # ---- accounts

    def _observe(self, event: Event) -> None:
        metrics = self._service.metrics
        match event:
            case Committed(words):
                self._words += len(words)
                metrics.words.inc(len(words))
                for word in words:
                    self._observe_latency(metrics.commit_latency, word.end)
            case Partial(text, _, end) if text and end > self._shown_to:
                self._shown_to = end
                self._observe_latency(metrics.partial_latency, end)
            case UtteranceEnded(start, end):
                metrics.speech.inc((end - start) / SAMPLE_RATE)
            case Gap(start, end, reason):
                self._gaps += end - start
                metrics.gap.labels(reason).inc((end - start) / SAMPLE_RATE)
                log.warning("gap", extra={"start_s": start / SAMPLE_RATE, "end_s": end / SAMPLE_RATE, "reason": reason})
            case Progress(received, settled):
                self._observe_lag(received, settled)
            case _:
                pass

    def _observe_lag(self, received: int, settled: int) -> None:
        if not self._is_live(received):
            return
        self._ticket.lag_s = (received - settled) / SAMPLE_RATE
        if received > settled:
            self._service.metrics.lag.observe(self._ticket.lag_s)

    def _observe_latency(self, histogram: Histogram, end: int) -> None:
        """From the end of a word until now, when it is told."""
        if self._runner is not None and self._is_live(received := self._runner.received):
            histogram.observe(max(0, received - end) / SAMPLE_RATE)

    def _is_live(self, received: int) -> bool:
        """The audio comes as it is spoken: what is sent in one go is behind by nature."""
        open_s = asyncio.get_running_loop().time() - self._opened_s
        return (received - self._origin) / SAMPLE_RATE <= open_s + 2.0

    def _account(self, code: str) -> None:
        """One line and the counts of a connection that ended."""
        metrics = self._service.metrics
        metrics.closed.labels(code).inc()
        if self._samples:
            metrics.length.observe(self._samples / SAMPLE_RATE)
        open_s = asyncio.get_running_loop().time() - self._opened_s
        totals = {
            "code": code,
            "open_s": round(open_s, 1),
            "audio_s": round(self._samples / SAMPLE_RATE, 1),
            "words": self._words,
            "gap_s": round(self._gaps / SAMPLE_RATE, 1),
        }
        log.info("session closed", extra=totals)


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
            # RuntimeError: Starlette's word for sending after the close.
            raise Disconnected from error

    async def close(self, code: int, reason: str) -> None:
        try:
            await self._websocket.close(code, reason)
        except (WebSocketDisconnect, OSError, RuntimeError) as error:
            raise Disconnected from error


async def serve_socket(websocket: WebSocket, make_adapter: Callable[[], Adapter], protocol: str) -> None:
    """Serve one WebSocket of any protocol, or refuse it with an HTTP status before it is accepted."""
    service: Service = websocket.app.state.service
    address = websocket.client.host if websocket.client else "unknown"
    try:
        subprotocol = _check(service, websocket, websocket.scope.get("subprotocols", ()))
        ticket = service.admit(address)
    except WhisperLiveKitError as error:
        service.metrics.refuse(error)
        session = new_session_id()
        with session_context(session):
            log.info("session refused", extra={"code": error.code, "address": address})
        await websocket.send_denial_response(refusal(error, session))
        return
    service.metrics.opened.labels(protocol).inc()
    try:
        await websocket.accept(subprotocol)
    except BaseException:
        ticket.release()
        raise
    await Connection(_WebSocketChannel(websocket), make_adapter(), service, ticket).run()


async def explain_socket(request: Request) -> JSONResponse:
    """Tell by plain HTTP why a WebSocket from here would be refused: a browser does not show that to its page."""
    service: Service = request.app.state.service
    try:
        _check(service, request, ())
        if unavailable := service.unavailable():
            raise unavailable
        service.admission.admit(request.client.host if request.client else "unknown").release()
    except WhisperLiveKitError as error:
        return refusal(error, request.scope["session"])
    return JSONResponse(
        {"message": "this is a WebSocket, see docs/protocol.md"}, status_code=426, headers={"upgrade": "websocket"}
    )


def _check(service: Service, connection: HTTPConnection, subprotocols: Sequence[str]) -> str | None:
    service.guard.check_origin(connection.headers.get("origin"), connection.headers.get("host"))
    return service.guard.check_key(connection.headers, connection.query_params, subprotocols)


def refusal(error: WhisperLiveKitError, session: str) -> JSONResponse:
    """An error as an HTTP answer; ``session`` is the id to quote in a report."""
    headers = {"retry-after": str(RETRY_AFTER_S)} if error.http_status == 503 else {}
    if error.http_status == 401:
        headers["www-authenticate"] = "Bearer"
    body = {"code": error.code, "message": error.message, "session": session}
    return JSONResponse(body, status_code=error.http_status, headers=headers)
