"""The whole server under Gunicorn, with the real model."""

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from benchmarks.serving import Server, ServerFailed, running_server
from tests.speech import DATA, assert_says, clip

pytestmark = [pytest.mark.model, pytest.mark.slow]

HEAVY = ("libtorch", "ctranslate2", "onnxruntime", "libcuda", "libcublas", "model.bin")
"""Parts of the names of files that only a worker may map: a model or CUDA context of the master breaks every worker."""

PHRASE = clip("phrase_3s")


@pytest.fixture(scope="module")
def speech() -> bytes:
    """The phrase as pcm_s16le at 16 kHz."""
    return (PHRASE.samples * 32_768).clip(-32_768, 32_767).astype(np.dtype("<i2")).tobytes()


@pytest.fixture(scope="module")
def server(base_model: Path) -> Iterator[Server]:
    """Two workers that are never recycled."""
    with running_server(2, WLK_GUNICORN_MAX_REQUESTS="0", WLK_MAX_SESSIONS="64") as running:
        yield running


def open_stream(server: Server) -> ClientConnection:
    socket: ClientConnection = connect(server.ws_url, compression=None)
    socket.send('{"type":"start","language":"ru"}')
    return socket


def all_events(socket: ClientConnection) -> list[dict[str, Any]]:
    """All events until the server closes the connection."""
    events: list[dict[str, Any]] = []
    try:
        while True:
            events.append(json.loads(socket.recv(timeout=60)))
    except ConnectionClosed:
        return events


def text(events: list[dict[str, Any]]) -> str:
    return "".join(event["text"] for event in events if event["type"] == "committed").strip()


def mapped(pid: int) -> set[str]:
    """Which of ``HEAVY`` a process has mapped."""
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
    """Streams reach both processes, and both transcribe. The master has no model, no CUDA and little memory."""
    sockets: dict[int, ClientConnection] = {}
    extra: list[ClientConnection] = []
    for _ in range(40):
        socket = open_stream(server)
        pid = worker_of(server, socket)
        if pid in sockets:
            extra.append(socket)
        sockets.setdefault(pid, socket)
        if len(sockets) == 2:
            break
    for socket in extra:
        socket.close()
    assert len(sockets) == 2, "all of 40 streams went to one worker"
    for socket in sockets.values():
        socket.send(speech)
        socket.send('{"type":"stop"}')
    for pid, socket in sockets.items():
        assert_says(text(all_events(socket)), PHRASE.text)
        assert "ctranslate2" in mapped(pid)
        assert psutil.Process(pid).memory_full_info().uss > 120 * 2**20
    assert mapped(server.pid) == set()
    master = psutil.Process(server.pid)
    assert master.memory_full_info().uss < 120 * 2**20
    assert master.memory_info().rss < 200e6
    assert master.num_threads() == 1


def test_a_20_mb_frame_closes_only_its_connection(server: Server) -> None:
    """Under Gunicorn too the close code is 1009 and the same workers go on."""
    before = {worker.pid for worker in server.workers()}
    socket = connect(server.ws_url, compression=None, max_size=None)
    socket.send('{"type":"start"}')
    socket.recv()
    with suppress(ConnectionClosed):
        socket.send(bytes(20_000_000))
    all_events(socket)
    assert socket.close_code == 1009
    assert {worker.pid for worker in server.workers()} == before
    assert httpx.get(f"{server.url}/ready").status_code == 200


def test_a_file_over_http(server: Server) -> None:
    """The file's words as subtitles: one numbered cue for each line of text."""
    content = (DATA / "phrase_3s.flac").read_bytes()
    address = f"{server.url}/v1/audio/transcriptions"
    response = httpx.post(address, files={"file": ("a.flac", content)}, data={"response_format": "srt"}, timeout=60)
    assert response.status_code == 200
    cues = [cue.split("\n", 2) for cue in response.text.strip().split("\n\n")]
    assert [number for number, _, _ in cues] == [str(number) for number in range(1, len(cues) + 1)]
    assert all(re.fullmatch(r"00:00:0\d,\d{3} --> 00:00:0\d,\d{3}", times) for _, times, _ in cues)
    assert_says(" ".join(said for _, _, said in cues), PHRASE.text)


def test_metrics_are_of_all_workers(server: Server, speech: bytes) -> None:
    """Any worker answers for both: it counts all their streams, and says when the server was started."""
    socket = open_stream(server)
    socket.send(speech)
    socket.send('{"type":"stop"}')
    all_events(socket)
    answers = {line for _ in range(6) for line in httpx.get(f"{server.url}/metrics").text.splitlines()}
    assert "whisperlivekit_ready_workers 2.0" in answers
    opened_counts = [
        line for line in answers if line.startswith('whisperlivekit_sessions_opened_total{protocol="native"}')
    ]
    assert len(opened_counts) == 1
    [began] = {line.split()[1] for line in answers if line.startswith("whisperlivekit_start_time_seconds ")}
    assert psutil.Process(server.pid).create_time() - 5 < float(began) < time.time()


def pids(server: Server) -> set[int]:
    return {worker.pid for worker in server.workers()}


