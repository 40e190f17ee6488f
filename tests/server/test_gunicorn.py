"""The whole server under Gunicorn, with the real model."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import soundfile
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from benchmarks.serving import ROOT, Server, ServerFailed, running_server

pytestmark = [pytest.mark.model, pytest.mark.slow]

HEAVY = ("libtorch", "libctranslate2", "ctranslate2", "onnxruntime", "libcuda", "model.bin")


@pytest.fixture(scope="module")
def speech() -> bytes:
    """Three seconds of Russian, pcm_s16le at 16 kHz."""
    samples, rate = soundfile.read(ROOT / "tests" / "data" / "phrase_3s.flac", dtype="int16")
    assert rate == 16_000
    content: bytes = samples.tobytes()
    return content


@pytest.fixture(scope="module")
def server(base_model: Path) -> Iterator[Server]:
    """Two workers that are not replaced."""
    with running_server(2, WLK_GUNICORN_MAX_REQUESTS="0") as running:
        yield running


def opened(server: Server) -> ClientConnection:
    socket: ClientConnection = connect(server.ws_url, compression=None)
    socket.send('{"type":"start","language":"ru"}')
    return socket


def told(socket: ClientConnection) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    try:
        while True:
            events.append(json.loads(socket.recv(timeout=30)))
    except ConnectionClosed:
        return events


def text(events: list[dict[str, Any]]) -> str:
    return "".join(event["text"] for event in events if event["type"] == "committed").strip()


def mapped(pid: int) -> set[str]:
    """Which of the heavy libraries a process has mapped."""
    maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
    return {name for name in HEAVY if name in maps}


def worker_of(server: Server, socket: ClientConnection) -> int:
    """The process that holds the other end of a connection."""
    port = socket.local_address[1]
    pids_found: list[int] = [
        worker.pid
        for worker in server.workers()
        for connection in worker.net_connections("tcp")
        if connection.raddr and connection.raddr.port == port
    ]
    assert len(pids_found) == 1
    return pids_found[0]


def test_both_workers_serve_with_their_own_model(server: Server, speech: bytes) -> None:
    """Streams reach two processes, each of which recognises; the master holds no model, no CUDA, little memory."""
    sockets: dict[int, ClientConnection] = {}
    extra: list[ClientConnection] = []
    for _ in range(40):
        socket = opened(server)
        pid = worker_of(server, socket)
        if pid in sockets:
            extra.append(socket)
        sockets.setdefault(pid, socket)
        if len(sockets) == 2:
            break
    for socket in extra:
        socket.close()
    assert len(sockets) == 2, "40 streams, and all went to one worker"
    for socket in sockets.values():
        socket.send(speech)
        socket.send('{"type":"stop"}')
    texts = [text(told(socket)) for socket in sockets.values()]
    assert texts[0] == texts[1]
    assert len(texts[0].split()) >= 3
    assert all("ctranslate2" in mapped(pid) for pid in sockets)
    assert mapped(server.pid) == set()
    master, worker = psutil.Process(server.pid), psutil.Process(next(iter(sockets)))
    assert master.memory_info().rss < 200e6 < worker.memory_info().rss
    assert master.num_threads() == 1


def test_a_20_mb_frame_does_not_hurt(server: Server) -> None:
    """Through Gunicorn too: close code 1009, and the workers are the ones from before."""
    before = {worker.pid for worker in server.workers()}
    socket = connect(server.ws_url, compression=None, max_size=None)
    socket.send('{"type":"start"}')
    socket.recv()
    with suppress(ConnectionClosed):
        socket.send(bytes(20_000_000))
    told(socket)
    assert socket.close_code == 1009
    assert {worker.pid for worker in server.workers()} == before
    assert httpx.get(f"{server.url}/ready").status_code == 200


def test_a_file_over_http(server: Server) -> None:
    """The same words as a stream's, as subtitles."""
    content = (ROOT / "tests" / "data" / "phrase_3s.flac").read_bytes()
    address = f"{server.url}/v1/audio/transcriptions"
    response = httpx.post(address, files={"file": ("a.flac", content)}, data={"response_format": "srt"}, timeout=30)
    assert response.status_code == 200
    assert response.text.startswith("1\n00:00:00,")


def test_metrics_are_of_all_workers(server: Server, speech: bytes) -> None:
    """Whichever worker is asked, it counts the streams of both, and knows since when they run."""
    socket = opened(server)
    socket.send(speech)
    socket.send('{"type":"stop"}')
    told(socket)
    answers = {line for _ in range(6) for line in httpx.get(f"{server.url}/metrics").text.splitlines()}
    assert "whisperlivekit_ready_workers 2.0" in answers
    opened_counts = [
        line for line in answers if line.startswith('whisperlivekit_sessions_opened_total{protocol="native"}')
    ]
    assert len(opened_counts) == 1
    [began] = {line.split()[1] for line in answers if line.startswith("whisperlivekit_start_time_seconds ")}
    assert 0 < time.time() - float(began) < 3600


