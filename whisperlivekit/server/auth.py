"""Who may use the server: the host names it answers to, the origins of web pages, and API keys."""

import hmac
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import unquote, urlsplit

from fastapi import Security
from fastapi.security import APIKeyQuery, HTTPBearer
from starlette.requests import HTTPConnection

from whisperlivekit.errors import ForbiddenOrigin, Unauthorized, UnknownHost

ANY = "*"

TOKEN_SUBPROTOCOL = "token"  # noqa: S105  (the subprotocol's name, not a secret)
"""A browser cannot set the headers of a WebSocket: it offers the subprotocols "token" and the key."""

OPENAI_KEY_PREFIX = "openai-insecure-api-key."
"""In OpenAI's clients in browsers, the subprotocol that begins so carries the key."""

KEY_SCHEMES = (
    Security(HTTPBearer(scheme_name="key", auto_error=False)),
    Security(APIKeyQuery(name="token", scheme_name="token", auto_error=False)),
)
"""The two ways to present a key over HTTP, for the OpenAPI description. ``Guard.check_key`` does the check."""

KEY_IS_OPTIONAL: dict[str, Any] = {"security": [{}]}
"""Added to the OpenAPI description beside KEY_SCHEMES: a server without keys requires none."""

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<name>[^:@/\[\]\s]+))(?::\d*)?", re.IGNORECASE)
"""A Host header: a name or an address, and a port."""


@cache
def own_names() -> frozenset[str]:
    """This machine's names, as ``install.sh certificate`` writes them into the certificate.

    May ask the DNS: call it before the event loop runs.
    """
    name = socket.gethostname()
    short = name.partition(".")[0]
    return frozenset(found.lower() for found in ("localhost", name, short, f"{short}.local", socket.getfqdn()))


@dataclass(frozen=True, slots=True)
class Guard:
    """Checks a request before anything is done for it."""

    keys: tuple[str, ...] = ()
    """Empty: no key is required."""
    origins: tuple[str, ...] = ()
    """Origins of other sites' pages that may connect; "*" allows all."""
    hosts: frozenset[str] = frozenset({"localhost"})
    """Host names that the server answers to, in lower case; "*" allows all."""
    metrics_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Client addresses that may read the metrics without a key."""

    def check_host(self, host: str | None) -> None:
        """``host``: the Host header; None in HTTP/1.0 requests, which no browser sends.

        This prevents DNS rebinding: an attacker's page whose name is changed to point at this server has the same
        origin as the server, so nothing but the name tells the two apart. An IP address is always accepted, because
        rebinding needs a name.

        Raises:
            UnknownHost: the name is neither the server's own nor an allowed one.
        """
        if host is None or ANY in self.hosts:
            return
        match = _HOST.fullmatch(host)
        if match is not None:
            name = (match["ipv6"] or match["name"]).lower().removesuffix(".")
            if name in self.hosts or _is_address(name):
                return
        raise UnknownHost(
            f"the request names the host {host[:100]}, expected a name of this server, its IP address, or a name in "
            "WLK_ALLOWED_HOSTS"
        )

    def check_origin(self, origin: str | None, host: str | None) -> None:
        """``origin``: the Origin header, which every browser sends with a WebSocket; None: not a browser.

        Without this check, any page that a user visits could use a server that only the user can reach. ``host`` is
        the Host header and must have passed ``check_host``.

        Raises:
            ForbiddenOrigin: the page is neither the server's own nor an allowed one.
        """
        if origin is None or ANY in self.origins:
            return
        if origin.rstrip("/").lower() in {allowed.rstrip("/").lower() for allowed in self.origins}:
            return
        # The scheme is not compared: behind a proxy that terminates TLS the server does not know it.
        page = _host_and_port(origin)
        if page is not None and page == _host_and_port(f"{urlsplit(origin).scheme}://{host}"):
            return
        raise ForbiddenOrigin(
            f"a page of {origin[:100]} asked, expected the server's own page or an origin in WLK_ALLOWED_ORIGINS"
        )

    def check_key(
        self, headers: Mapping[str, str], query: Mapping[str, str], subprotocols: Sequence[str] = ()
    ) -> str | None:
        """Returns the subprotocol to answer with, if one was offered for the key.

        A key comes as ``Authorization: Bearer KEY``, as ``?token=KEY``, or as the second subprotocol after "token".
        In a subprotocol, characters that are not allowed there are percent-encoded. OpenAI's clients have a form of
        their own.

        Raises:
            Unauthorized: a key is required, and none or a wrong one was presented.
        """
        offered = list(subprotocols)
        answer = TOKEN_SUBPROTOCOL if TOKEN_SUBPROTOCOL in offered else None
        if not self.keys:
            return answer
        presented: list[str] = []
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        if scheme.lower() in {"bearer", "token"}:
            presented.append(credentials.strip())
        if token := query.get("token"):
            presented.append(token)
        if answer:
            protocols = [protocol for protocol in offered if protocol != TOKEN_SUBPROTOCOL]
            presented += protocols + [unquote(protocol) for protocol in protocols]
        presented += [name.removeprefix(OPENAI_KEY_PREFIX) for name in offered if name.startswith(OPENAI_KEY_PREFIX)]
        if not presented:
            raise Unauthorized(
                'no API key, expected "Authorization: Bearer KEY", "?token=KEY" or the subprotocol "token"'
            )
        if not any([_matches(key, known) for key in presented for known in self.keys]):  # noqa: C419  (constant time)
            raise Unauthorized("the API key is not one of this server's keys")
        return answer

    def check(self, connection: HTTPConnection) -> str | None:
        """All of the above for one request or WebSocket handshake; returns what ``check_key`` returns.

        Raises:
            UnknownHost, ForbiddenOrigin, Unauthorized: see above.
        """
        host = connection.headers.get("host")
        self.check_host(host)
        self.check_origin(connection.headers.get("origin"), host)
        return self.check_key(connection.headers, connection.query_params, connection.scope.get("subprotocols", ()))

    def check_metrics_key(self, connection: HTTPConnection) -> None:
        """Like ``check_key``, but addresses in ``metrics_networks`` need no key.

        The address is the client's. Behind a proxy that uvicorn trusts it is taken from X-Forwarded-For; a proxy on
        this machine that sends no X-Forwarded-For makes every client look like 127.0.0.1.

        Raises:
            Unauthorized: see ``check_key``.
        """
        if not _is_in(client_address(connection), self.metrics_networks):
            self.check_key(connection.headers, connection.query_params)


def client_address(connection: HTTPConnection) -> str:
    """The client's IP address; "unknown" on a socket that has none."""
    return connection.client.host if connection.client else "unknown"


def _matches(presented: str, known: str) -> bool:
    return hmac.compare_digest(presented.encode(), known.encode())


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_in(text: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # how a socket that listens on IPv6 names IPv4 clients
    return any(address in network for network in networks)


def _host_and_port(url: str) -> tuple[str, int | None] | None:
    """The host and port of a URL; None if it has none, like the origin "null"."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if host is None:
        return None
    return host, port if port is not None else _DEFAULT_PORTS.get(parts.scheme)