def wait_until(what: str, condition: Any, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_stopping_drains(base_model: Path, speech: bytes) -> None:
    """On SIGTERM a live stream gets the event ``draining`` and the words so far, and is closed with 1012."""
    with running_server(1, WLK_GUNICORN_MAX_REQUESTS="2", WLK_MAX_SESSIONS="8") as server:
        # Only streams count for recycling a worker, not health checks.
        worker = server.workers()[0].pid
        for _ in range(20):
            httpx.get(f"{server.url}/live")
        assert pids(server) == {worker}
        socket = open_stream(server)
        socket.send(speech)
        # A partial or committed text: the stream is in the middle of an utterance.
        events = [json.loads(socket.recv(timeout=60))]
        while not events[-1].get("text"):
            events.append(json.loads(socket.recv(timeout=60)))
        os.kill(server.pid, signal.SIGTERM)
        events += all_events(socket)
        assert "draining" in [event["type"] for event in events]
        assert events[-1]["code"] == "shutting_down"
        assert text(events)
        assert socket.close_code == 1012
        wait_until("the master is gone", lambda: not psutil.pid_exists(server.pid) or _zombie(server.pid), 60)
        assert "SIGKILL" not in server.log_text()


def _zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_a_worker_is_recycled_after_its_last_stream(base_model: Path, speech: bytes) -> None:
    """A worker that has had its number of streams is recycled when the last one ends. It does not end a live stream."""
    with running_server(1, WLK_GUNICORN_MAX_REQUESTS="2", WLK_MAX_SESSIONS="8") as server:
        worker = server.workers()[0].pid
        first, second = open_stream(server), open_stream(server)
        for socket in (first, second):
            assert json.loads(socket.recv())["type"] == "ready"
        first.close()
        time.sleep(0.5)
        assert pids(server) == {worker}, "replaced under a live stream"
        second.send(speech)
        second.send('{"type":"stop"}')
        assert all_events(second)[-1]["type"] == "done"
        wait_until("the worker is replaced", lambda: worker not in pids(server), 60)
        wait_until("ready again", lambda: _ready(server), 60)


def _ready(server: Server) -> bool:
    try:
        return httpx.get(f"{server.url}/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_a_model_that_cannot_load_ends_the_start(tmp_path: Path, base_model: Path) -> None:
    """The log says why, and Gunicorn exits with status 3 instead of starting workers again and again.

    With one worker: when two fail to start at the same time, Gunicorn 27 may end with a traceback and status 1.
    """
    broken = tmp_path / "models" / "broken"
    broken.mkdir(parents=True)
    for file in base_model.iterdir():
        # The files look right, but a weight that CTranslate2 needs is missing.
        (broken / file.name).write_bytes(file.read_bytes().replace(b"encoder/conv2/weight", b"encoder/conv9/weight"))
    with (
        pytest.raises(ServerFailed, match=r"exited with 3 [\s\S]*cannot serve: [\s\S]*broken"),
        running_server(1, WLK_MODEL=str(broken), ready_within_s=60),
    ):
        pass


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="there is no writable /dev/shm")
def test_metrics_files_lie_in_memory(server: Server) -> None:
    """Workers map these files, and a write into a file that is mapped from a full disk kills the process."""
    for worker in server.workers():
        counts = [mapped.path for mapped in worker.memory_maps() if mapped.path.endswith(".db")]
        assert counts
        assert all(path.startswith("/dev/shm/") for path in counts)


@pytest.fixture(scope="module")
def configured(base_model: Path) -> Iterator[Server]:
    """One worker with WLK_LANGUAGE=auto and WLK_LOG_FORMAT=json, for a test of each."""
    with running_server(1, WLK_LANGUAGE="auto", WLK_LOG_FORMAT="json") as running:
        yield running


def test_a_server_without_a_language_detects_it(configured: Server) -> None:
    """With WLK_LANGUAGE=auto the server starts, and detects the language of a file."""
    with (DATA / "phrase_3s.flac").open("rb") as file:
        fields = {"response_format": "verbose_json"}
        answer = httpx.post(f"{configured.url}/v1/audio/transcriptions", files={"file": file}, data=fields, timeout=60)
    assert answer.json()["language"] == "russian"
    assert_says(answer.json()["text"], PHRASE.text)


def test_every_line_is_json(configured: Server) -> None:
    """With WLK_LOG_FORMAT=json the lines of the server, Gunicorn and uvicorn are JSON from start to stop.

    It stops the server.
    """
    with socket.create_connection(("127.0.0.1", httpx.URL(configured.url).port or 0), timeout=10) as raw:
        raw.sendall(b"no HTTP\r\n\r\n")
        assert raw.recv(100)
    os.kill(configured.pid, signal.SIGTERM)
    wait_until("the master is gone", lambda: _zombie(configured.pid), 60)
    lines = [json.loads(line) for line in configured.log_text().splitlines()]
    assert {"whisperlivekit.start", "gunicorn.error", "uvicorn.error"} <= {line["logger"] for line in lines}
    assert all({"time", "level", "process", "message"} <= line.keys() for line in lines)
