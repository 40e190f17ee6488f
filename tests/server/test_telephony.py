"""Calls from jambonz and FreeSWITCH on a real socket, with a scripted engine.

The handshakes have the headers that libwebsockets and IXWebSocket send.
"""

import json
import socket as sockets
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.server.scripted import LOUD, QUIET, Server, scripted_server
from tests.server.test_multichannel import stereo

JAMBONZ_START = (
    '{"type":"start","language":"ru-RU","format":"raw","encoding":"LINEAR16","interimResults":true,'
    '"sampleRateHz":16000,"options":{}}'
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with scripted_server() as running:
        yield running


def call(server: Server, path: str, **options: Any) -> ClientConnection:
    """As libwebsockets connects: it names the host without a port, in Host and in Origin."""
    connected = sockets.create_connection(("127.0.0.1", server.port))
    options = {"compression": None, "additional_headers": {"Origin": "http://127.0.0.1"}} | options
    return connect(f"ws://127.0.0.1{path}", sock=connected, **options)


def received(socket: ClientConnection) -> list[dict[str, Any]]:
    return [json.loads(message) for message in socket]


def test_a_call_of_jambonz(server: Server) -> None:
    """Interim and final results, and after stop the server closes: jambonz waits for that."""
    with call(server, "/jambonz", additional_headers={"Authorization": "Bearer any"}) as socket:
        assert socket.subprotocol is None
        socket.send(JAMBONZ_START)
        for at in range(0, len(LOUD + QUIET), 640):
            socket.send((LOUD + QUIET)[at : at + 640])
        socket.send('{"type": "stop"}')
        messages = received(socket)
    assert socket.close_code == 1000
    assert {message["type"] for message in messages} == {"transcription"}
    finals = [message["alternatives"][0] for message in messages if message["is_final"]]
    assert [final["transcript"].split()[:2] for final in finals] == [["раз", "два"]]
    assert [final["confidence"] for final in finals] == [0.9]
    assert all(message["channel"] == 1 and message["language"] == "ru-RU" for message in messages)


def test_a_mistake_of_jambonz_is_told_and_ends_the_connection(server: Server) -> None:
    """In the form that it forwards to the application."""
    with call(server, "/jambonz") as socket:
        socket.send(JAMBONZ_START.replace("ru-RU", "xx-XX"))
        message = json.loads(socket.recv(timeout=5))
        with pytest.raises(ConnectionClosedError):
            socket.recv(timeout=5)
    assert message["type"] == "error"
    assert message["error"].startswith('language is "xx-XX", expected')
    assert socket.close_code == 1003


def test_a_fork_of_a_call(server: Server) -> None:
    """The subprotocol is answered; after an empty frame the last words come, then the server closes."""
    with call(server, "/audio_fork?sample_rate=16000", subprotocols=[Subprotocol("audio.drachtio.org")]) as socket:
        assert socket.subprotocol == "audio.drachtio.org"
        socket.send('{"callid":"1"}')
        socket.send(LOUD)
        socket.send(b"")
        socket.send(b"")
        messages = received(socket)
    assert socket.close_code == 1000
    assert {message["type"] for message in messages} == {"transcription"}
    [final] = [message["data"] for message in messages if message["data"]["is_final"]]
    assert final["text"].startswith("раз два")
    assert "channel" not in final


def test_a_stereo_fork_has_two_speakers(server: Server) -> None:
    """mod_audio_stream offers compression, which the server does not take; caller and callee have a channel each."""
    path = "/audio_fork?sample_rate=16000&channels=2&interim=false"
    with call(server, path, compression="deflate", additional_headers={}) as socket:
        assert socket.response is not None
        assert "Sec-WebSocket-Extensions" not in socket.response.headers
        socket.send(stereo(LOUD + QUIET, QUIET + LOUD))
        socket.send('{"type":"stop"}')
        messages = received(socket)
    assert socket.close_code == 1000
    assert [message["data"]["channel"] for message in messages] == [0, 1]
    assert all(message["data"]["is_final"] for message in messages)


def test_a_fork_may_begin_with_silence(server: Server) -> None:
    """Nothing is sent while a call is paused: the server waits, and says nothing itself."""
    with call(server, "/audio_fork") as socket:
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.3)
        socket.send(b"")
        assert received(socket) == []


@pytest.mark.parametrize("path", ["/audio_fork?channels=9", "/audio_fork?language=xx"])
def test_a_wrong_address_is_refused_before_the_upgrade(server: Server, path: str) -> None:
    """FreeSWITCH makes an event of the HTTP status."""
    with pytest.raises(InvalidStatus) as caught, call(server, path):
        pass
    assert caught.value.response.status_code == 415
    assert b"unsupported_format" in caught.value.response.body


def test_a_key_in_the_address() -> None:
    """mod_audio_fork cannot send a header with a key."""
    with scripted_server(api_keys="0123456789abcdef") as guarded:
        with pytest.raises(InvalidStatus), call(guarded, "/audio_fork"):
            pass
        with call(guarded, "/audio_fork?token=0123456789abcdef") as socket:
            socket.send(b"")
            assert received(socket) == []
        with call(guarded, "/jambonz", additional_headers={"Authorization": "Bearer 0123456789abcdef"}) as socket:
            socket.send(JAMBONZ_START + '{"type":"stop"}')
            assert received(socket) == []


def test_both_protocols_are_counted(server: Server) -> None:
    """The metrics have a name for each."""
    with call(server, "/audio_fork") as socket:
        socket.send(b"")
        received(socket)
    metrics = httpx.get(f"{server.url}/metrics").text
    assert 'sessions_opened_total{protocol="audio_fork"}' in metrics
