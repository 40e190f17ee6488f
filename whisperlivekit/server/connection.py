"""One client's connection, in any protocol: receive -> adapter -> session -> adapter -> send.

A connection serves one stream after another. What it needs of a socket is a ``Channel``, so it runs over WebSockets and
TCP alike.

Bounds: a message is at most MAX_MESSAGE_BYTES long. Audio waits in the socket while the session has enough: not calling
receive is the back-pressure. Events wait for a slow reader up to MAX_PENDING_EVENTS or Limits.send_s, then the
connection ends.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from whisperlivekit.core.commands import Audio, Command, Start, Stop
from whisperlivekit.core.events import Done, Draining, Event, Ready
from whisperlivekit.errors import ClientError, InternalError, MessageTooBig, ShuttingDown, TimedOut, WhisperLiveKitError
from whisperlivekit.observe.logs import rename_session, session_context
from whisperlivekit.server.accounting import StreamAccount
from whisperlivekit.server.service import Service, new_session_id
from whisperlivekit.session.admission import Ticket
from whisperlivekit.session.runner import SessionRunner
from whisperlivekit.wire.adapter import MAX_MESSAGE_BYTES, Adapter, Message, Reply
from whisperlivekit.wire.languages import AUTO

log = logging.getLogger(__name__)

MAX_PENDING_EVENTS = 1_000
"""Events that may wait for a slow reader: some minutes of real-time speech. Who sends faster must read faster."""

LAST_WORDS_S = 10.0
"""Audio received before a client's mistake is still transcribed, if that takes no longer than this."""

