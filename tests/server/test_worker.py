"""The Gunicorn worker's decisions; that it serves is seen in test_gunicorn.py."""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger

from tests.server.test_service import _Stream
from whisperlivekit.engine.scripted import ScriptedEngine
from whisperlivekit.server.service import Service
from whisperlivekit.server.transport import WebSocketTransport
from whisperlivekit.server.worker import RELOADED, SpeechWorker
from whisperlivekit.settings.declarations import Settings
from whisperlivekit.wire.adapter import MAX_MESSAGE_BYTES


@contextmanager
def worker(age: int = 1, **settings: Any) -> Iterator[SpeechWorker]:
    config = Config()
    for name, value in ({"workers": 2} | settings).items():
        config.set(name, value)
    made = SpeechWorker(age, 0, [], None, 60.0, config, Logger(config))
    yield made
    made.tmp.close()


def service(engine: ScriptedEngine | None = None) -> Service:
    made = Service(Settings(model="base"), lambda _: engine or ScriptedEngine())
    asyncio.run(made.load())
    return made


@pytest.mark.parametrize(
    ("served", "streams", "exits"),
    [(0, 0, False), (9, 0, False), (10, 1, False), (10, 0, True), (19, 1, False), (20, 1, True)],
)
def test_a_worker_exits_when_it_serves_no_stream(served: int, streams: int, exits: bool) -> None:
    """After its number of streams, once none is open; at twice the number in any case."""
    live = service()
    live.served = served
    with worker(max_requests=10) as subject, live.track(_Stream()) if streams else nullcontext():
        assert subject.should_exit(live) is exits


def test_without_a_number_a_worker_stays() -> None:
    """``max_requests`` 0: never replaced."""
    live = service()
    live.served = 10**9
    with worker(max_requests=0) as subject:
        assert not subject.should_exit(live)


def test_a_worker_whose_model_has_failed_exits() -> None:
    """At once: it cannot serve."""
    engine = ScriptedEngine()
    live = service(engine)
    with worker() as subject:
        assert not subject.should_exit(live)
        engine.failed = True
        assert subject.should_exit(live)


@pytest.mark.parametrize(
    ("age", "was_ready", "ends_all"), [(1, False, True), (2, False, True), (3, False, False), (1, True, False)]
)
def test_only_a_failed_start_ends_the_server(age: int, was_ready: bool, ends_all: bool) -> None:
    """A first worker that never got ready stops the start; a replacement or an old worker does not."""
    live = service()
    live.was_ready = was_ready
    with worker(age) as subject:
        assert subject._starts_with_the_server(live) is ends_all


@pytest.mark.parametrize(("age", "workers", "waits"), [(1, 2, False), (2, 2, False), (3, 2, True), (2, 1, False)])
def test_a_replacement_lets_its_siblings_serve_while_it_loads(age: int, workers: int, waits: bool) -> None:
    """It takes connections when it is warm; the first workers, and one that is alone, answer /live at once."""
    with worker(age, workers=workers) as subject:
        assert subject.replaces_another is waits


@pytest.mark.parametrize(("reloaded_s", "waits"), [(None, False), (1, True), (100, False)])
def test_the_only_worker_s_successor_lets_it_serve_on(
    reloaded_s: float | None, waits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a reload the one before is still there; after a crash, or long after a reload, nobody is."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    if reloaded_s is not None:
        (tmp_path / RELOADED).touch()
        os.utime(tmp_path / RELOADED, (time.time() - reloaded_s,) * 2)
    with worker(2, workers=1) as subject:
        assert subject.replaces_another is waits


def test_only_after_a_reload_there_is_a_successor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by a marker that is younger than the worker, and not old; a worker with a dead model cannot wait."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    engine = ScriptedEngine()
    live = service(engine)
    marker = tmp_path / RELOADED
    with worker() as subject:
        assert not subject.is_succeeded(live)
        marker.touch()
        now = time.time()
        for made, reloaded, succeeded in ((10, 1, True), (1, 10, False), (100, 90, False)):
            subject._made = now - made
            os.utime(marker, (now - reloaded, now - reloaded))
            assert subject.is_succeeded(live) is succeeded
        subject._made = now - 10
        os.utime(marker, (now - 1, now - 1))
        engine.failed = True
        assert not subject.is_succeeded(live)


def test_uvicorn_is_set_up_for_streams() -> None:
    """Our transport, a frame limit above ours, no compression, no recycling by uvicorn, no secrets in its log."""
    with worker(max_requests=10) as subject:
        config = subject.config
    assert config.ws is WebSocketTransport
    assert MAX_MESSAGE_BYTES < config.ws_max_size <= 4 * MAX_MESSAGE_BYTES
    assert not config.ws_per_message_deflate
    assert config.ws_ping_interval
    assert config.limit_max_requests is None
    assert not config.access_log


@pytest.mark.parametrize("trusted", ["127.0.0.1,::1", "10.0.0.5"])
def test_proxies_that_gunicorn_trusts_are_trusted_by_uvicorn(trusted: str) -> None:
    """FORWARDED_ALLOW_IPS is Gunicorn's; the default is this machine."""
    settings: dict[str, Any] = {} if trusted == "127.0.0.1,::1" else {"forwarded_allow_ips": trusted}
    with worker(**settings) as subject:
        assert subject.config.proxy_headers
        assert ",".join(subject.config.forwarded_allow_ips) == trusted


def test_a_drain_leaves_time_to_end() -> None:
    """Streams get less than the graceful timeout: the engine has to stop before Gunicorn kills."""
    with worker(graceful_timeout=30) as subject:
        assert 15 < subject.drain_limit_s < 25
