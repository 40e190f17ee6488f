"""deploy/ works: the proxies with real WebSockets, alerts and dashboard with the metrics that the server has."""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets.sync.client
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from benchmarks.serving import free_port
from tests.certificates import self_signed
from tests.conftest import ROOT
from tests.server.scripted import LOUD, scripted_server
from whisperlivekit.observe.gpu import Gpu
from whisperlivekit.observe.metrics import Metrics, gpu_families

DEPLOY = ROOT / "deploy"

NAME = "speech.example.org"
"""The name in both configurations, which the server is not called by itself."""

Proxy = Callable[[Path, int], AbstractContextManager[tuple[int, ssl.SSLContext]]]
"""Starts one in a folder in front of a port; gives its own port and whom to trust."""


@contextmanager
def nginx(folder: Path, upstream: int) -> Iterator[tuple[int, ssl.SSLContext]]:
    """The real nginx with deploy/nginx.conf, of which only addresses and files are other ones."""
    program = find_program("nginx")
    certificate, key = self_signed(folder)
    port, plain = free_port(), free_port()
    site = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    for old, new in {
        "127.0.0.1:8000": f"127.0.0.1:{upstream}",
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "server_name speech.example.org": f"server_name localhost {NAME}",
        "/etc/letsencrypt/live/speech.example.org/fullchain.pem": str(certificate),
        "/etc/letsencrypt/live/speech.example.org/privkey.pem": str(key),
    }.items():
        assert old in site, old
        site = site.replace(old, new)
    (folder / "site.conf").write_text(site)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log stderr; worker_processes 1;\n"
        f"events {{}}\nhttp {{ access_log off; {temporary} include {folder}/site.conf; }}\n"
    )
    with running([program, "-p", str(folder), "-c", str(folder / "nginx.conf")], folder / "nginx.log", port):
        yield port, ssl.create_default_context(cafile=str(certificate))


