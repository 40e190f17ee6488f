"""uvicorn's transports for HTTP and WebSockets, changed so that every connection ends, whatever the client does.

This overrides methods inside uvicorn, so its version is pinned in pyproject.toml, and a test compares the code that is
relied on with the version that was read.
"""

import asyncio
import logging
from typing import Any, cast

import h11
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

HEAD_S = 20.0
"""How long a client may take to send the head of a request. uvicorn itself would wait for ever."""

LINGER_S = 5.0
"""How long a client may take to receive the end of a connection before the connection is aborted."""


class HttpTransport(H11Protocol):
    """Closes a connection whose request head does not arrive within HEAD_S, with a 408 if it has begun."""

    _head_timer: asyncio.TimerHandle | None = None
    _head_begun = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_S, self._end_without_head)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_waiting_for_head():
            self._head_begun = True
            if self._head_timer is None:
                self._head_timer = self.loop.call_later(HEAD_S, self._end_without_head)
        elif self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _is_waiting_for_head(self) -> bool:
        if self.transport.is_closing() or self.transport.get_protocol() is not self:  # closed, or now a WebSocket
            return False
        return self.cycle is None or self.cycle.response_complete

    def _end_without_head(self) -> None:
        self._head_timer = None
        if not self._is_waiting_for_head():
            return
        if self._head_begun:
            headers = [(b"connection", b"close"), (b"content-length", b"0")]
            response = h11.Response(status_code=408, headers=headers, reason=b"Request Timeout")
            self.transport.write(self.conn.send(response) or b"")
        self.transport.close()


class WebSocketTransport(WebSocketsSansIOProtocol):
    """Where it differs from uvicorn:

    - After a message that is too big, uvicorn closes the TCP connection at once. The rest of the message, still on its
      way, makes the kernel reset the connection, and the client may never see the close frame with code 1009. Here the
      rest is read and discarded for a while (``handle_parser_exception``).
    - Text that is not UTF-8 is the client's mistake: no traceback in the log (``_ClientMistakes``).
    - uvicorn waits for the write buffer to drain before it closes. With a client that does not read it waits for ever
      and keeps the memory. Here the connection is aborted after a while (``_EndingTransport``).
    - uvicorn closes a connection whose pong does not arrive in time. But the pong waits behind audio that is not read
      while the session has enough, so a client that sends faster than it is recognised would be disconnected. Here only
      a client from which nothing at all arrives while the server reads counts as gone (``keepalive_timeout``).
    - A rejection with an HTTP status is not an error of the application (``send``).
    """

    _heard_at_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._ending = _EndingTransport(cast(asyncio.Transport, transport), self.loop)
        super().connection_made(cast(asyncio.Transport, self._ending))
        self.close_timeout = LINGER_S
        self.logger.addFilter(_CLIENT_MISTAKES)  # has no effect when it was added before

    def data_received(self, data: bytes) -> None:
        self._heard_at_s = self.loop.time()
        # What arrives after the end is discarded.
        if not self.transport.is_closing():
            super().data_received(data)

    def handle_parser_exception(self) -> None:
        self._ending.keeps_reading = True
        super().handle_parser_exception()

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            # uvicorn would log an error for every rejected client, because there was no handshake.
            self.handshake_complete = True

    def keepalive_timeout(self) -> None:
        timeout = self.ping_timeout or 0.0
        # Silence counts from when reading resumed: the pong may be the next thing to be read.
        listening_s = self.loop.time() - max(self._heard_at_s, self._ending.resumed_at_s)
        if self.read_paused or listening_s < timeout:
            self.pong_timer = self.loop.call_later(timeout, self.keepalive_timeout)
            return
        super().keepalive_timeout()


class _EndingTransport:
    """An asyncio transport that is aborted LINGER_S after it was closed, unless it has ended by then."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._closed = False
        self.resumed_at_s = 0.0
        """When reading last resumed, in the loop's time."""
        self.keeps_reading = False
        """``close`` ends our direction only: closing with unread data would make the kernel reset the connection."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether ``close`` was called, or the transport is closing for another reason."""
        return self._closed or self._transport.is_closing()

    def resume_reading(self) -> None:
        """See ``asyncio.Transport``."""
        self.resumed_at_s = self._loop.time()
        self._transport.resume_reading()

    def close(self) -> None:
        """Flush and close; see ``asyncio.Transport.close``."""
        if self._closed:
            return
        self._closed = True
        if not self.keeps_reading:
            self._transport.close()
        elif not self._transport.is_closing():
            if self._transport.can_write_eof():  # not with TLS
                self._transport.write_eof()
            self._transport.resume_reading()
        self._loop.call_later(LINGER_S, self._transport.abort)


class _ClientMistakes(logging.Filter):
    """Drops uvicorn's log records of mistakes that only the client can make."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.msg != "Invalid UTF-8 sequence received from client."


_CLIENT_MISTAKES = _ClientMistakes()
