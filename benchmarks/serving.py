"""The real server, for tests and benchmarks: ``with running_server(workers=1) as server: ... server.ws_url``."""

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


class ServerFailed(Exception):
    """The server did not come up, or did not go down; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, ready for sessions."""

    url: str
    """``http://127.0.0.1:PORT``."""
    ws_url: str
    """The native WebSocket."""
    pid: int
    """Of Gunicorn's master."""
    log: Path

    def workers(self) -> list[psutil.Process]:
        """The living worker processes."""
        return [child for child in psutil.Process(self.pid).children() if child.status() != psutil.STATUS_ZOMBIE]

    def worker_of(self, port: int) -> psutil.Process | None:
        """The worker that holds a connection from this local port."""
        for worker in self.workers():
            with suppress(psutil.NoSuchProcess):
                if any(other.raddr and other.raddr.port == port for other in worker.net_connections("tcp")):
                    return worker
        return None

    def ready_workers(self) -> int:
        """Workers with a warm model."""
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
    """Starts the server on ``port`` or a free one, waits until every worker is ready, and stops it at the end.

    ``env``: settings by their variables' names. Whatever the machine's own environment and ``.env`` say, the server has
    only these and the defaults of a test: base on the CPU, a temporary log folder.

    Raises:
        ServerFailed: with the end of the log.
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
            # In the temporary folder there is no .env; its own session, so that a test's Ctrl-C does not hit it twice.
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=folder,
                env=inherited | settings,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        s = "s" if "WLK_SSL_CERTFILE" in env else ""
        server = Server(f"http{s}://127.0.0.1:{port}", f"ws{s}://127.0.0.1:{port}/ws", process.pid, log)
        try:
            _wait_until_ready(server, process, workers, ready_within_s)
            yield server
        except BaseException:
            print(f"--- the server's log\n{server.log_text()[-8000:]}\n---", file=sys.stderr)
            raise
        finally:
            _stop(process, server)


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes], workers: int, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    ready_in_a_row = 0
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerFailed(f"exited with {process.returncode} before it was ready:\n{server.log_text()[-4000:]}")
        try:
            # A new connection each time: the kernel spreads connections over the workers that listen.
            # A test's certificate is signed by nobody.
            ready = httpx.get(f"{server.url}/ready", timeout=5, verify=server.url[4] != "s").status_code == 200
        except httpx.TransportError:
            ready = False
        ready_in_a_row = ready_in_a_row + 1 if ready and len(server.workers()) >= workers else 0
        if ready_in_a_row >= (1 if workers == 1 else 4 * workers):
            return
        if not ready:
            time.sleep(0.1)
    raise ServerFailed(f"not ready within {within_s} s:\n{server.log_text()[-4000:]}")


def _stop(process: subprocess.Popen[bytes], server: Server) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        raise ServerFailed(f"did not stop within 30 s of SIGTERM:\n{server.log_text()[-4000:]}") from None
    finally:
        # Nothing of it may outlive the test, whatever went wrong.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
