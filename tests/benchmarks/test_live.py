"""The live measurement against a small server of this process: its figures, and what a server costs."""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from websockets.asyncio.server import ServerConnection, serve

from benchmarks.live import Meter, measure, server_on_port

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The loop that the client is written for."""
    return "asyncio"


def test_the_meter_counts_the_whole_tree() -> None:
    """CPU time that a child of the process burns is counted, and the memory of both is added."""
    burn = "import time\nwhile time.process_time() < 0.4: pass\nprint(flush=True)\ninput()"
    parent = f"import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', {burn!r}])\nchild.wait()"
    process = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    meter = Meter(process.pid)
    assert process.stdout is not None
    process.stdout.readline()
    meter.look()
    process.communicate("\n", timeout=10)
    assert 0.3 < meter.cpu_s < 2
    assert meter.peak_rss_mb > 10


def test_the_meter_does_not_count_what_was_before_it() -> None:
    """Only the session is measured, not the server's start."""
    assert psutil.Process().cpu_times().user > 0
    meter = Meter(os.getpid())
    meter.look()
    assert meter.cpu_s < 0.1


def test_the_server_is_found_by_its_port() -> None:
    """The process that listens; nothing where nobody does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        assert server_on_port(port) is None
        listener.listen()
        assert server_on_port(port) == os.getpid()


async def test_a_run_prints_the_figures_of_all_sessions(tmp_path: Path) -> None:
    """Two sessions, one of which hears a wrong word: worst and median differ, every promised figure is there."""
    soundfile.write(tmp_path / "a.wav", np.zeros(8000, np.int16), 16_000, subtype="PCM_16")
    (tmp_path / "a.json").write_text(json.dumps([["раз", 0.2], ["два", 0.4]]), encoding="utf-8")
    heard = [" раз два", " раз три"]

    async def handler(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(json.dumps({"type": "ready", "session": "s"}))
        while not isinstance(await connection.recv(), str):
            pass
        text = heard.pop()
        await connection.send(json.dumps({"type": "committed", "text": text, "words": [], "kept_from": 0}))
        await connection.send(json.dumps({"type": "done"}))

    async with serve(handler, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        summary = await measure(
            argparse.Namespace(
                url=f"ws://127.0.0.1:{port}/ws",
                audio=tmp_path / "a.wav",
                reference=tmp_path / "a.json",
                sessions=2,
                stagger_s=0.01,
                protocol="native",
                language="ru",
                server_pid=None,
                snapshots=tmp_path / "snapshots.jsonl",
            )
        )
    await asyncio.sleep(0)
    worst, median = summary["worst"], summary["median"]
    assert set(worst) == set(median) >= {
        "wer", "substitutions", "deletions", "insertions", "commit_p50_s", "commit_p95_s", "partial_p50_s",
        "partial_p95_s", "retracted", "end_lag_s", "cpu_s_per_audio_s", "peak_rss_mb",
    }  # fmt: skip
    assert (worst["wer"], median["wer"], worst["substitutions"]) == (0.5, 0.25, 1)
    assert worst["commit_p50_s"] == pytest.approx(0.3, abs=0.15)
    assert worst["end_lag_s"] == pytest.approx(0, abs=0.1)
    assert worst["peak_rss_mb"] is not None
    assert worst["peak_rss_mb"] > 20
    assert len((tmp_path / "snapshots.jsonl").read_text(encoding="utf-8").splitlines()) == 2
