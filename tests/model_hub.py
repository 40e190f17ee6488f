"""A model hub on this machine for tests of downloads: the same requests and answers as huggingface.co, and faults."""

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest

CONTENT = bytes(range(256)) * 4096  # 1 MiB
COMMIT = "a" * 40


@dataclass
class Hub:
    """A hub with one repository, owner/toy, and faults that a test chooses."""

    files: dict[str, bytes] = field(default_factory=lambda: {"config.json": b"{}", "model.bin": CONTENT})
    branches: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    """Branch -> commit."""
    break_after: list[int] = field(default_factory=list)
    """For each of the next responses with model.bin: the bytes after which the connection is closed."""
    stall_after: int | None = None
    """Bytes of model.bin after which nothing more is sent until ``released``."""
    released: threading.Event = field(default_factory=threading.Event)
    ranges: bool = True
    status: int = 0
    token: str = ""
    """The token without which the hub shows nothing."""
    redirects: bool = False
    """Whether files are redirected as the hub does: model.bin to another host, which takes no token, others not."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """(path, range) of each request."""
    url: str = ""

    def listing(self) -> bytes:
        """The answer of the API: weights are in Git LFS and have a digest, the other files have not."""
        siblings = [
            {"rfilename": name, "size": len(content)}
            | ({"lfs": {"size": len(content), "sha256": _digest(content)}} if name == "model.bin" else {})
            for name, content in self.files.items()
        ]
        return json.dumps({"id": "owner/toy", "sha": self.branches["main"], "siblings": siblings}).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        hub = self.hub
        path, _, query = self.path.partition("?")
        hub.asked.append((path, self.headers["Range"]))
        elsewhere = self.headers["Host"].startswith("localhost")
        if elsewhere and self.headers["Authorization"]:
            self.send_error(400, "Only one auth mechanism allowed")
        elif not elsewhere and hub.token and self.headers["Authorization"] != f"Bearer {hub.token}":
            self.send_error(401)
        elif hub.status:
            self.send_error(hub.status)
        elif path.startswith("/api/models/owner/toy/revision/"):
            revision = unquote(path.rpartition("/")[2])
            if revision in {*hub.branches, *hub.branches.values()} and query == "blobs=true":
                self._send(hub.listing())
            else:
                self.send_error(404)
        else:
            self._send_file(path, elsewhere=elsewhere)

    def _send_file(self, path: str, *, elsewhere: bool) -> None:
        hub = self.hub
        name = path.rpartition("/")[2]
        if name not in hub.files:
            self.send_error(404)
        elif hub.redirects and not elsewhere and path.startswith("/owner/"):
            target = f"http://localhost:{self.server.server_port}" if name == "model.bin" else ""  # type: ignore[attr-defined]
            self.send_response(302 if target else 307)
            self.send_header("Location", f"{target}/stored/{name}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._send(hub.files[name], weights=name == "model.bin")

    def _send(self, content: bytes, *, weights: bool = False) -> None:
        hub, begin = self.hub, 0
        if hub.ranges and self.headers["Range"]:
            begin = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if begin >= len(content):
                self.send_error(416)
                return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        end = begin + hub.break_after.pop(0) if weights and hub.break_after else len(content)
        if weights and hub.stall_after is not None:
            self.wfile.write(content[begin : hub.stall_after])
            begin, hub.stall_after = hub.stall_after, None
            hub.released.wait()
        self.wfile.write(content[begin:end])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that the program uses, because ``HF_ENDPOINT`` names it."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield hub
    hub.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


class Told:
    """Collects the messages and the progress."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.progress: list[tuple[str, int, int | None]] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def report(self, name: str, done: int, total: int | None) -> None:
        self.progress.append((name, done, total))