def pids(server: Server) -> set[int]:
    return {worker.pid for worker in server.workers()}


def wait_until(what: str, condition: Any, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_stopping_drains(base_model: Path, speech: bytes) -> None:
    """On SIGTERM a live stream is told to go on elsewhere, with the words heard so far, and closes with 1012."""
    with running_server(1, WLK_GUNICORN_MAX_REQUESTS="2") as server:
        # Health checks and pages are no reason to replace a worker, streams are.
        worker = server.workers()[0].pid
        for _ in range(20):
            httpx.get(f"{server.url}/live")
        assert pids(server) == {worker}
        socket = opened(server)
        events: list[dict[str, Any]] = []
        listener = threading.Thread(target=lambda: events.extend(told(socket)))
        listener.start()
        socket.send(speech)
        wait_until("ready and heard", lambda: "session opened" in server.log_text(), 10)
        time.sleep(1.0)
        os.kill(server.pid, signal.SIGTERM)
        listener.join(20)
        assert not listener.is_alive()
        kinds = [event["type"] for event in events]
        assert "draining" in kinds
        assert events[-1]["code"] == "shutting_down"
        assert socket.close_code == 1012
        wait_until("the master is gone", lambda: not psutil.pid_exists(server.pid) or _zombie(server.pid), 20)
        assert "SIGKILL" not in server.log_text()


def _zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_a_worker_is_replaced_when_nobody_is_on_it(base_model: Path, speech: bytes) -> None:
    """After its number of streams, once the last one has ended; a live one is not cut."""
    with running_server(1, WLK_GUNICORN_MAX_REQUESTS="2") as server:
        worker = server.workers()[0].pid
        first, second = opened(server), opened(server)
        for socket in (first, second):
            assert json.loads(socket.recv())["type"] == "ready"
        first.close()
        time.sleep(0.5)
        assert pids(server) == {worker}, "replaced under a live stream"
        second.send(speech)
        second.send('{"type":"stop"}')
        assert told(second)[-1]["type"] == "done"
        wait_until("the worker is replaced", lambda: worker not in pids(server), 20)
        wait_until("ready again", lambda: _ready(server), 60)


def _ready(server: Server) -> bool:
    try:
        return httpx.get(f"{server.url}/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_every_line_is_json(base_model: Path) -> None:
    """With WLK_LOG_FORMAT=json: what the server says, and Gunicorn and uvicorn, from the start to the end."""
    with running_server(1, WLK_LOG_FORMAT="json") as server:
        with socket_to(server) as socket:
            socket.sendall(b"no HTTP\r\n\r\n")
            assert socket.recv(100)
        os.kill(server.pid, signal.SIGTERM)
        wait_until("the master is gone", lambda: _zombie(server.pid), 20)
        lines = [json.loads(line) for line in server.log_text().splitlines()]
    assert {"whisperlivekit.start", "gunicorn.error", "uvicorn.error"} <= {line["logger"] for line in lines}
    assert all({"time", "level", "process", "message"} <= line.keys() for line in lines)


def socket_to(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", httpx.URL(server.url).port or 0), timeout=10)


def test_a_model_that_cannot_load_ends_the_start(tmp_path: Path, base_model: Path) -> None:
    """The reason is in the log, Gunicorn as a whole stops with status 3, and it does not try for ever."""
    broken = tmp_path / "models" / "broken"
    broken.mkdir(parents=True)
    for file in base_model.iterdir():
        if file.name != "model.bin":
            (broken / file.name).write_bytes(file.read_bytes())
    (broken / "model.bin").write_bytes(b"\x06\0\0\0not a model")
    with (
        pytest.raises(ServerFailed, match=r"exited with 3 [\s\S]*cannot serve: [\s\S]*broken"),
        running_server(2, WLK_MODEL=str(broken), ready_within_s=60),
    ):
        pass


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no memory that looks like a folder")
def test_counts_lie_in_memory(server: Server) -> None:
    """A write into a file that is mapped from a full disk would kill the worker."""
    for worker in server.workers():
        counts = [mapped.path for mapped in worker.memory_maps() if mapped.path.endswith(".db")]
        assert counts
        assert all(path.startswith("/dev/shm/") for path in counts)


def test_a_server_without_a_language_of_its_own(base_model: Path) -> None:
    """WLK_LANGUAGE=auto: it starts, and hears which language a file has."""
    with running_server(1, WLK_LANGUAGE="auto") as server, (ROOT / "tests/data/phrase_3s.flac").open("rb") as file:
        fields = {"response_format": "verbose_json"}
        answer = httpx.post(f"{server.url}/v1/audio/transcriptions", files={"file": file}, data=fields, timeout=60)
    assert answer.json()["language"] == "russian"
    assert "голосовой ящик" in answer.json()["text"]
