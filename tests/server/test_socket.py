"""WebSockets: sessions, limits, rejections, and the mistakes of clients.

Long because each way in which a connection can end is a test.
"""

import asyncio
import json
import logging
import socket as sockets
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.server.scripted import LOUD, QUIET, Server, limits, scripted_server, told
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis
from whisperlivekit.engine.scripted import ScriptedEngine
from whisperlivekit.errors import DecodeFailed, ModelUnavailable
from whisperlivekit.observe.logs import SessionFilter, TextFormatter
from whisperlivekit.server import connection
from whisperlivekit.wire.adapter import MAX_MESSAGE_BYTES

START = '{"type":"start"}'
STOP = '{"type":"stop"}'


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with scripted_server() as running:
        yield running


def ended(socket: ClientConnection) -> tuple[list[dict[str, Any]], int | None]:
    """The events up to the end, and the close code."""
    events = told_or_cut(socket)
    return events, socket.close_code


def told_or_cut(socket: ClientConnection) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    try:
        while True:
            events.append(json.loads(socket.recv(timeout=10)))
    except ConnectionClosed:
        return events


# --------------------------------------------------------------------------------------------------------- sessions


def test_a_stream_from_start_to_stop(server: Server) -> None:
    """Ready, the words, done with totals, close 1000; sequence numbers without a gap."""
    with server.connect() as socket:
        socket.send('{"type":"start","language":"ru"}')
        for at in range(0, len(LOUD), 3_200):
            socket.send(LOUD[at : at + 3_200])
        socket.send(QUIET)
        socket.send(STOP)
        events, code = ended(socket)
    kinds = [event["type"] for event in events]
    assert kinds[0] == "ready"
    assert events[0] | {"session": "?"} == {
        "type": "ready",
        "seq": 0,
        "session": "?",
        "protocol": 1,
        "model": "base",
        "language": "ru",
        "position": 0,
        "max_message_bytes": MAX_MESSAGE_BYTES,
    }
    assert {"speech_started", "committed", "speech_stopped", "utterance_ended"} < set(kinds)
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert kinds[-1] == "done"
    assert events[-1]["audio_s"] == 2.0
    assert events[-1]["words"] == sum(len(event["words"]) for event in events if event["type"] == "committed") > 0
    assert code == 1000


def test_text_by_utterance_that_is_refined(server: Server) -> None:
    """One committed message for the utterance, then its refined text before done; events say from where to resume."""
    with server.connect() as socket:
        socket.send('{"type":"start","commit":"utterance","refine":true}')
        socket.send(LOUD)
        socket.send(QUIET)
        socket.send(STOP)
        events, code = ended(socket)
    text = [event for event in events if event["type"] in {"committed", "utterance_ended", "refined", "done"}]
    assert [event["type"] for event in text] == ["committed", "utterance_ended", "refined", "done"]
    committed, _, refined, _ = text
    assert refined["replaces"] == len(committed["words"]) > 0
    assert refined["text"] == committed["text"]
    assert committed["kept_from"] <= committed["live_from"] <= refined["kept_from"]
    assert code == 1000


def test_two_streams_are_independent(server: Server) -> None:
    """Each has its own session, clock and words."""
    with server.connect() as first, server.connect() as second:
        first.send(START)
        second.send('{"type":"start","language":"auto"}')
        first.send(LOUD)
        second.send(QUIET)
        first.send(STOP)
        second.send(STOP)
        one, two = told(first), told(second)
    assert one[0]["session"] != two[0]["session"]
    assert (one[0]["language"], two[0]["language"]) == ("ru", None)
    assert one[-1]["words"] > 0
    assert two[-1]["words"] == 0


def test_flush_is_answered(server: Server) -> None:
    """All audio before a flush is committed, then flushed is sent; the stream continues."""
    with server.connect() as socket:
        socket.send(START)
        socket.send(LOUD)
        socket.send('{"type":"flush"}')
        events: list[dict[str, Any]] = []
        while not events or events[-1]["type"] != "flushed":
            events.append(json.loads(socket.recv(timeout=5)))
        assert events[-1]["at"] == 1.0
        assert "committed" in [event["type"] for event in events]
        socket.send(STOP)
        assert told(socket)[-1]["audio_s"] == 1.0


