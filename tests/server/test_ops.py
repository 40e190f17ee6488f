"""Health, metrics and the page."""

import asyncio
import re
from collections.abc import Iterator

import httpx
import pytest

from tests.server.scripted import LOUD, QUIET, Server, scripted_server
from whisperlivekit.engine.scripted import ScriptedEngine
from whisperlivekit.errors import ModelUnavailable
from whisperlivekit.server.app import PAGE
from whisperlivekit.server.service import State


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with scripted_server() as running:
        yield running


class _Loading(ScriptedEngine):
    """Loads when the test says so, or fails with the given error."""

    def __init__(self) -> None:
        super().__init__()
        self.may_load = asyncio.Event()
        self.load_error: Exception | None = None

    async def load(self) -> None:
        await self.may_load.wait()
        if self.load_error:
            raise self.load_error


def release(server: Server, engine: _Loading) -> None:
    server.uvicorn.servers[0].get_loop().call_soon_threadsafe(engine.may_load.set)


def test_live_at_once_ready_when_loaded() -> None:
    """While the model loads, the process is live and not ready, and says why."""
    engine = _Loading()
    with scripted_server(engine, wait=False) as server:
        assert httpx.get(f"{server.url}/live").status_code == 200
        loading = httpx.get(f"{server.url}/ready")
        assert (loading.status_code, loading.json()["status"]) == (503, "loading")
        assert loading.headers["retry-after"]
        release(server, engine)
        server.wait_until("ready", lambda: httpx.get(f"{server.url}/ready").status_code == 200)
        server.check_alive()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModelUnavailable("model.bin is broken"), "model.bin is broken"),
        (MemoryError("no room"), "MemoryError: no room"),
    ],
)
def test_a_model_that_does_not_load(error: Exception, reason: str) -> None:
    """The state is FAILED; the operator learns the reason, the client only that the server is at fault."""
    engine = _Loading()
    engine.load_error = error
    with scripted_server(engine, wait=False) as server:
        release(server, engine)
        server.wait_until("failed", lambda: server.service.state is State.FAILED)
        assert reason in server.service.failure
        response = httpx.get(f"{server.url}/ready")
        assert (response.status_code, response.json()["status"]) == (503, "failed")
        assert reason not in response.text
        assert httpx.get(f"{server.url}/live").status_code == 200


def test_a_model_that_dies_is_not_ready() -> None:
    """/ready asks the engine, not only whether it once loaded."""
    engine = ScriptedEngine()
    with scripted_server(engine) as server:
        assert httpx.get(f"{server.url}/ready").status_code == 200
        engine.failed = True
        assert httpx.get(f"{server.url}/ready").json()["status"] == "failed"


def test_a_full_server_is_not_ready() -> None:
    """A load balancer and the page see that no stream would be admitted."""
    with scripted_server(max_sessions=1) as server, server.connect() as socket:
        socket.send('{"type":"start"}')
        socket.recv()
        response = httpx.get(f"{server.url}/ready")
        assert (response.status_code, response.json()["status"]) == (503, "full")


def test_metrics_count_streams(server: Server) -> None:
    """Successful and failed streams are counted, and the metrics contain no transcript text."""
    server.check_alive()
    with server.connect() as socket:
        socket.send("garbage")
        list(_rest(socket))
    server.wait_until("both are over", lambda: server.service.streams == 0)
    text = httpx.get(f"{server.url}/metrics").text
    assert 'whisperlivekit_sessions_opened_total{protocol="native"}' in text
    assert 'whisperlivekit_sessions_closed_total{code="ok"}' in text
    assert 'whisperlivekit_sessions_closed_total{code="bad_message"} 1.0' in text
    assert "whisperlivekit_sessions 0.0" in text
    assert "раз" not in text


def _rest(socket: object) -> Iterator[object]:
    from websockets.exceptions import ConnectionClosed

    try:
        while True:
            yield socket.recv(timeout=5)  # type: ignore[attr-defined]
    except ConnectionClosed:
        return


