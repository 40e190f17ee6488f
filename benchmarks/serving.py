"""Starts the real server for tests and benchmarks: ``with running_server(workers=1) as server: ... server.ws_url``.

The server runs in a session and process group of its own. The whole group ends with the ``with`` block, and also when
the calling program is killed: see ``benchmarks.supervise``.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).parents[1]
SUPERVISOR = str(Path(__file__).with_name("supervise.py"))


class ServerFailed(Exception):
    """The server did not start or did not stop. The message contains the end of its log."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server that accepts sessions."""

    url: str
    """``http://127.0.0.1:PORT``."""
    ws_url: str
    """The endpoint of the native WebSocket protocol."""
    pid: int
    """Process ID of Gunicorn's master."""
    log: Path

    def workers(self) -> list[psutil.Process]:
        """The running worker processes."""
        return [child for child in psutil.Process(self.pid).children() if child.status() != psutil.STATUS_ZOMBIE]

    def worker_of(self, port: int) -> psutil.Process | None:
        """The worker that has a connection from this local port."""
        for worker in self.workers():
            with suppress(psutil.NoSuchProcess):
                if any(other.raddr and other.raddr.port == port for other in worker.net_connections("tcp")):
                    return worker
        return None

    def ready_workers(self) -> int:
        """The number of workers whose model is loaded."""
        for line in httpx.get(f"{self.url}/metrics", timeout=5).text.splitlines():
            if line.startswith("whisperlivekit_ready_workers "):
                return int(float(line.split()[1]))
        return 0

    def log_text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running_server(
    workers: int = 1,
    *,
    port: int | None = None,
    ready_within_s: float = 120.0,
    command: tuple[str, ...] = ("-m", "whisperlivekit", "serve"),
    **env: str,
) -> Iterator[Server]:
    """Start the server on ``port`` or on a free one, wait until every worker is ready, and stop it at the end.

    ``command``: arguments for Python. ``env``: settings by the names of their variables. The server gets these settings
    and the defaults below (base on the CPU, a temporary log folder), and none from the environment or ``.env``.

    Raises:
        ServerFailed: the server exits early, is not ready within ``ready_within_s``, or does not stop within 30 s.
    """
    port = port or free_port()
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "WHISPER_DEVICE": "cpu",
            "WLK_MODEL": "base",
            "WLK_HOST": "127.0.0.1",
            "WLK_PORT": str(port),
            "WLK_GUNICORN_WORKERS": str(workers),
            "WLK_GUNICORN_GRACEFUL_TIMEOUT": "10",
            "WLK_MODEL_DIR": str(ROOT / "models"),
            "WLK_CACHE_DIR": str(ROOT / "models" / "cache"),
            "WLK_LOG_DIR": folder,
            "WLK_HOME": folder,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            **env,
        }
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("WLK_", "WHISPER_", "FASTER_WHISPER_", "CUDA_VISIBLE", "PROMETHEUS_"))
        }
        log = Path(folder) / "server-output.log"
        with log.open("wb") as output:
            # The temporary folder has no .env. In a session of its own, Ctrl-C in the terminal does not reach the
            # server, which is stopped below.
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", SUPERVISOR, sys.executable, *command],
                cwd=folder,
                env=inherited | settings,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
            )
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        s = "s" if "WLK_SSL_CERTFILE" in env else ""
        server = Server(f"http{s}://127.0.0.1:{port}", f"ws{s}://127.0.0.1:{port}/ws", pid, log)
        try:
            _wait_until_ready(server, process, workers, ready_within_s)
            yield server
        except BaseException:
            print(f"--- server log\n{server.log_text()[-8000:]}\n---", file=sys.stderr)
            raise
        finally:
            _stop(process, server)


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes], workers: int, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    ready_in_a_row = 0
    while time.monotonic() < deadline:
        if (code := process.poll()) is not None:
            raise ServerFailed(f"the server exited with {code} before it was ready:\n{server.log_text()[-4000:]}")
        try:
            # Each request opens a new connection, which the kernel gives to any of the listening workers.
            # A test's certificate is self-signed.
            ready = httpx.get(f"{server.url}/ready", timeout=5, verify=server.url[4] != "s").status_code == 200
        except httpx.TransportError:
            ready = False
        ready_in_a_row = ready_in_a_row + 1 if ready and len(server.workers()) >= workers else 0
        if ready_in_a_row >= (1 if workers == 1 else 4 * workers):
            return
        if not ready:
            time.sleep(0.1)
    raise ServerFailed(f"the server was not ready within {within_s} s:\n{server.log_text()[-4000:]}")


def _stop(process: subprocess.Popen[bytes], server: Server) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGTERM)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        raise ServerFailed(f"the server did not stop within 30 s of SIGTERM:\n{server.log_text()[-4000:]}") from None
    finally:
        # Workers that the master did not stop, and the supervisor.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
