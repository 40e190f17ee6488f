"""Who may connect: API keys, and the origins of web pages."""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from whisperlivekit.errors import ForbiddenOrigin, Unauthorized

TOKEN_SUBPROTOCOL = "token"  # noqa: S105  (the subprotocol's name, not a secret)
"""A browser cannot set a WebSocket's headers: it offers the subprotocols "token" and the key."""

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True)
class Guard:
    """Checks a request before anything is done for it."""

    keys: tuple[str, ...] = ()
    """Empty: nobody needs one."""
    origins: tuple[str, ...] = ()
    """Origins of other pages that may connect; "*": all."""

    def check_origin(self, origin: str | None, host: str | None) -> None:
        """``origin``: the Origin header, which every browser sends with a WebSocket. None: not a browser.

        Without this check any page that somebody visits could use a server that only he can reach.

        Raises:
            ForbiddenOrigin: the page is neither the server's own nor an allowed one.
        """
        if origin is None or "*" in self.origins:
            return
        if origin.rstrip("/").lower() in {allowed.rstrip("/").lower() for allowed in self.origins}:
            return
        # The scheme is not compared: behind a proxy that ends TLS the server does not know it.
        page = _place(origin)
        if page is not None and page == _place(f"{urlsplit(origin).scheme}://{host}"):
            return
        raise ForbiddenOrigin(
            f"a page of {origin[:100]} asked, expected the server's own page or an origin in WLK_ALLOWED_ORIGINS"
        )

    def check_key(
        self, headers: Mapping[str, str], query: Mapping[str, str], subprotocols: Sequence[str] = ()
    ) -> str | None:
        """The subprotocol to answer with, if one was offered for the key.

        A key comes as ``Authorization: Bearer KEY``, as ``?token=KEY``, or as second subprotocol after "token", there
        percent-encoded where it has characters that a subprotocol cannot have.

        Raises:
            Unauthorized: keys are asked for and none of them was presented.
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
        if not presented:
            raise Unauthorized(
                'no API key, expected "Authorization: Bearer KEY", "?token=KEY" or the subprotocol "token"'
            )
        if not any([_matches(key, known) for key in presented for known in self.keys]):  # noqa: C419  (constant time)
            raise Unauthorized("the API key is not one of this server's keys")
        return answer


def _matches(presented: str, known: str) -> bool:
    return hmac.compare_digest(presented.encode(), known.encode())


def _place(url: str) -> tuple[str, int | None] | None:
    """(host, port) of a URL; None where it has none, as in the origin "null"."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if host is None:
        return None
    return host, port if port is not None else _DEFAULT_PORTS.get(parts.scheme)
