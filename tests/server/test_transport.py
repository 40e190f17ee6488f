"""How connections end on the wire, seen in raw bytes: a client library would hide it."""

import hashlib
import inspect
import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from tests.server.scripted import LOUD, Server, scripted_server, told
from tests.server.test_upload import upload_head
from whisperlivekit.engine.scripted import ScriptedEngine
from whisperlivekit.server.worker import SpeechWorker

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TEXT, BINARY, CLOSE = 1, 2, 8


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with scripted_server() as running:
        yield running


def opened(server: Server) -> socket.socket:
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    raw.sendall(HANDSHAKE)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += raw.recv(1)
    assert answer.startswith(b"HTTP/1.1 101 ")
    return raw


def frame(opcode: int, payload: bytes, *, declared: int | None = None, final: bool = True) -> bytes:
    """A client's frame with the mask 0; ``declared``: the length it claims."""
    length = len(payload) if declared is None else declared
    first = (0x80 if final else 0) | opcode
    if length < 126:
        head = struct.pack("!BB", first, 0x80 | length)
    elif length < 65_536:
        head = struct.pack("!BBH", first, 0x80 | 126, length)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, length)
    return head + bytes(4) + payload


def until_closed(raw: socket.socket, *, reset: bool = False) -> list[tuple[int, bytes]]:
    """Every frame the server sends until it ends the connection; ``reset``: that way is fine too."""
    received = b""
    with suppress(*([ConnectionResetError] if reset else [])):
        while data := raw.recv(65_536):
            received += data
    frames = []
    while received:
        length, start = received[1], 2
        if length == 126:
            length, start = struct.unpack("!H", received[2:4])[0], 4
        frames.append((received[0] & 0x0F, received[start : start + length]))
        received = received[start + length :]
    return frames


def close_code(frames: list[tuple[int, bytes]]) -> int:
    opcode, payload = frames[-1]
    assert opcode == CLOSE, frames
    code: int = struct.unpack("!H", payload[:2])[0]
    return code


def test_a_frame_that_is_too_big_ends_with_1009_while_it_is_still_sent(server: Server) -> None:
    """The close frame arrives although megabytes are still on their way; no TCP reset discards it."""
    with opened(server) as raw:
        raw.sendall(frame(BINARY, b"", declared=20_000_000))
        for _ in range(200):
            raw.sendall(bytes(100_000))
        assert close_code(until_closed(raw)) == 1009
    server.check_alive()


def test_a_message_in_many_frames_is_bounded_too(server: Server) -> None:
    """The limit applies to the sum of the fragments."""
    with opened(server) as raw:
        raw.sendall(frame(BINARY, bytes(1_000_000), final=False))
        for _ in range(3):
            raw.sendall(frame(0, bytes(1_000_000), final=False))
        assert close_code(until_closed(raw)) == 1009


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"\xff\xfe"), 1007),
        (frame(3, b""), 1002),
        (b"\x81\x02hi", 1002),
        (b"GET / HTTP/1.1\r\n\r\n", 1002),
    ],
    ids=["not UTF-8", "unknown opcode", "no mask", "HTTP"],
)
def test_protocol_errors_get_their_close_code(server: Server, sent: bytes, code: int) -> None:
    """Frames that violate RFC 6455 get the close code that it defines."""
    with opened(server) as raw:
        raw.sendall(sent)
        assert close_code(until_closed(raw)) == code
    server.check_alive()


def test_frames_after_an_error_are_ignored(server: Server) -> None:
    """A start after a broken frame opens no session."""
    with opened(server) as raw:
        raw.sendall(frame(3, b"") + frame(TEXT, b'{"type":"start"}'))
        frames = until_closed(raw)
    assert [opcode for opcode, _ in frames] == [CLOSE]


