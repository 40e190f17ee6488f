"""The systemd unit has the values of this installation, and systemd accepts it."""

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.serving import running_server
from whisperlivekit.admin.unit import STOP_MARGIN_S, main, render, writable
from whisperlivekit.errors import StartError
from whisperlivekit.settings.declarations import Settings


def lines(settings: Settings, root: Path, *, nvidia_modprobe: bool = False) -> dict[str, list[str]]:
    """Key -> its values."""
    told: dict[str, list[str]] = {}
    for line in render(
        settings, root, "speech", root / "venv" / "bin" / "python", nvidia_modprobe=nvidia_modprobe
    ).splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            told.setdefault(key, []).append(value)
    return told


def test_it_has_the_values_of_the_installation() -> None:
    """User, folders and program are those of the installation, and no placeholder of the template is left."""
    told = lines(Settings(log_dir=Path("/var/log/speech")), Path("/opt/speech"))
    assert told["User"] == told["Group"] == ["speech"]
    assert told["ExecStart"] == ["/opt/speech/venv/bin/python -m whisperlivekit serve"]
    assert told["ReadWritePaths"] == ["/opt/speech/models /var/log/speech"]  # the cache lies inside models
    assert told["ProtectHome"] == ["yes"]
    text = render(Settings(), Path("/opt/speech"), "speech", Path("/opt/speech/venv/bin/python"), nvidia_modprobe=True)
    assert not re.search(r"@[A-Z_]+@", text)


def test_stopping_leaves_time_to_drain() -> None:
    """Processes are killed only after the drain. Only the master gets the signal, and passes it on."""
    told = lines(Settings(gunicorn_graceful_timeout=90), Path("/opt/speech"))
    assert told["TimeoutStopSec"] == [str(90 + STOP_MARGIN_S)]
    assert told["KillMode"] == ["mixed"]


def test_workers_may_send_ready() -> None:
    """Every process of the unit may send it, because the master does not know when a model is loaded."""
    told = lines(Settings(), Path("/opt/speech"))
    assert (told["Type"], told["NotifyAccess"]) == (["notify"], ["all"])


def test_a_checkout_in_a_home_is_read_only() -> None:
    """With ProtectHome=yes the service could not read its own program."""
    assert lines(Settings(), Path("/home") / "anna" / "speech")["ProtectHome"] == ["read-only"]


@pytest.mark.parametrize(
    ("port", "wyoming_port", "capabilities"),
    [(8000, 0, ""), (8000, 10300, ""), (443, 0, "CAP_NET_BIND_SERVICE"), (8000, 300, "CAP_NET_BIND_SERVICE")],
)
def test_only_needed_capabilities_are_granted(port: int, wyoming_port: int, capabilities: str) -> None:
    told = lines(Settings(port=port, wyoming_port=wyoming_port), Path("/opt/speech"))
    assert told["CapabilityBoundingSet"] == told["AmbientCapabilities"] == [capabilities]


def test_the_gpu_can_be_used() -> None:
    """NVIDIA's devices are allowed, and CUDA's compiler is not forbidden."""
    told = lines(Settings(), Path("/opt/speech"), nvidia_modprobe=True)
    assert told["DeviceAllow"] == ["char-nvidia* rwm", "/dev/dxg rw"]
    # What DeviceAllow= may match is in the kernel by then.
    assert all("modprobe@nvidia_uvm.service" in told[key][0].split() for key in ("Wants", "After"))
    assert told["PrivateDevices"] == ["no"]
    assert "MemoryDenyWriteExecute" not in told
    assert told["ExecStartPre"] == ["+-/usr/bin/nvidia-modprobe -u -c=0"]
    assert "ExecStartPre" not in lines(Settings(), Path("/opt/speech"))


def test_a_path_that_systemd_does_not_allow_is_an_error() -> None:
    with pytest.raises(StartError, match="without spaces"):
        render(Settings(), Path("/opt/my speech"), "speech", Path("/usr/bin/python3"), nvidia_modprobe=False)


def test_writable_folders_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """install.sh gives them to the service's user."""
    monkeypatch.setenv("WLK_HOME", str(tmp_path))
    assert main(["--writable"]) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "logs"), str(tmp_path / "models")]
    assert writable(Settings(), tmp_path) == [tmp_path / "logs", tmp_path / "models"]


def test_systemd_accepts_it(tmp_path: Path) -> None:
    """`systemd-analyze verify` finds no problem, and `security` gives the sandbox a good score."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed (Debian: apt-get install systemd)")
    root = tmp_path / "speech"
    (root / "venv" / "bin").mkdir(parents=True)
    (root / "venv" / "bin" / "python").symlink_to(sys.executable)
    unit = tmp_path / "whisperlivekit.service"
    unit.write_text(render(Settings(), root, "daemon", root / "venv" / "bin" / "python", nvidia_modprobe=False))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    ours = [line for line in (verified.stdout + verified.stderr).splitlines() if "whisperlivekit" in line]
    assert (verified.returncode, ours) == (0, [])
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    overall = [line for line in judged.stdout.splitlines() if "Overall exposure" in line]
    if not overall:
        pytest.skip(f"this systemd does not judge units offline: {judged.stderr[-200:]}")
    assert float(overall[0].split(":")[1].split()[0]) < 3.5, overall


@pytest.mark.model
@pytest.mark.slow
def test_ready_means_that_the_model_is_loaded(base_model: Path, tmp_path: Path) -> None:
    """One READY is sent to systemd's socket when /ready responds with 200, and STOPPING at the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(1)
        with running_server(1, NOTIFY_SOCKET=str(tmp_path / "notify")) as server:
            first = listener.recv(200).decode()
            log = server.log_text()
        assert first.startswith("READY=1\n")
        assert "the model is loaded" in first, "Gunicorn's own READY came first"
        assert "server.service: ready" in log
        assert listener.recv(200).decode() == "STOPPING=1"
