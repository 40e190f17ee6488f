"""What systemd is told."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from whisperlivekit.observe import systemd


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (systemd.THEIRS, systemd.OURS):
        monkeypatch.delenv(name, raising=False)
    yield
    for name in (systemd.THEIRS, systemd.OURS):
        os.environ.pop(name, None)


@pytest.mark.parametrize("abstract", [False, True])
def test_it_is_told(environment: None, tmp_path: Path, abstract: bool) -> None:
    """A datagram with the state, whatever kind of socket systemd names; and Gunicorn does not find the name."""
    address = f"@whisperlivekit-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + address[1:] if abstract else address)
        listener.settimeout(5)
        os.environ[systemd.THEIRS] = address
        systemd.take_socket()
        systemd.take_socket()  # the configuration is read again on HUP
        assert systemd.THEIRS not in os.environ
        assert systemd.notify("READY=1")
        assert listener.recv(100) == b"READY=1"


def test_elsewhere_nothing_happens(environment: None, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without systemd nothing is sent; where nobody listens the service goes on."""
    systemd.take_socket()
    assert not systemd.notify("READY=1")
    assert not caplog.records
    os.environ[systemd.OURS] = str(tmp_path / "nobody")
    assert not systemd.notify("READY=1")
    assert "could not report READY" in caplog.text
