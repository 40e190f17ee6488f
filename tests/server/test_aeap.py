"""Asterisk's protocol over real sockets; a real Asterisk is in tests/clients/test_asterisk.py."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.server.scripted import LOUD, QUIET, Server, scripted_server

SETUP = '{"request":"setup","id":"1","version":"0.1.0","codecs":[{"name":"slin"}],"params":{"sample_rate":"16000"}}'


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with scripted_server() as running:
        yield running


def open_socket(server: Server, path: str = "/aeap") -> ClientConnection:
    names = [Subprotocol("speech_to_text")]
    socket: ClientConnection = connect(f"ws://127.0.0.1:{server.port}{path}", compression=None, subprotocols=names)
    return socket


def received(socket: ClientConnection) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(socket.recv(timeout=5))
    return found


def test_a_call_of_two_turns(server: Server) -> None:
    """The setup is answered, then each utterance is a request of the server; its subprotocol is Asterisk's."""
    with open_socket(server) as socket:
        assert socket.subprotocol == "speech_to_text"
        socket.send(SETUP)
        assert received(socket) == {"response": "setup", "id": "1", "codecs": [{"name": "slin"}]}
        for number in (1, 2):
            for begin in range(0, 2 * len(LOUD), 640):
                socket.send((LOUD + QUIET)[begin : begin + 640])
            told = received(socket)
            assert told["request"] == "set"
            assert told["id"].endswith(f"-{number}")
            [result] = told["params"]["results"]
            assert result["text"]
            socket.send(json.dumps({"response": "set", "id": told["id"]}))
            socket.send('{"request":"get","id":"2","params":["results"]}')
            assert received(socket)["params"]["results"] == [result]


def test_a_mistake_closes_the_connection(server: Server) -> None:
    """Audio before the setup: code 1007 with the reason, and no message."""
    with open_socket(server) as socket:
        socket.send(bytes(160))
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=5)
        assert socket.close_code == 1007
        assert socket.close_reason == "found 160 bytes of audio before the setup, expected a request setup"


def test_wrong_options_are_refused_before_the_upgrade(server: Server) -> None:
    """Asterisk logs the failure to connect."""
    with pytest.raises(InvalidStatus) as caught:
        open_socket(server, "/aeap?language=xx")
    assert caught.value.response.status_code == 415
