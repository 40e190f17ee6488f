"""Host names, origins and API keys."""

import subprocess
from ipaddress import ip_network

import pytest
from starlette.requests import HTTPConnection

from whisperlivekit.errors import ForbiddenOrigin, Unauthorized, UnknownHost
from whisperlivekit.server.auth import Guard, own_names

KEY = "0123456789abcdef"


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "example.org"),
        ("https://example.org", "example.org"),
        ("https://example.org", "example.org:443"),
        ("http://localhost:8000", "localhost:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("https://EXAMPLE.org", "example.ORG"),
        ("https://other.org", "example.org"),
    ],
)
def test_own_page_allowed_pages_and_programs_pass(origin: str | None, host: str) -> None:
    """No Origin is no browser; the server's own page and the allowed ones pass."""
    Guard(origins=("https://other.org",)).check_origin(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.org", "example.org"),
        ("http://localhost:9000", "localhost:8000"),
        ("https://example.org.evil.org", "example.org"),
        ("null", "example.org"),
        ("file://", "example.org"),
        ("https://example.org", None),
        ("http://[broken", "example.org"),
        ("", ""),
        ("http://a:99999", "a"),
    ],
)
def test_other_pages_are_refused(origin: str, host: str | None) -> None:
    """Whatever is not clearly the own page is another one."""
    with pytest.raises(ForbiddenOrigin, match="expected the server's own page"):
        Guard().check_origin(origin, host)


def test_a_star_allows_every_page() -> None:
    """``*`` is what an operator asks for a public server."""
    Guard(origins=("*",)).check_origin("https://evil.org", "example.org")


@pytest.mark.parametrize(
    ("headers", "query", "subprotocols", "answer"),
    [
        ({"authorization": f"Bearer {KEY}"}, {}, [], None),
        ({"authorization": f"bearer  {KEY} "}, {}, [], None),
        ({}, {"token": KEY}, [], None),
        ({}, {}, ["token", KEY], "token"),
        ({}, {}, ["realtime", f"openai-insecure-api-key.{KEY}"], None),
        ({"authorization": "Bearer wrong"}, {"token": KEY}, [], None),
    ],
)
def test_a_key_is_taken_from_each_place(
    headers: dict[str, str], query: dict[str, str], subprotocols: list[str], answer: str | None
) -> None:
    """Header, query, subprotocol; "token" is answered, or browsers end the connection. Of the subprotocols of OpenAI's
    clients, the route answers the other one.
    """
    assert Guard(keys=("another key of ours", KEY)).check_key(headers, query, subprotocols) == answer


@pytest.mark.parametrize(
    ("headers", "query", "subprotocols"),
    [
        ({"authorization": "Bearer nonsense"}, {}, []),
        ({"authorization": f"Basic {KEY}"}, {}, []),
        ({}, {"token": KEY[:-1]}, []),
        ({}, {"token": ""}, []),
        ({}, {}, [KEY]),
        ({}, {}, ["token"]),
        ({}, {}, ["realtime", f"openai-insecure-api-key.{KEY[:-1]}"]),
        ({}, {"token": "ключ"}, []),
        ({}, {}, []),
    ],
)
def test_no_key_no_service(headers: dict[str, str], query: dict[str, str], subprotocols: list[str]) -> None:
    """Nothing but a whole key opens, and the error does not tell one."""
    with pytest.raises(Unauthorized) as caught:
        Guard(keys=(KEY,)).check_key(headers, query, subprotocols)
    assert KEY not in caught.value.message


def test_without_keys_nobody_needs_one() -> None:
    """A key that nobody asked for is no mistake, and the subprotocol is still answered."""
    assert Guard().check_key({}, {}) is None
    assert Guard().check_key({}, {}, ["token", "whatever"]) == "token"


def test_a_key_that_no_subprotocol_can_have_comes_percent_encoded() -> None:
    """Base64 has "/" and "=", which browsers do not allow in a subprotocol; a key with "%" is also taken as it is."""
    guard = Guard(keys=("abc/def+0123456=", "percent%41percent"))
    assert guard.check_key({}, {}, ["token", "abc%2Fdef%2B0123456%3D"]) == "token"
    assert guard.check_key({}, {}, ["token", "percent%41percent"]) == "token"
    with pytest.raises(Unauthorized):
        guard.check_key({}, {}, ["token", "percentApercent"])


LOCAL = Guard(hosts=frozenset({"localhost", "box.local"}))


@pytest.mark.parametrize(
    "host",
    [
        None,
        "localhost",
        "LOCALHOST:8000",
        "localhost.",
        "box.local:443",
        "127.0.0.1",
        "127.0.0.1:8000",
        "203.0.113.9",
        "[::1]",
        "[2001:db8::1]:8000",
    ],
)
def test_own_names_and_any_address_are_answered(host: str | None) -> None:
    """An address cannot be rebound, and a request without a Host header comes from no browser."""
    LOCAL.check_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "evil.example:8000",
        "localhost@evil.example",
        "127.0.0.1.evil.example",
        "2130706433",
        "[evil.example]",
        "localhost:80:80",
        "local host",
        "",
    ],
)
def test_other_names_are_not_answered(host: str) -> None:
    """Whatever is not clearly a known name or an address is another name; the message names the setting."""
    with pytest.raises(UnknownHost, match="WLK_ALLOWED_HOSTS"):
        LOCAL.check_host(host)


def test_a_star_allows_every_name() -> None:
    """For an operator whose proxy checks the names."""
    Guard(hosts=frozenset({"*"})).check_host("evil.example")


def test_own_names_are_those_of_the_certificate() -> None:
    """``install.sh certificate`` makes one for these names: each of them must reach the server."""
    told = [subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() for command in COMMANDS]
    assert own_names() >= {"localhost", *(name.lower() for name in told if name), f"{told[1].lower()}.local"}


COMMANDS = (["hostname"], ["hostname", "-s"], ["hostname", "-f"])


def connection(address: str, **headers: str) -> HTTPConnection:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return HTTPConnection({"type": "http", "client": (address, 1), "headers": raw, "query_string": b""})


@pytest.mark.parametrize(
    ("address", "opens"),
    [("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("fd00::1", True), ("192.0.2.1", False), ("unknown", False)],
)
def test_addresses_open_the_metrics(address: str, opens: bool) -> None:
    """Those of the setting, also as a socket that listens on IPv6 writes them; others need the key."""
    guard = Guard(keys=(KEY,), metrics_networks=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")))
    if opens:
        guard.check_metrics_key(connection(address))
    else:
        with pytest.raises(Unauthorized):
            guard.check_metrics_key(connection(address))
    guard.check_metrics_key(connection(address, authorization=f"Bearer {KEY}"))
