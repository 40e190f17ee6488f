"""Random bytes and frames on real sockets: no crash, no hang, no traceback, no leak."""

import gc
import json
import logging
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.server.scripted import LOUD, Server, scripted_server

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
MEMORY = 60e6
"""Bytes that the whole run may leave in caches of libraries: far less than one leaked session for each example."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    patch = pytest.MonkeyPatch()
    patch.setattr("whisperlivekit.server.transport.LINGER_S", 0.2)
    with scripted_server() as running:
        yield running
    patch.undo()


def frame(
    opcode: int, payload: bytes, *, final: bool = True, reserved: int = 0, masked: bool = True, lie: int = 0
) -> bytes:
    """A frame that may break any rule: reserved bits, no mask, a length ``lie`` bytes off the payload's."""
    length = max(0, len(payload) + lie)
    first = (0x80 if final else 0) | reserved << 4 | opcode
    mask = 0x80 if masked else 0
    if length < 126:
        head = struct.pack("!BB", first, mask | length)
    elif length < 65_536:
        head = struct.pack("!BBH", first, mask | 126, length)
    else:
        head = struct.pack("!BBQ", first, mask | 127, length)
    return head + (bytes(4) if masked else b"") + payload


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_payloads = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([b'{"type":"start"}', b'{"type":"flush"}', b'{"type":"stop"}', LOUD[:6_400], bytes(2_000)]),
    _json.map(lambda found: json.dumps(found).encode()),
)
_good_frames = st.builds(frame, st.sampled_from([1, 2]), _payloads)
_any_frames = st.builds(
    frame,
    st.integers(0, 15),
    _payloads,
    final=st.booleans(),
    reserved=st.sampled_from([0, 0, 0, 1, 7]),
    masked=st.sampled_from([True, True, True, False]),
    lie=st.sampled_from([0, 0, 0, 1, -1, 3_000_000, 2**62]),
)
_start = frame(1, b'{"type":"start"}')
_conversations = st.builds(
    lambda begun, frames: (_start if begun else b"") + b"".join(frames),
    st.booleans(),
    st.lists(st.one_of(_good_frames, _any_frames, st.binary(max_size=30)), max_size=6),
)


def talk(server: Server, sent: bytes, *, handshake: bytes = HANDSHAKE, polite: bool = True) -> bytes:
    """Send the bytes, close the sending side and read to the end; without ``polite`` close at once."""
    answer = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw, suppress(ConnectionError):
        raw.sendall(handshake)
        raw.sendall(sent)
        if not polite:
            return answer
        raw.shutdown(socket.SHUT_WR)
        while data := raw.recv(65_536):
            answer += data
    return answer


def check(server: Server, answer: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert b"Traceback" not in answer
    assert b'File "' not in answer
    server.wait_until("no stream is left", lambda: server.service.streams == server.service.admission.open_streams == 0)
    faults = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not faults, faults[0].getMessage()


_patient = hypothesis_settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@_patient
@given(sent=_conversations, polite=st.sampled_from([True, True, True, False]))
def test_any_frames_after_the_handshake(
    server: Server, caplog: pytest.LogCaptureFixture, sent: bytes, polite: bool
) -> None:
    """Any frames in any order, valid or not: the connection ends, and the session with it."""
    check(server, talk(server, sent, polite=polite), caplog)


NAMES = (
    "Host", "Origin", "Authorization", "Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Version", "Sec-WebSocket-Extensions", "Content-Length", "Transfer-Encoding", "Cookie",
)  # fmt: skip
VALUES = ("x", "websocket", "Upgrade", "13", "token, 0123456789abcdef", "-1", "chunked", "http://[", "null")
PATHS = ("/ws", "/ws?token=%ff", "/ready", "/v1/audio/transcriptions", "/../../etc/passwd", "//", "/%00", "*")
_latin = st.characters(min_codepoint=33, max_codepoint=255)
_headers = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES) | st.text(_latin | st.just(" "), max_size=20)), max_size=8
)
_requests = st.builds(
    lambda method, path, headers, body: (
        f"{method} {path} HTTP/1.1\r\n".encode("latin-1")
        + b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in headers)
        + b"\r\n"
        + body
    ),
    st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "\x7f"]),
    st.sampled_from(PATHS) | st.text(_latin, min_size=1, max_size=20).map(lambda path: f"/{path}"),
    _headers,
    st.binary(max_size=100),
)


@_patient
@given(request=_requests | st.binary(max_size=200))
def test_any_bytes_instead_of_a_request(server: Server, caplog: pytest.LogCaptureFixture, request: bytes) -> None:
    """Invalid requests and handshakes get an HTTP response or a closed connection."""
    answer = talk(server, b"", handshake=request)
    assert answer[:5] in (b"", b"HTTP/")
    check(server, answer, caplog)


def test_no_memory_is_leaked(server: Server) -> None:
    """After a thousand clients that start, send audio and disconnect, memory is what it was before."""
    sent = _start + frame(2, LOUD[:6_400])
    process = psutil.Process()
    for polite in (True, False):
        talk(server, sent, polite=polite)
    gc.collect()
    before = process.memory_info().rss
    for number in range(1_000):
        talk(server, sent, polite=number % 2 == 0)
    server.wait_until("no stream is left", lambda: server.service.streams == 0)
    server.wait_until("no connection is left", lambda: not server.uvicorn.server_state.connections)
    gc.collect()
    assert process.memory_info().rss - before < MEMORY
    server.check_alive()
