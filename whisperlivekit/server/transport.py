"""uvicorn's WebSocket transport, made to end every connection: politely if the client takes part, but surely."""

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

LINGER_S = 5.0
"""How long a connection that is over may take to say so."""


class WebSocketTransport(WebSocketsSansIOProtocol):
    """Where we differ from uvicorn:

    - After a message that is too big it closes the TCP connection at once. The rest of the message, still on its way,
      makes the kernel reset the connection, and the client may never see the close frame with code 1009. Here the rest
      is read and thrown away for a while.
    - Text that is not UTF-8 is the client's mistake, not an exception for the log.
    - It waits for its write buffer to empty before it closes. With a client that does not read that is for ever, and
      so is its memory. Here the transport is aborted after a while.
    - It takes a client for gone whose pong does not come in time. But a pong stands in line behind audio, which is not
      read while the session has enough: whoever sends a file faster than it is recognised would be thrown out. Here
      only a client counts as gone from whom nothing at all comes while we read.
    - A refusal with an HTTP status is not an error of the application.
    """

    _lingering = False
    _heard_at = 0.0

    def data_received(self, data: bytes) -> None:
        self._heard_at = self.loop.time()
        super().data_received(data)

    def handle_parser_exception(self) -> None:
        if self._lingering:
            return
        self._lingering = True
        close = self.conn.close_sent
        if close is not None:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": close.code, "reason": close.reason})
        self.stop_keepalive()
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        # As long as there is a close_timer, uvicorn leaves the transport to it.
        self._abort_later()

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                # uvicorn would write a traceback into the log for every client that sends rubbish.
                self.frames = []
                self.conn.fail(1007, "text that is not UTF-8")
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def handle_events(self) -> None:
        # Frames after one that broke the protocol mean nothing.
        if not self._lingering:
            super().handle_events()

    async def run_asgi(self) -> None:
        await super().run_asgi()
        if self.close_timer is None:
            self._abort_later()

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            # There is none, but uvicorn would write an error into the log for every client that is refused.
            self.handshake_complete = True
        if message["type"] == "websocket.close" and self.close_timer is not None:
            self._abort_later()

    def keepalive_timeout(self) -> None:
        timeout = self.ping_timeout or 0.0
        if self.read_paused or self.loop.time() - self._heard_at < timeout:
            self.pong_timer = self.loop.call_later(timeout, self.keepalive_timeout)
            return
        super().keepalive_timeout()
        self._abort_later()

    def shutdown(self) -> None:
        super().shutdown()
        self._abort_later()

    def _abort_later(self) -> None:
        if self.disconnected:
            return
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(LINGER_S, self.transport.abort)