def test_a_peer_that_ignores_the_close_is_disconnected(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error the connection ends within the linger time, whether or not the client answers."""
    monkeypatch.setattr("whisperlivekit.server.transport.LINGER_S", 0.2)
    with opened(server) as raw:
        raw.sendall(frame(TEXT, b"garbage"))
        began = time.monotonic()
        frames = until_closed(raw, reset=True)
        assert [opcode for opcode, _ in frames] == [TEXT, CLOSE]
        assert time.monotonic() - began < 2.0
    server.wait_until("the connection is forgotten", lambda: not server.uvicorn.server_state.connections)


def test_a_late_pong_behind_audio_does_not_disconnect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends faster than it is recognised stays connected: its pong waits behind unread audio."""
    monkeypatch.setitem(SpeechWorker.CONFIG_KWARGS, "ws_ping_interval", 0.1)
    monkeypatch.setitem(SpeechWorker.CONFIG_KWARGS, "ws_ping_timeout", 0.4)
    # A decode that takes longer than the ping's time limit, and more audio than the session takes meanwhile. That one
    # is a multiple of the other matters: reading resumes in the moment in which the time is up.
    with scripted_server(ScriptedEngine(delay_s=0.8)) as server, server.connect(ping_interval=None) as client:
        client.send('{"type":"start"}')
        for _ in range(60):
            client.send(LOUD)
        client.send('{"type":"stop"}')
        events = told(client)
    assert events[-1]["type"] == "done"
    assert events[-1]["audio_s"] == 60


def test_a_half_open_connection_is_found_by_ping(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client whose network has failed sends nothing at all: its session ends after the ping timeout."""
    monkeypatch.setitem(SpeechWorker.CONFIG_KWARGS, "ws_ping_interval", 0.1)
    monkeypatch.setitem(SpeechWorker.CONFIG_KWARGS, "ws_ping_timeout", 0.2)
    monkeypatch.setattr("whisperlivekit.server.transport.LINGER_S", 0.1)
    with scripted_server() as server:
        raw = opened(server)
        raw.sendall(frame(TEXT, b'{"type":"start"}'))
        server.wait_until("it is live", lambda: server.service.streams == 1)
        server.wait_until("it is forgotten", lambda: server.service.streams == 0, within_s=2)
        server.wait_until("so is its socket", lambda: not server.uvicorn.server_state.connections, within_s=2)
        raw.close()
        server.check_alive()


def test_text_that_is_not_utf_8_is_no_error_of_the_server(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """It is the client's mistake: the log gets neither an error nor a traceback."""
    with opened(server) as raw:
        raw.sendall(frame(TEXT, b"\xff\xfe") + frame(TEXT, b'{"type":"start"}'))
        frames = until_closed(raw)
    assert [opcode for opcode, _ in frames] == [CLOSE]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_rejected_websocket_is_no_error_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    """It got its status, so nothing has failed."""
    with scripted_server(api_keys="0123456789abcdef") as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
            raw.sendall(HANDSHAKE)
            assert raw.recv(65_536).startswith(b"HTTP/1.1 401 ")
        server.wait_until("the connection is forgotten", lambda: not server.uvicorn.server_state.connections)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


HEAD = b"GET /live HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("sent", "answers"),
    [([b""], []), ([HEAD], [408]), ([HEAD + b"\r\n", HEAD], [200, 408])],
    ids=["nothing", "half a head", "half of a second head"],
)
def test_a_head_that_does_not_come_is_not_waited_for(
    server: Server, monkeypatch: pytest.MonkeyPatch, sent: list[bytes], answers: list[int]
) -> None:
    """Slowloris: a client that never finishes its request head holds a connection for HEAD_S only."""
    monkeypatch.setattr("whisperlivekit.server.transport.HEAD_S", 0.3)
    with socket.create_connection(("127.0.0.1", server.port), timeout=3) as raw:
        received = b""
        for part in sent[:-1]:
            raw.sendall(part)
            while not received.endswith(b"live\n"):
                received += raw.recv(65_536)
        raw.sendall(sent[-1])
        while data := raw.recv(65_536):
            received += data
    assert [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", received)] == answers
    server.wait_until("the connection is forgotten", lambda: not server.uvicorn.server_state.connections)


def test_a_head_that_comes_byte_by_byte_is_not_waited_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time does not begin again with every byte."""
    monkeypatch.setattr("whisperlivekit.server.transport.HEAD_S", 0.4)
    with socket.create_connection(("127.0.0.1", server.port), timeout=3) as raw, suppress(ConnectionError):
        began = time.monotonic()
        for byte in HEAD * 2:
            raw.sendall(bytes([byte]))
            time.sleep(0.1)
            if time.monotonic() - began > 3:
                pytest.fail("the server still reads")


def test_the_time_for_a_head_does_not_end_a_stream_or_a_request(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the head is complete, the limit is over: for a WebSocket, and for a body that takes longer."""
    monkeypatch.setattr("whisperlivekit.server.transport.HEAD_S", 0.2)
    with opened(server) as raw, upload_head(server) as body:
        time.sleep(0.5)
        raw.sendall(frame(TEXT, b'{"type":"start"}'))
        assert raw.recv(1)
        assert len(server.service.uploads) == 1
        body.close()


RELIED_ON: dict[type, str] = {
    H11Protocol: "c2573d455fed4ec2",
    RequestResponseCycle: "b9327fce724d5252",
    WebSocketsSansIOProtocol: "0bbcec98938432f7",
}
"""The classes of uvicorn that server/transport.py extends, and the SHA-256 of the source that it was written for."""


@pytest.mark.parametrize("relied_on", RELIED_ON, ids=lambda found: found.__name__)
def test_uvicorn_is_the_one_that_was_read(relied_on: type) -> None:
    """A changed uvicorn is not necessarily wrong: the message says what to do."""
    digest = hashlib.sha256(inspect.getsource(relied_on).encode()).hexdigest()[:16]
    assert digest == RELIED_ON[relied_on], (
        f"{relied_on.__module__}.{relied_on.__name__}, uvicorn {uvicorn.__version__}, has changed. Compare it to the "
        "version in pyproject.toml: are the differences listed in server/transport.py still there, and do overridden "
        "methods have the same callers and state? Run test_transport.py, test_socket.py and tests/fuzz, then put "
        f"{digest!r} here and the new version into pyproject.toml"
    )