@contextmanager
def caddy(folder: Path, upstream: int) -> Iterator[tuple[int, ssl.SSLContext]]:
    """The real Caddy with deploy/Caddyfile, of which only addresses and the certificate are other ones."""
    program = find_program("caddy")
    certificate, key = self_signed(folder)
    port = free_port()
    site = (DEPLOY / "Caddyfile").read_text(encoding="utf-8")
    for old, new in {
        "\nspeech.example.org {": f"\nhttps://localhost:{port}, https://{NAME}:{port} {{\n\ttls {certificate} {key}",
        "127.0.0.1:8000 {": f"127.0.0.1:{upstream} {{",
    }.items():
        assert old in site, old
        site = site.replace(old, new)
    (folder / "Caddyfile").write_text(f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{site}")
    command = [program, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    with running(command, folder / "caddy.log", port):
        yield port, ssl.create_default_context(cafile=str(certificate))


def find_program(name: str) -> str:
    """The program, as `install.sh test` unpacks it or as the machine has it."""
    fetched = ROOT / "venv" / "proxies" / "usr"
    path = f"{fetched}/sbin:{fetched}/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin"
    if (program := shutil.which(name, path=path)) is None:
        pytest.skip(f"{name} is not here, and install.sh could not fetch it")
    return program


@contextmanager
def running(command: list[str], log: Path, port: int) -> Iterator[None]:
    """A proxy that listens."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | {"HOME": str(log.parent)})
        try:
            deadline = time.monotonic() + 10
            while True:
                assert process.poll() is None, log.read_text()
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
            yield
        finally:
            process.terminate()
            process.wait(10)


PROXIES = pytest.mark.parametrize("proxy", [nginx, caddy])


@PROXIES
def test_a_proxy_passes_streams_and_refusals(proxy: Proxy, tmp_path: Path) -> None:
    """Through nginx and Caddy with https: the page, a WebSocket from the page's origin, and why it was rejected."""
    with scripted_server(max_sessions=1) as server, proxy(tmp_path, server.port) as (port, trust):
        base = f"https://localhost:{port}"
        page = httpx.get(f"{base}/", verify=trust)
        assert page.status_code == 200
        assert httpx.get(f"{base}/ready", verify=trust).status_code == 200
        assert "whisperlivekit_sessions" in httpx.get(f"{base}/metrics", verify=trust).text
        options: dict[str, Any] = {"ssl": trust, "compression": None}
        address = f"wss://localhost:{port}/ws"
        with websockets.sync.client.connect(address, origin=Origin(base), **options) as stream:
            stream.send('{"type":"start"}')
            assert json.loads(stream.recv())["type"] == "ready"
            stream.send(LOUD)
            # Words come while the stream is open: nothing on the way collects them.
            kinds = {json.loads(stream.recv(timeout=5))["type"] for _ in range(2)}
            assert kinds & {"partial", "speech_started"}
            with pytest.raises(InvalidStatus) as refused:
                websockets.sync.client.connect(address, origin=Origin(base), **options)
            assert refused.value.response.status_code == 503
            assert b"server_full" in (refused.value.response.body or b"")
            stream.send('{"type":"stop"}')
            with suppress(ConnectionClosed):
                while stream.recv(timeout=5):
                    pass
            assert stream.close_code == 1000


@PROXIES
def test_a_proxy_passes_the_page_s_origin_check(proxy: Proxy, tmp_path: Path) -> None:
    """A page of another site is rejected behind a proxy as well."""
    with scripted_server() as server, proxy(tmp_path, server.port) as (port, trust):
        # A proxy that has just begun to listen may reset what comes first.
        assert httpx.get(f"https://localhost:{port}/live", verify=trust).status_code == 200
        with pytest.raises(InvalidStatus) as refused:
            websockets.sync.client.connect(
                f"wss://localhost:{port}/ws", origin=Origin("https://evil.example"), ssl=trust
            )
        assert refused.value.response.status_code == 403


@PROXIES
def test_a_proxy_s_public_name_is_allowed_by_a_setting(proxy: Proxy, tmp_path: Path) -> None:
    """As the configurations say. Without WLK_ALLOWED_HOSTS the response says what is missing."""
    for allowed, status in (("", 421), (NAME, 200)):
        with scripted_server(allowed_hosts=allowed) as server, proxy(tmp_path, server.port) as (port, trust):
            page = httpx.get(f"https://localhost:{port}/", headers={"host": f"{NAME}:{port}"}, verify=trust)
        assert page.status_code == status
        assert allowed or "WLK_ALLOWED_HOSTS" in page.json()["message"]


@PROXIES
@pytest.mark.parametrize(("networks", "status"), [("203.0.113.0/24", 401), ("127.0.0.1", 200)])
def test_a_proxy_tells_the_client_s_own_address(proxy: Proxy, tmp_path: Path, networks: str, status: int) -> None:
    """An address that the client puts into X-Forwarded-For does not open the metrics; the real one does."""
    settings: dict[str, Any] = {"api_keys": "0123456789abcdef", "metrics_allow": networks}
    with scripted_server(**settings) as server, proxy(tmp_path, server.port) as (port, trust):
        forged = {"x-forwarded-for": "203.0.113.7"}
        assert httpx.get(f"https://localhost:{port}/metrics", headers=forged, verify=trust).status_code == status


def names_told() -> set[str]:
    """Every series that the server can export."""
    metrics = Metrics()
    told = {sample.name for family in metrics._registry.collect() for sample in family.samples} | {
        family.name for family in metrics._registry.collect()
    }
    # A counter with labels has no sample yet, only its family.
    told |= {f"{family.name}_total" for family in metrics._registry.collect() if family.type == "counter"}
    told |= {
        f"{family.name}{ending}"
        for family in metrics._registry.collect()
        if family.type == "histogram"
        for ending in ("_bucket", "_sum", "_count")
    }
    gpu = Gpu(0, "GPU-0", "X", "1", 1, 1, 0.5, 50, 100.0)
    return told | {family.name for family in gpu_families((gpu,))}


def expressions(value: Any) -> Iterator[str]:
    """Every PromQL expression of a dashboard."""
    if isinstance(value, dict):
        if isinstance(value.get("expr"), str):
            yield value["expr"]
        for inner in value.values():
            yield from expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner)


@pytest.mark.parametrize("name", ["grafana-dashboard.json", "alerts.yml"])
def test_what_is_asked_for_is_told(name: str) -> None:
    """Dashboard and alerts name only series that exist; a renamed metric would disable them silently."""
    text = (DEPLOY / name).read_text(encoding="utf-8")
    asked = set(re.findall(r"whisperlivekit_\w+", "\n".join(expressions(json.loads(text))) if "json" in name else text))
    assert len(asked) > 8
    assert asked <= names_told(), asked - names_told()


def test_the_dashboard_shows_everything() -> None:
    """Each metric is in some panel, and no two panels have the same id or place."""
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))
    asked = set(re.findall(r"whisperlivekit_\w+", "\n".join(expressions(dashboard))))
    shown = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in asked}
    families = {family.name for family in Metrics()._registry.collect()}
    assert families - shown == set()
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)


def test_the_handbook_has_a_remedy_for_every_alert() -> None:
    """docs/operations.md has a section for each."""
    alerts = re.findall(r"- alert: (\w+)", (DEPLOY / "alerts.yml").read_text(encoding="utf-8"))
    handbook = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert len(alerts) >= 8
    for alert in alerts:
        assert f"### {alert}\n" in handbook, alert


def promtool(*arguments: str, told: str | None = None) -> "subprocess.CompletedProcess[str]":
    program = find_program("promtool")
    return subprocess.run([program, *arguments], input=told, capture_output=True, text=True, check=False, cwd=DEPLOY)


def test_prometheus_takes_the_alerts() -> None:
    """The rules are valid, and fire when alerts.test.yml says so."""
    checked = promtool("check", "rules", "alerts.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = promtool("test", "rules", "alerts.test.yml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_prometheus_takes_the_dashboard(tmp_path: Path) -> None:
    """Every panel's query is valid PromQL."""
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))
    rules = [
        {"record": f"panel:{number}", "expr": text.replace("$__rate_interval", "1m").replace("$instance", ".*")}
        for number, text in enumerate(expressions(dashboard))
    ]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
    checked = promtool("check", "rules", str(file))
    assert checked.returncode == 0, checked.stderr
    assert f"{len(rules)} rules found" in checked.stdout


def test_prometheus_takes_the_metrics() -> None:
    """The exposition is valid and its names follow Prometheus' conventions."""
    with scripted_server() as server:
        server.check_alive()
        told = httpx.get(f"{server.url}/metrics").text
    checked = promtool("check", "metrics", told=told)
    assert (checked.returncode, checked.stderr + checked.stdout) == (0, "")
