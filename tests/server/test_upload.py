"""Bodies of files while they are received."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.server.scripted import Server, scripted_server
from whisperlivekit.server import upload

PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with scripted_server() as running:
        yield running


def upload_head(server: Server, length: int = 1_000_000, **headers: str) -> socket.socket:
    """A connection that has sent the headers of an upload and nothing of its body."""
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    head = {"Host": "localhost", "Content-Type": "multipart/form-data; boundary=x", "Content-Length": str(length)}
    lines = "".join(f"{name}: {value}\r\n" for name, value in (head | headers).items())
    raw.sendall(f"POST /v1/audio/transcriptions HTTP/1.1\r\n{lines}\r\n".encode())
    return raw


def answer(raw: socket.socket) -> tuple[int, dict[str, Any], str]:
    """Status, error and head of the response."""
    received = b""
    while b"\r\n\r\n" not in received or not received.endswith(b"}"):
        data = raw.recv(65_536)
        assert data, received
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"], head.decode().lower()


def test_a_client_that_sends_nothing_is_timed_out(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """408 after the idle time, which begins again with each piece of the body."""
    monkeypatch.setattr(upload, "IDLE_S", 0.5)
    with upload_head(server) as raw:
        began = time.monotonic()
        for piece in (PART, b"a", b"b", b"c"):
            time.sleep(0.25)
            raw.sendall(piece)
        status, error, _ = answer(raw)
        assert time.monotonic() - began > 1.4
    assert (status, error["code"]) == (408, "timed_out")
    assert "no data for 0.5 s" in error["message"]
    assert len(server.service.uploads) == 0


def test_a_client_that_sends_too_slowly_is_timed_out(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """408 although something arrives again and again."""
    monkeypatch.setattr(upload, "GRACE_S", 0.5)
    with upload_head(server) as raw:
        raw.sendall(PART)
        for _ in range(6):
            time.sleep(0.1)
            raw.sendall(b"x")
        status, error, _ = answer(raw)
    assert (status, error["code"]) == (408, "timed_out")
    assert "expected at least 16000 bytes a second" in error["message"]


def test_an_upload_has_a_longest_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """408 although the client is fast enough."""
    monkeypatch.setattr(upload, "LONGEST_S", 0.3)
    with upload_head(server) as raw:
        raw.sendall(PART + bytes(100_000))
        status, error, _ = answer(raw)
    assert (status, error["code"]) == (408, "timed_out")
    assert "expected the whole file within 0.3 s" in error["message"]


def test_uploads_are_limited_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """503 with Retry-After and its own reason in the metrics; whoever ends makes room, and streams do not notice."""
    monkeypatch.setattr(upload, "MAX_AT_ONCE", 2)
    with scripted_server() as server, ExitStack() as others:
        first = [others.enter_context(upload_head(server)) for _ in range(2)]
        server.wait_until("both are being received", lambda: len(server.service.uploads) == 2)
        with upload_head(server) as raw:
            status, error, head = answer(raw)
        assert (status, error["code"]) == (503, "server_full")
        assert "2 of 2 uploads are in use" in error["message"]
        assert "retry-after: 5" in head
        full = 'whisperlivekit_sessions_without_room_total{reason="uploads"} 1.0'
        assert full in httpx.get(f"{server.url}/metrics").text
        server.check_alive()
        first[0].close()
        server.wait_until("one has ended", lambda: len(server.service.uploads) == 1)
        file = {"file": ("a.wav", b"no audio")}
        assert httpx.post(f"{server.url}/v1/audio/transcriptions", files=file).status_code == 415


def test_a_body_that_is_too_big_is_not_received(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """413 by its declared length, or as soon as more has arrived than allowed."""
    monkeypatch.setattr(upload, "MAX_BYTES", 1_000)
    with upload_head(server, length=1_001) as raw:
        status, error, _ = answer(raw)
    assert (status, error["code"]) == (413, "message_too_big")
    assert "1001 bytes or more, expected up to 1000" in error["message"]
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    with raw:
        raw.sendall(
            b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        )
        raw.sendall(b"%x\r\n%s\r\n" % (len(PART), PART) + b"400\r\n" + bytes(1024) + b"\r\n")
        status, error, _ = answer(raw)
    assert (status, error["code"]) == (413, "message_too_big")


def test_a_client_without_a_key_sends_nothing() -> None:
    """401 after the headers: the body is not asked for."""
    with scripted_server(api_keys="0123456789abcdef") as server, upload_head(server, Expect="100-continue") as raw:
        status, error, head = answer(raw)
        assert (status, error["code"]) == (401, "unauthorized")
        assert head.startswith("http/1.1 401")


def test_uploads_end_when_the_worker_shuts_down() -> None:
    """503 shutting_down at once: another worker takes the file when it is sent again."""
    with scripted_server() as server, upload_head(server) as raw:
        raw.sendall(PART)
        server.wait_until("it is being received", lambda: len(server.service.uploads) == 1)
        loop = next(iter(server.uvicorn.servers)).get_loop()
        asyncio.run_coroutine_threadsafe(server.service.drain(5.0), loop).result(5)
        status, error, head = answer(raw)
    assert (status, error["code"]) == (503, "shutting_down")
    assert "retry-after" in head


def test_a_client_that_hangs_up_leaves_nothing(server: Server) -> None:
    """Its upload is forgotten."""
    with upload_head(server) as raw:
        raw.sendall(PART)
        server.wait_until("it is being received", lambda: len(server.service.uploads) == 1)
    server.wait_until("it is forgotten", lambda: len(server.service.uploads) == 0)