PAUSE_LOOK_S = 0.1
"""How often a stream that cannot resume is looked at for a pause in which to end."""

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
    """One client and its sessions, from the first message to the close frame."""

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
        """The session of the current stream; None before the first one."""
        self._writer: asyncio.Task[None] | None = None
        """Sends what the current session tells."""
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when a stream has ended and no other can follow; has the exception if sending failed."""
        self._draining = asyncio.Event()
        """Set when the worker shuts down."""
        self._pause_by_s = 0.0
        """When a draining connection stops waiting for a pause, in the loop's time."""
        self._sending = asyncio.Lock()
        """Messages are sent in the order of their sequence numbers."""
        self._stopped = False
        """The client ended the current stream, or the server acted as if it had."""
        self._failing = False
        """An error ends the connection: Done is not sent."""
        self._last_audio_s = self._opened_s = asyncio.get_running_loop().time()

    def drain(self, within_s: float) -> None:
        """End soon, and within ``within_s``: the worker shuts down."""
        self._pause_by_s = asyncio.get_running_loop().time() + within_s - LAST_WORDS_S / 2
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
        reader = asyncio.create_task(self._read())
        draining = asyncio.create_task(self._draining.wait())
        try:
            await asyncio.wait(
                (reader, self._ended, draining),
                timeout=self._limits.session_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if self._ended.done():
                self._ended.result()
            elif reader.done():
                await self._end_after(reader)
            elif draining.done():
                await self._end_for_drain(reader)
            else:
                reader.cancel()
                await self._finish()
                raise TimedOut(f"the session lasted {self._limits.session_s / 3600:g} h, the longest allowed")
        finally:
            tasks = [reader, draining, *([self._writer] if self._writer else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._ended.done():
                self._ended.exception()  # Another reason may have ended the connection: asyncio need not complain.

    async def _end_after(self, reader: asyncio.Task[None]) -> None:
        """The reader ended, which only an error does. Audio received before a client's mistake is still transcribed."""
        error = reader.exception()
        if isinstance(error, ClientError):
            await self._finish()
        reader.result()

    async def _finish(self) -> None:
        """Transcribe and send what was received, without a Done at the end."""
        if self._runner is None or self._writer is None:
            return
        self._failing = True
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                if not self._stopped:
                    self._stopped = True
                    await self._runner.receive(Stop())
                await asyncio.wait((self._writer,))
        except (TimeoutError, WhisperLiveKitError):
            pass  # The error that ends the connection matters more.

    async def _end_for_drain(self, reader: asyncio.Task[None]) -> None:
        """The worker shuts down. A stream that has all its audio ends normally, and one that can resume does so on
        another worker. Any other one goes on until its next pause.
        """
        await self._send(Draining())
        if not self._adapter.resumes:
            await self._wait_for_pause(reader)
        reader.cancel()
        if self._runner is not None and self._writer is not None:
            if self._stopped:
                await asyncio.wait((self._writer,))
            elif self._adapter.resumes:
                await self._runner.drain()
                await asyncio.wait((self._writer,))
            else:
                await self._finish()
        if self._ended.done():
            self._ended.result()
            return
        raise ShuttingDown("this worker is shutting down; connect again and resume")

    async def _wait_for_pause(self, reader: asyncio.Task[None]) -> None:
        """Returns when nobody speaks and the client has all text, or when there is no more time."""
        loop = asyncio.get_running_loop()
        while loop.time() < self._pause_by_s and not self._ended.done():
            if reader.done():
                await self._end_after(reader)
            paused = self._runner is None or self._runner.paused or (self._stopped and not self._adapter.continues)
            if paused and not self._adapter.holds_text:
                return
            await asyncio.sleep(PAUSE_LOOK_S)

    # ---- client to session

    async def _read(self) -> None:
        for item in self._adapter.open(self.session):
            await self._take(item)
        while True:
            for item in self._adapter.receive(await self._receive_in_time()):
                await self._take(item)

    async def _receive_in_time(self) -> Message:
        if self._stopped or self._adapter.may_be_silent:
            return await self._receive()
        if self._runner is None:
            limit_s = self._limits.first_message_s
            found = f"no first message within {limit_s:g} s, expected the start of a stream"
            deadline_s = self._opened_s + limit_s
        else:
            found = f"no audio for {self._limits.idle_s:g} s, expected audio, or stop"
            deadline_s = self._last_audio_s + self._limits.idle_s
        try:
            async with asyncio.timeout_at(deadline_s):
                return await self._receive()
        except TimeoutError:
            raise TimedOut(found) from None

    async def _receive(self) -> Message:
        message = await self._channel.receive()
        size = len(message) if isinstance(message, bytes) else len(message.encode())
        if size > MAX_MESSAGE_BYTES:
            raise MessageTooBig(f"message has {size} bytes, expected up to {MAX_MESSAGE_BYTES}")
        return message

    async def _take(self, item: Command | Reply) -> None:
        if isinstance(item, Reply):
            await self._send_all([item.message])
            return
        if isinstance(item, Start):
            await self._begin(item)
            return
        runner = self._runner
        if runner is None:
            raise TypeError(f"an adapter's first command is {type(item).__name__}, expected Start")
        if isinstance(item, Stop):
            self._stopped = True
        await runner.receive(item)
        if isinstance(item, Audio):
            self._account.receive_audio(len(item.samples))
            self._last_audio_s = asyncio.get_running_loop().time()
        if runner.pending_events > MAX_PENDING_EVENTS:
            raise TimedOut(f"{runner.pending_events} events are waiting, expected the client to read them")

    async def _begin(self, start: Start) -> None:
        """Begin a stream, when everything of the one before has been sent."""
        if self._runner is not None and self._writer is not None:
            await asyncio.wait((self._writer,))
            await self._runner.close()
        if self._draining.is_set():
            raise ShuttingDown("this worker is shutting down; connect again")
        self._account.begin(start)
        resumed = self._resume(start)
        runner = self._runner = self._service.start_session(start)
        self._stopped = False
        self._last_audio_s = asyncio.get_running_loop().time()
        language = start.language or self._service.session_config.language
        model = self._service.settings.model
        log.info("session opened", extra={"language": language or AUTO, **resumed})
        position = start.resume.position if start.resume else 0
        await self._send(Ready(self.session, model, None if language == AUTO else language, position))
        self._writer = asyncio.create_task(self._write(runner))
        self._writer.add_done_callback(self._end_writer)

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

    # ---- session to client

    async def _write(self, runner: SessionRunner) -> None:
        """Send what the session tells, to its end."""
        async for event in runner.events():
            self._account.observe(event, runner.received)
            if not (self._failing and isinstance(event, Done)):
                await self._send(event)

    def _end_writer(self, writer: asyncio.Task[None]) -> None:
        """The session has told everything, or sending failed."""
        if writer.cancelled() or self._ended.done():
            return
        if (error := writer.exception()) is not None:
            self._ended.set_exception(error)
        elif self._stopped and not self._failing and not self._adapter.continues:
            self._ended.set_result(None)

    async def _send(self, event: Event) -> None:
        async with self._sending:
            for message in self._adapter.send(event):
                await self._send_in_time(message)

    async def _send_all(self, messages: Sequence[Message]) -> None:
        async with self._sending:
            for message in messages:
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
