"""What applies to every HTTP request: the host name it was sent to, and the headers of its response."""

import logging

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whisperlivekit.errors import UnknownHost
from whisperlivekit.observe.logs import session_context
from whisperlivekit.server.auth import Guard
from whisperlivekit.server.responses import REQUEST_ID, SECURITY_HEADERS, error_response
from whisperlivekit.server.service import new_session_id

log = logging.getLogger(__name__)

HEALTH_CHECKS = frozenset({"/live", "/ready"})
"""These answer to any host name: load balancers use names of their own, and they hold nothing private."""


class KnownHosts:
    """Rejects HTTP requests for host names that the server does not answer to; see ``Guard.check_host``.

    WebSockets are checked where they are accepted or rejected (``socket.py``). Starlette's TrustedHostMiddleware does
    not fit: it has no rule for IP addresses, exempts no path, and says neither which host it found nor what to set.
    """

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["path"] not in HEALTH_CHECKS:
            try:
                self._guard.check_host(Headers(scope=scope).get("host"))
            except UnknownHost as error:
                log.info("request rejected: %s", error.message)
                await error_response(error, scope["session"])(scope, receive, send)
                return
        await self._app(scope, receive, send)


class ResponseHeaders:
    """Gives every request an id and every response its security headers.

    The id is ``scope["session"]``. For a file it is the id of its session, and every error body contains it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        session = scope["session"] = new_session_id()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault(REQUEST_ID, session)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                # A cached page must not talk to a newer server: the browser asks each time, and gets 304 if nothing
                # has changed.
                headers.setdefault("cache-control", "no-cache")
            await send(message)

        with session_context(session):
            await self._app(scope, receive, send_with_headers)
