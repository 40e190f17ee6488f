"""The server that benchmarks start: it must not outlive the program that started it, however that program ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.serving import ROOT, ServerFailed, running_server
from whisperlivekit.server.launch import GUNICORN_CONF

BENCHMARK = f"""
import time
from benchmarks.serving import running_server

command = ("-m", "gunicorn", "--config", {str(GUNICORN_CONF)!r}, "tests.e2e.scripted_app:build()")
with running_server(2, command=command, SCRIPTED_TROUBLE="/nonexistent") as server:
    print(server.pid, flush=True)
    time.sleep(120)
"""
"""A benchmark with a real Gunicorn server; only the model is scripted."""


def group_of(pid: int) -> list[psutil.Process]:
    """The living processes in the process group of ``pid``."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == os.getpgid(pid) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    living = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                living.append(process)
        except psutil.NoSuchProcess:
            continue
    return living


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_the_server_ends_with_the_benchmark(base_model: Path, number: signal.Signals) -> None:
    """Master, both workers and the supervisor are gone soon after the benchmark got the signal."""
    benchmark = subprocess.Popen(
        [sys.executable, "-c", BENCHMARK], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert benchmark.stdout is not None
        master = psutil.Process(int(benchmark.stdout.readline()))
        processes = group_of(master.pid)
        assert benchmark.pid not in [process.pid for process in processes]
        assert "gunicorn" in master.cmdline()
        assert len(master.children()) == 2
        assert {master, *master.children()} <= set(processes)
    finally:
        benchmark.send_signal(number)
        benchmark.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while (left := alive(processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in left:
        process.kill()
    assert left == []


def test_a_command_that_fails_is_reported_with_its_output() -> None:
    """The error names the exit code and holds what the command printed."""
    command = ("-c", "import sys; print('no such model'); sys.exit(3)")
    with pytest.raises(ServerFailed, match=r"(?s)exited with 3 .*no such model"), running_server(command=command):
        pass
