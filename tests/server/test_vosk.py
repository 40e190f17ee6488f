"""Vosk's clients over real sockets: where they connect, and what they get with a scripted engine."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.server.scripted import LOUD, QUIET, Server, scripted_server
from whisperlivekit.engine.scripted import ScriptedEngine

FRAME = 3_200


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with scripted_server(ScriptedEngine(("Раз,", "два.", "25"))) as running:
        yield running


def open_socket(server: Server, path: str = "/vosk", **options: Any) -> ClientConnection:
    socket: ClientConnection = connect(f"ws://127.0.0.1:{server.port}{path}", compression=None, **options)
    return socket


def answers(socket: ClientConnection, audio: bytes) -> list[dict[str, Any]]:
    """The answers of a client that sends a frame, reads an answer, sends the next, and at the end ``eof``."""
    found = []
    for begin in range(0, len(audio), FRAME):
        socket.send(audio[begin : begin + FRAME])
        found.append(json.loads(socket.recv(timeout=5)))
    socket.send('{"eof" : 1}')
    found.append(json.loads(socket.recv(timeout=5)))
    return found


@pytest.mark.parametrize("path", ["/vosk", "/", "", "/?language=ru", "/vosk?sample_rate=16000"])
def test_where_clients_connect(server: Server, path: str) -> None:
    """At the host and port alone, as their configurations have it, or at a path of its own."""
    with open_socket(server, path) as socket:
        socket.send('{"config" : {"sample_rate" : 16000}}')
        found = answers(socket, LOUD + QUIET)
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=5)
        assert socket.close_code == 1000
    assert len(found) == 2 * len(LOUD) // FRAME + 1
    assert " ".join(answer["text"] for answer in found if answer.get("text")) == "раз два двадцать пять"


def test_the_page_stays_where_it_is(server: Server) -> None:
    """A browser that asks for the same address without an upgrade gets the page; other paths have no WebSocket."""
    response = httpx.get(f"{server.url}/")
    assert response.status_code == 200
    assert "<html" in response.text
    with pytest.raises(InvalidStatus) as caught:
        open_socket(server, "/nowhere")
    assert caught.value.response.status_code == 404


def test_a_telephone_sends_no_config(server: Server) -> None:
    """8000 Hz: the same bytes are twice as long."""
    with open_socket(server) as socket:
        found = answers(socket, LOUD + QUIET)
    assert " ".join(answer["text"] for answer in found if answer.get("text")).split()[:2] == ["раз", "два"]
    words = [word for answer in found for word in answer.get("result", ())]
    assert words[-1]["end"] == pytest.approx(2.0, abs=0.1)


def test_wrong_options_are_refused_before_the_upgrade(server: Server) -> None:
    """With the reason: who configured the address sees it."""
    with pytest.raises(InvalidStatus) as caught:
        open_socket(server, "/vosk?text=shouted")
    assert caught.value.response.status_code == 415
    assert caught.value.response.body is not None
    assert json.loads(caught.value.response.body)["message"] == "text is 'shouted', expected plain or written"


def test_a_wrong_sample_rate_closes_the_connection(server: Server) -> None:
    """Code 1003 with the reason, and no message: a client would take it for a text."""
    with open_socket(server) as socket:
        socket.send('{"config" : {"sample_rate" : "fast"}}')
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=5)
        assert socket.close_code == 1003
        assert socket.close_reason == "sample_rate is fast, expected 8000 to 192000 samples a second"


def test_asterisk_gets_its_subprotocol_back(server: Server) -> None:
    """And no extension that it did not ask for: it would end the connection."""
    with open_socket(server, subprotocols=[Subprotocol("ws")]) as socket:
        assert socket.subprotocol == "ws"
        assert socket.response is not None
        assert "Sec-WebSocket-Extensions" not in socket.response.headers


def test_streams_are_counted_by_protocol(server: Server) -> None:
    """In the metrics."""
    with open_socket(server) as socket:
        answers(socket, QUIET)
    assert 'sessions_opened_total{protocol="vosk"}' in httpx.get(f"{server.url}/metrics").text


def test_a_key_in_the_address() -> None:
    """Telephone modules can send it nowhere else."""
    with scripted_server(api_keys="0123456789abcdef") as server:
        with open_socket(server, "/?token=0123456789abcdef") as socket:
            assert answers(socket, b"") == [{"text": ""}]
        with pytest.raises(InvalidStatus) as caught:
            open_socket(server, "/")
        assert caught.value.response.status_code == 401
