"""The /asr socket on a real server, with a scripted engine."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.audio.test_stream_container import record
from tests.server.scripted import LOUD, QUIET, Server, scripted_server, told
from tests.server.test_socket import ended

KEY = "0123456789abcdef"
ORIGIN = "https://speech.example.org"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with scripted_server(api_keys=KEY, allowed_origins=ORIGIN) as running:
        yield running


def opened(server: Server, query: str = "", **options: Any) -> ClientConnection:
    url = f"ws://127.0.0.1:{server.port}/asr?token={KEY}&{query}"
    socket: ClientConnection = connect(url, compression=None, **options)
    return socket


@pytest.mark.parametrize("mode", ["full", "diff"])
def test_a_stream(server: Server, mode: str) -> None:
    """Config first, then the words, ready_to_stop, and the end. The page sends one more piece after its end."""
    with opened(server, f"language=ru&mode={mode}", origin=ORIGIN) as socket:
        assert json.loads(socket.recv()) == {"type": "config", "useAudioWorklet": True, "mode": mode}
        socket.send("text is ignored")
        sent = (LOUD * 2)[: int(1.2 * 32_000)] + QUIET
        for at in range(0, len(sent), 3_201):
            socket.send(sent[at : at + 3_201])
        socket.send(b"")
        socket.send(QUIET)
        updates = told(socket)
    assert socket.close_code == 1000
    assert updates[-1] == {"type": "ready_to_stop"}
    name = "lines" if mode == "full" else "new_lines"
    last = [line for update in updates for line in update.get(name, [])][-1]
    assert last["text"] == "раз два три"


@pytest.mark.parametrize("kind", ["webm", "ogg", "mp4"])
def test_a_stream_of_a_media_recorder(server: Server, kind: str) -> None:
    """Pieces of a media file instead of raw audio, as pages send that do not know config: the words are the same."""
    with opened(server) as socket:
        for piece in record(kind, seconds=1.25):
            socket.send(piece)
        socket.send(b"")
        updates = told(socket)
    assert updates[-1] == {"type": "ready_to_stop"}
    assert updates[-2]["lines"][-1]["text"] == "раз два три"
    assert updates[-2]["lines"][-1]["end"] == "0:00:01.20"


def test_a_damaged_media_file_is_an_error(server: Server) -> None:
    """The page is told, and the server goes on."""
    with opened(server) as socket:
        socket.send(b"\x1a\x45\xdf\xa3" + bytes(5_000))
        socket.send(b"")
        updates, code = ended(socket)
    assert updates[-1]["status"] == "error"
    assert "not a media file" in updates[-1]["error"]
    assert code == 1007
    server.wait_until("no stream is left", lambda: server.service.streams == 0)


def test_a_wrong_option_has_its_own_close_code(server: Server) -> None:
    """4400 after the handshake, as the original; nothing is left of the stream."""
    with opened(server, "language=klingon") as socket:
        [message], code = ended(socket)
    assert message["type"] == "error"
    assert "language is" in message["error"]
    assert code == 4400
    server.wait_until("no stream is left", lambda: server.service.streams == 0)


def test_a_key_is_asked_for(server: Server) -> None:
    """In the address, as Bearer or as Token. Without one the handshake fails, as it does with the original: that closes
    with 4401 before it has accepted, which a client sees as an HTTP status.
    """
    url = f"ws://127.0.0.1:{server.port}/asr"
    with pytest.raises(InvalidStatus, match="401"):
        connect(url)
    for scheme in ("Bearer", "Token"):
        with connect(url, additional_headers={"Authorization": f"{scheme} {KEY}"}) as socket:
            assert json.loads(socket.recv())["type"] == "config"