def test_nothing_said_is_logged(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """One line when a session opens and one when it closes, with totals; no words."""
    with caplog.at_level("INFO"):
        server.transcript()
        server.wait_until("closed", lambda: "session closed" in caplog.text)
    lines = [record for record in caplog.records if record.name.startswith("whisperlivekit")]
    assert [record.getMessage() for record in lines] == ["session opened", "session closed"]
    assert vars(lines[1])["words"] == 3
    assert vars(lines[1])["audio_s"] == 1.2
    assert "раз" not in caplog.text


def test_the_page_is_served_with_its_headers(server: Server) -> None:
    """The page loads only files of this server, under a policy that allows nothing else."""
    page = httpx.get(f"{server.url}/")
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "microphone=(self)" in page.headers["permissions-policy"]
    sources = re.findall(r'(?:src|href)="([^"#][^"]*)"', page.text)
    assert sources
    for source in sources:
        if source.startswith("data:"):
            continue
        assert not source.startswith(("http:", "https:", "//")), source
        assert httpx.get(f"{server.url}/{source.removeprefix('/').removeprefix('./')}").status_code == 200
    script = httpx.get(f"{server.url}/app.js")
    assert "javascript" in script.headers["content-type"]
    again = httpx.get(f"{server.url}/app.js", headers={"if-none-match": script.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("path", ["/nothing", "/../errors.py", "/%2e%2e/errors.py", "/docs"])
def test_nothing_else_is_served(server: Server, path: str) -> None:
    """Neither files beside web/ nor FastAPI's own pages."""
    assert (PAGE.parent / "errors.py").is_file()
    assert httpx.get(f"{server.url}{path}").status_code == 404


def test_the_page_does_not_run_inline_scripts() -> None:
    """The policy forbids them, so the page must have none."""
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>", html)
    assert not re.search(r"<style|\sstyle=|\son\w+=", html)


def test_metrics_have_latencies() -> None:
    """Latencies, audio and speech of a real-time stream are counted while it is open; resumed streams are counted."""
    with scripted_server() as server:
        with server.connect() as socket:
            socket.send('{"type":"start"}')
            socket.recv()
            # Less than two seconds ahead of the clock: more would not count as live.
            for chunk in (LOUD[:16_000], LOUD[:16_000], QUIET[:28_800]):
                socket.send(chunk)
            server.wait_until("committed", lambda: counted(server, "whisperlivekit_commit_latency_seconds_count") >= 2)
            assert counted(server, "whisperlivekit_audio_seconds_total") == pytest.approx(1.9)
            assert counted(server, "whisperlivekit_partial_latency_seconds_count") >= 1
            assert counted(server, "whisperlivekit_decode_batch_size_count") >= 1
            server.wait_until("ended", lambda: 0.9 < counted(server, "whisperlivekit_speech_seconds_total") < 1.9)
        with server.connect() as socket:
            socket.send('{"type":"start","resume":{"session":"s","position":16000,"words":[]}}')
            socket.recv()
            server.wait_until("resumed", lambda: counted(server, "whisperlivekit_sessions_resumed_total") == 1)


def counted(server: Server, name: str) -> float:
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))


def test_status_is_a_page(server: Server) -> None:
    """Its scripts and styles are served by this server."""
    page = httpx.get(f"{server.url}/status")
    assert page.status_code == 200
    assert "text/html" in page.headers["content-type"]
    assert page.headers["content-security-policy"]
    for source in re.findall(r'(?:src|href)="([^"#][^"]*)"', page.text):
        assert httpx.get(f"{server.url}/{source}").status_code == 200, source


def test_metrics_ask_for_a_key_where_keys_are_set() -> None:
    """By header or in the address; /live, /ready and the page of /status, which holds no numbers, stay open."""
    key = "0123456789abcdef"
    with scripted_server(api_keys=key) as server:
        refused = httpx.get(f"{server.url}/metrics")
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
        assert refused.headers["www-authenticate"] == "Bearer"
        assert "whisperlivekit" not in refused.text
        assert httpx.get(f"{server.url}/metrics", headers={"authorization": "Bearer wrong"}).status_code == 401
        assert httpx.get(f"{server.url}/metrics", headers={"authorization": f"Bearer {key}"}).status_code == 200
        assert httpx.get(f"{server.url}/metrics?token={key}").status_code == 200
        for path in ("/live", "/ready", "/status"):
            assert httpx.get(f"{server.url}{path}").status_code == 200


@pytest.mark.parametrize(
    ("networks", "forwarded_for", "status"),
    [
        ("127.0.0.0/8", None, 200),
        ("10.0.0.0/8", None, 401),
        ("127.0.0.0/8", "203.0.113.7", 401),
        ("10.0.0.0/8", "10.1.2.3", 200),
        ("10.0.0.0/8", "10.1.2.3, 203.0.113.7", 401),
    ],
)
def test_addresses_that_read_metrics_without_a_key(networks: str, forwarded_for: str | None, status: int) -> None:
    """The client's address counts: behind a proxy on this machine that is the last one in X-Forwarded-For."""
    headers = {} if forwarded_for is None else {"x-forwarded-for": forwarded_for}
    with scripted_server(api_keys="0123456789abcdef", metrics_allow=networks) as server:
        assert httpx.get(f"{server.url}/metrics", headers=headers).status_code == status
