"""Host names, and the headers of every response."""

import json
import socket
from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from tests.server.scripted import Server, scripted_server

REBOUND = "rebound.attacker.example"
"""A name whose owner has pointed it at this machine's loopback address."""


def connect_by_name(server: Server, name: str, origin: str) -> ClientConnection:
    """A WebSocket to the server under another name, without asking any DNS."""
    opened = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    return connect(f"ws://{name}:{server.port}/ws", sock=opened, origin=Origin(origin), compression=None)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with scripted_server() as running:
        yield running


@pytest.mark.parametrize("path", ["/", "/status", "/metrics", "/ws", "/openapi.json", "/nothing"])
def test_a_rebound_name_gets_nothing(server: Server, path: str) -> None:
    """DNS rebinding: the browser takes the attacker's page for the server's own, so only the name tells them apart."""
    host = f"{REBOUND}:{server.port}"
    response = httpx.get(f"{server.url}{path}", headers={"host": host, "origin": f"http://{host}"})
    assert (response.status_code, response.json()["code"]) == (421, "unknown_host")
    assert REBOUND in response.json()["message"]
    assert "WLK_ALLOWED_HOSTS" in response.json()["message"]
    assert response.json()["session"] == response.headers["x-request-id"]
    assert "default-src 'none'" in response.headers["content-security-policy"]


def test_a_rebound_name_cannot_send_a_file(server: Server) -> None:
    """Not even the body is read."""
    response = httpx.post(
        f"{server.url}/v1/audio/transcriptions", files={"file": ("a.wav", b"x")}, headers={"host": REBOUND}
    )
    assert response.status_code == 421


def test_a_rebound_name_gets_no_websocket(server: Server) -> None:
    """Although the page's Origin and the Host header agree with each other."""
    with pytest.raises(InvalidStatus) as caught:
        connect_by_name(server, REBOUND, origin=f"http://{REBOUND}:{server.port}")
    assert caught.value.response.status_code == 421
    assert json.loads(caught.value.response.body or b"")["code"] == "unknown_host"


@pytest.mark.parametrize("path", ["/live", "/ready"])
def test_health_checks_answer_to_any_name(server: Server, path: str) -> None:
    """A load balancer may use a name of its own, and these two hold nothing private."""
    assert httpx.get(f"{server.url}{path}", headers={"host": "backend"}).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1:1", "[::1]", "192.0.2.7:8000"])
def test_own_names_and_addresses_are_answered(server: Server, host: str) -> None:
    """A page that was loaded from an IP address cannot have been rebound: that takes a name."""
    assert httpx.get(f"{server.url}/", headers={"host": host}).status_code == 200


def test_names_can_be_allowed() -> None:
    """The public name of a proxy, with the page's origin check as before; * allows every name."""
    with scripted_server(allowed_hosts="speech.example.org") as server:
        for host, status in (("speech.example.org", 200), ("Speech.Example.org:443", 200), ("other.example.org", 421)):
            assert httpx.get(f"{server.url}/", headers={"host": host}).status_code == status
        name = "speech.example.org"
        with connect_by_name(server, name, origin=f"https://{name}:{server.port}") as stream:
            stream.send('{"type":"start"}')
            assert json.loads(stream.recv())["type"] == "ready"
        with pytest.raises(InvalidStatus) as caught:
            connect_by_name(server, name, origin="https://other.example.org")
        assert caught.value.response.status_code == 403
    with scripted_server(allowed_hosts="*") as server:
        assert httpx.get(f"{server.url}/", headers={"host": "any.example.org"}).status_code == 200