def test_a_resumed_stream_keeps_its_clock(server: Server) -> None:
    """Positions continue from where the client says, on any worker."""
    with server.connect() as socket:
        socket.send(json.dumps({"type": "start", "resume": {"session": "x", "position": 160_000}}))
        socket.send(LOUD)
        socket.send(STOP)
        events = told(socket)
    assert events[0]["position"] == 160_000
    assert all(event["start"] >= 10.0 for event in events if event["type"] == "committed")
    assert events[-1]["audio_s"] == 1.0


def test_a_stream_keeps_its_id_over_its_connections(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """A resumed stream is told, logged and reported under the id of its first connection; else it gets a new one."""

    def connected(**resume: object) -> str:
        with server.connect() as socket:
            start = {"type": "start"} | ({"resume": {"position": 0, "words": [], **resume}} if resume else {})
            socket.send(json.dumps(start))
            session: str = json.loads(socket.recv())["session"]
            socket.send(bytes(3))
            events, _ = ended(socket)
        assert events[-1]["session"] == session
        return session

    handler = _SessionCapture()
    logging.getLogger("whisperlivekit").addHandler(handler)
    try:
        with caplog.at_level(logging.INFO):
            first = connected()
            assert connected(session=first) == first
            other = connected(session="unknown")
            server.wait_until("all are closed", lambda: len(handler.sessions) >= 6)
    finally:
        logging.getLogger("whisperlivekit").removeHandler(handler)
    assert other != first
    assert handler.sessions == [
        ("session opened", first),
        ("session closed", first),
        ("session opened", first),
        ("session closed", first),
        ("session opened", other),
        ("session closed", other),
    ]
    connections = [vars(record).get("connection") for record in caplog.records if record.msg == "session opened"]
    assert connections[0] is None
    assert connections[1] not in {None, first}


class _SessionCapture(logging.Handler):
    """Message and session id of every log line."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions: list[tuple[str, str]] = []
        self.addFilter(SessionFilter())

    def emit(self, record: logging.LogRecord) -> None:
        self.sessions.append((record.getMessage(), record.session))  # type: ignore[attr-defined]


def test_a_lost_connection_ends_its_session(server: Server) -> None:
    """Its place is free again."""
    with server.connect() as socket:
        socket.send(START)
        socket.recv()
        socket.send(LOUD)
        assert server.service.streams == 1
        # No close frame, as when the network fails.
        socket.socket.shutdown(sockets.SHUT_RDWR)
    server.wait_until("the session is forgotten", lambda: server.service.streams == 0)
    assert server.service.admission.open_streams == 0


# --------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("messages", "code", "close_code", "found"),
    [
        (["{garbage"], "bad_message", 1007, "not JSON"),
        ([b"\0\0" * 100], "bad_message", 1007, "200 bytes of audio before the start"),
        ([START, bytes(1001)], "bad_audio", 1007, "1001 bytes, expected a multiple of 2"),
        (['{"type":"start","encoding":"opus"}'], "unsupported_format", 1003, "one of pcm_s16le"),
        (['{"type":"start","sample_rate":200}'], "unsupported_format", 1003, "from 8000 to 192000"),
        ([START, "привет"], "bad_message", 1007, "text of 6 characters that is not JSON"),
        ([START, START], "bad_message", 1007, "second start"),
        ([START, bytes(MAX_MESSAGE_BYTES + 2)], "message_too_big", 1009, f"expected up to {MAX_MESSAGE_BYTES}"),
        (['{"type":"start","prompt":"' + "я" * 700_000], "message_too_big", 1009, "expected up to"),
    ],
    ids=["garbage", "no start", "odd frame", "encoding", "200 Hz", "text for audio", "two starts", "big", "big text"],
)
def test_bad_input_gets_an_error_and_a_close_code(
    server: Server, messages: list[str | bytes], code: str, close_code: int, found: str
) -> None:
    """Each mistake gets an error event that says what is wrong and its close code, and the server continues."""
    with server.connect() as socket:
        for message in messages:
            socket.send(message)
        events, closed = ended(socket)
    assert events[-1]["type"] == "error"
    assert events[-1]["code"] == code
    assert found in events[-1]["message"]
    assert closed == close_code
    server.check_alive()


def test_a_20_mb_frame_ends_cleanly(server: Server) -> None:
    """Far above every limit: close code 1009 reaches the client, and the server continues."""
    with server.connect() as socket:
        socket.send(START)
        socket.recv()
        with suppress(ConnectionClosed):
            socket.send(bytes(20_000_000))
        _, closed = ended(socket)
    assert closed == 1009
    server.check_alive()


def test_audio_before_a_mistake_is_transcribed(server: Server) -> None:
    """The words of valid audio are sent before the error of a bad frame; there is no done."""
    with server.connect() as socket:
        socket.send(START)
        socket.send(LOUD)
        socket.send(bytes(3))
        events, _ = ended(socket)
    kinds = [event["type"] for event in events]
    assert "committed" in kinds
    assert kinds[-1] == "error"
    assert "done" not in kinds


def test_a_client_that_sends_nothing_is_disconnected(server: Server) -> None:
    """An error and close 1008 after the first-message timeout."""
    with limits(server, first_message_s=0.2), server.connect() as socket:
        events, closed = ended(socket)
    assert [event["code"] for event in events] == ["timed_out"]
    assert "no first message within 0.2 s" in events[0]["message"]
    assert closed == 1008
    server.wait_until("the session is forgotten", lambda: server.service.streams == 0)


def test_a_client_that_stops_sending_audio_is_disconnected(server: Server) -> None:
    """After the idle timeout: its words, an error, close 1008. Flushes do not count as audio."""
    with limits(server, idle_s=0.4), server.connect() as socket:
        socket.send(START)
        socket.send(LOUD)
        time.sleep(0.2)
        socket.send('{"type":"flush"}')
        began = time.monotonic()
        events, closed = ended(socket)
        waited = time.monotonic() - began
    assert events[-1]["code"] == "timed_out"
    assert "committed" in [event["type"] for event in events]
    assert closed == 1008
    assert waited < 0.38


def test_a_session_has_a_longest_duration(server: Server) -> None:
    """It ends with its words and an error, even while audio arrives."""
    with limits(server, session_s=0.3), server.connect() as socket:
        socket.send(START)
        socket.send(LOUD)
        events, closed = ended(socket)
    assert "the longest allowed" in events[-1]["message"]
    assert "committed" in [event["type"] for event in events]
    assert closed == 1008


def test_a_client_that_does_not_read_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client sends and never reads: its connection ends, even if the error message cannot be sent either."""
    monkeypatch.setattr(connection, "CLOSE_S", 0.1)
    monkeypatch.setattr("whisperlivekit.server.transport.LINGER_S", 0.3)
    with scripted_server(_Chatty()) as server, limits(server, send_s=0.3), sockets.socket() as raw:
        raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", server.port))
        raw.sendall(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert raw.recv(4096).startswith(b"HTTP/1.1 101 ")  # what comes before it belongs to no WebSocket
        raw.sendall(_masked(START.encode(), 1))
        raw.settimeout(0.2)
        deadline = time.monotonic() + 60
        waiting = b""
        while True:
            assert time.monotonic() < deadline, "the server keeps a client that does not read"
            # What was not sent is sent next: half a frame would end the connection for another reason.
            waiting = waiting or _masked(LOUD, 2)
            try:
                waiting = waiting[raw.send(waiting) :]
            except TimeoutError:
                pass  # Back-pressure: the server does not take our audio any more.
            except OSError:
                break
        server.wait_until("the session is forgotten", lambda: server.service.streams == 0)
        server.wait_until("the connection is forgotten", lambda: not server.uvicorn.server_state.connections)


class _Chatty(ScriptedEngine):
    """Produces enough text to fill the buffers of any socket."""

    def __init__(self) -> None:
        super().__init__(script=("слово" * 4_000,))


def _masked(payload: bytes, opcode: int) -> bytes:
    """A client's frame, with the mask 0."""
    length = struct.pack("!BH", 0x80 | 126, len(payload)) if len(payload) < 65_536 else b""
    return bytes([0x80 | opcode]) + length + bytes(4) + payload


# ----------------------------------------------------------------------------------------------------------- rejections


def rejected(server: Server, **options: Any) -> tuple[int, dict[str, Any], str | None]:
    with pytest.raises(InvalidStatus) as caught:
        server.connect(**options)
    response = caught.value.response
    return response.status_code, json.loads(response.body or b"{}"), response.headers.get("retry-after")


def test_a_full_server_rejects_before_it_accepts() -> None:
    """503 with Retry-After; a stream that ends makes room."""
    with scripted_server(max_sessions=1) as server:
        with server.connect() as socket:
            socket.send(START)
            socket.recv()
            status, body, retry = rejected(server)
            assert (status, body["code"]) == (503, "server_full")
            assert "1 of 1 streams are in use" in body["message"]
            assert retry == "5"
        server.wait_until("the first stream has ended", lambda: server.service.streams == 0)
        server.check_alive()


def test_a_page_of_another_site_is_rejected() -> None:
    """Other origins get 403; the server's own page, allowed pages and programs are accepted."""
    with scripted_server(allowed_origins="https://ours.example") as server:
        status, body, _ = rejected(server, origin="https://evil.example")
        assert (status, body["code"]) == (403, "forbidden_origin")
        assert body["message"] == (
            "a page of https://evil.example asked, expected the server's own page or an origin in WLK_ALLOWED_ORIGINS"
        )
        for origin in (f"http://127.0.0.1:{server.port}", "https://ours.example", None):
            with server.connect(origin=origin) as socket:
                socket.send(START)
                assert json.loads(socket.recv())["type"] == "ready"


def test_keys_are_asked_for() -> None:
    """Without a key 401; with it in any of the three places a session."""
    key = "0123456789abcdef"
    with scripted_server(api_keys=key) as server:
        assert rejected(server)[0] == 401
        assert rejected(server, additional_headers={"Authorization": "Bearer wrong"})[0] == 401
        with server.connect(additional_headers={"Authorization": f"Bearer {key}"}) as socket:
            socket.send(START)
            assert json.loads(socket.recv())["type"] == "ready"
        with server.connect(subprotocols=["token", key]) as socket:
            assert socket.subprotocol == "token"
            socket.send(START)
            assert json.loads(socket.recv())["type"] == "ready"


def test_a_page_can_ask_why_it_was_rejected() -> None:
    """A page cannot see the status of a rejected WebSocket; GET on the same path reports it."""
    key = "0123456789abcdef"
    with scripted_server(api_keys=key, max_sessions=1) as server:
        address = f"{server.url}/ws"
        assert httpx.get(address).json()["code"] == "unauthorized"
        assert httpx.get(address, headers={"origin": "https://evil.example"}).json()["code"] == "forbidden_origin"
        assert httpx.get(f"{address}?token={key}").status_code == 426
        with server.connect(subprotocols=["token", key]) as socket:
            socket.send(START)
            socket.recv()
            full = httpx.get(f"{address}?token={key}")
            assert (full.status_code, full.json()["code"]) == (503, "server_full")
        assert server.service.served == 1


def test_keys_can_be_rotated() -> None:
    """Old and new keys work at the same time; one that was removed does not."""
    old, new, gone = "old-key-0123456789", "new-key-0123456789", "bad-key-0123456789"
    with scripted_server(api_keys=f"{old},{new}") as server:
        for key in (old, new):
            with server.connect(additional_headers={"Authorization": f"Bearer {key}"}) as socket:
                socket.send(START)
                assert json.loads(socket.recv())["type"] == "ready"
        assert rejected(server, additional_headers={"Authorization": f"Bearer {gone}"})[0] == 401
        assert rejected(server, subprotocols=["token", gone])[0] == 401


def test_streams_of_one_address_are_limited() -> None:
    """The streams of one address are limited; one that ends makes room, and a rejection says what is wrong."""
    with scripted_server(max_sessions_per_address=2) as server:
        with server.connect() as first, server.connect() as second:
            for socket in (first, second):
                socket.send(START)
                socket.recv()
            status, body, retry = rejected(server)
            assert (status, body["code"], retry) == (503, "server_full", "5")
            assert "2 of 2 streams of your address are in use" in body["message"]
        server.wait_until("both have ended", lambda: server.service.streams == 0)
        server.check_alive()


def test_a_rejection_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """One line, with the id that the response has; it is not an error of the server."""
    logs: list[tuple[str, str, str]] = []

    class Capture(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logs.append((record.name, record.levelname, record.session))  # type: ignore[attr-defined]

    handler = Capture()
    handler.addFilter(SessionFilter())
    logging.getLogger().addHandler(handler)
    try:
        with scripted_server(api_keys="0123456789abcdef") as server, caplog.at_level(logging.INFO):
            logs.clear()
            _, body, _ = rejected(server)
            server.wait_until("the rejection is logged", lambda: logs)
            time.sleep(0.05)
    finally:
        logging.getLogger().removeHandler(handler)
    assert [line for line in logs if line[0] != "uvicorn.error" or line[1] != "INFO"] == [
        ("whisperlivekit.server.socket", "INFO", body["session"])
    ]


def test_transcripts_are_neither_logged_nor_written(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words, prompts and audio are not in the log above DEBUG and not on disk, even if something fails."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    secret = "тайнопись"
    engine = ScriptedEngine(script=(secret,))
    with scripted_server(engine) as server, caplog.at_level(logging.INFO):
        for last in (STOP, bytes(1001), '{"type":"' + secret + '"}'):
            with server.connect() as socket:
                socket.send(json.dumps({"type": "start", "prompt": secret, "hotwords": [secret]}))
                socket.send(LOUD)
                socket.send(last)
                assert secret in json.dumps(told_or_cut(socket), ensure_ascii=False)
        for error in (DecodeFailed("the model failed"), RuntimeError(secret)):
            engine.error = error
            with server.connect() as socket:
                socket.send(START)
                socket.send(LOUD)
                socket.send(STOP)
                assert "RuntimeError" not in json.dumps(told_or_cut(socket))
        server.wait_until("all streams have ended", lambda: server.service.streams == 0)
    text = "".join(formatted(record) for record in caplog.records if not record.exc_info)
    assert "session closed" in text
    assert secret not in text
    assert list(tmp_path.iterdir()) == []


def formatted(record: logging.LogRecord) -> str:
    return TextFormatter().format(record)


def test_a_wrong_address_is_not_found(server: Server) -> None:
    """A WebSocket to an unknown path gets 404, which is no failure of the server."""
    with pytest.raises(InvalidStatus) as caught:
        connect(f"ws://127.0.0.1:{server.port}/nothing")
    assert caught.value.response.status_code == 404


# -------------------------------------------------------------------------------------------------- faults and drain


def test_an_engine_that_fails_ends_its_streams() -> None:
    """model_unavailable, close 1011, and the worker admits no more streams."""
    engine = ScriptedEngine()
    with scripted_server(engine) as server:
        with server.connect() as socket:
            socket.send(START)
            socket.recv()
            engine.error = ModelUnavailable("the model does not serve any more")
            engine.failed = True
            socket.send(LOUD)
            events, closed = ended(socket)
        assert events[-1]["code"] == "model_unavailable"
        assert closed == 1011
        assert rejected(server)[0] == 503


def test_a_failed_decode_leaves_a_gap() -> None:
    """The gap names the audio that the model failed on, and the stream continues to its done."""
    with scripted_server(_Failing()) as server, server.connect() as socket:
        socket.send(START)
        socket.send(LOUD)
        socket.send(STOP)
        events, closed = ended(socket)
    assert [event["reason"] for event in events if event["type"] == "gap"] == ["decode_failed"]
    assert events[-1]["gap_s"] > 0
    assert closed == 1000


class _Failing(ScriptedEngine):
    """A model that fails on every request but keeps running."""

    async def transcribe(self, request: DecodeRequest) -> Hypothesis:
        raise DecodeFailed("the model failed")


def test_an_unexpected_exception_is_an_internal_error(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    """internal_error, close 1011, no details, and the server continues."""
    with monkeypatch.context() as patch:
        patch.setattr(server.service, "start_session", lambda start: 1 / 0)
        with server.connect() as socket:
            socket.send(START)
            events, closed = ended(socket)
    assert [event["code"] for event in events] == ["internal_error"]
    assert "division" not in events[0]["message"]
    assert closed == 1011
    server.check_alive()


def test_a_draining_worker_ends_its_streams() -> None:
    """draining, the words so far, shutting_down, close 1012; a stream that has sent stop ends normally."""
    with scripted_server(ScriptedEngine(delay_s=0.3)) as server, server.connect() as going, server.connect() as ending:
        for socket in (going, ending):
            socket.send(START)
            socket.send(LOUD)
        ending.send(STOP)
        assert json.loads(going.recv())["type"] == "ready"
        server.wait_until("both are live", lambda: server.service.streams == 2)
        time.sleep(0.1)  # The stop has been read.
        loop = next(iter(server.uvicorn.servers)).get_loop()
        drained = asyncio.run_coroutine_threadsafe(server.service.drain(5.0), loop)
        events, closed = ended(going)
        others, others_closed = ended(ending)
        drained.result(5)
        assert rejected(server)[1]["code"] == "shutting_down"
    kinds = [event["type"] for event in events]
    assert "draining" in kinds
    assert (events[-1]["type"], events[-1]["code"]) == ("error", "shutting_down")
    assert closed == 1012
    assert (others[-1]["type"], others_closed) == ("done", 1000)
