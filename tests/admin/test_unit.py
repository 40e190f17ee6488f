"""The systemd unit: what it says of this checkout, and that systemd takes it."""

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


def test_it_speaks_of_this_checkout() -> None:
    """User, folders and program are the installed ones, and nothing of the template is left open."""
    told = lines(Settings(log_dir=Path("/var/log/speech")), Path("/opt/speech"))
    assert told["User"] == told["Group"] == ["speech"]
    assert told["ExecStart"] == ["/opt/speech/venv/bin/python -m whisperlivekit serve"]
    assert told["ReadWritePaths"] == ["/opt/speech/models /var/log/speech"]  # the cache lies inside models
    assert told["ProtectHome"] == ["yes"]
    text = render(Settings(), Path("/opt/speech"), "speech", Path("/opt/speech/venv/bin/python"), nvidia_modprobe=True)
    assert not re.search(r"@[A-Z_]+@", text)


def test_stopping_leaves_time_to_drain() -> None:
    """The kill comes only after the drain; the master alone gets the signal and passes it on."""
    told = lines(Settings(gunicorn_graceful_timeout=90), Path("/opt/speech"))
    assert told["TimeoutStopSec"] == [str(90 + STOP_MARGIN_S)]
    assert told["KillMode"] == ["mixed"]


def test_ready_comes_from_workers() -> None:
    """Type=notify from any process of the unit: the master does not know when a model is loaded."""
    told = lines(Settings(), Path("/opt/speech"))
    assert (told["Type"], told["NotifyAccess"]) == (["notify"], ["all"])


def test_a_checkout_in_a_home_is_read_only() -> None:
    """ProtectHome=yes would hide the program from itself."""
    assert lines(Settings(), Path("/home") / "anna" / "speech")["ProtectHome"] == ["read-only"]


@pytest.mark.parametrize(("port", "capabilities"), [(8000, ""), (443, "CAP_NET_BIND_SERVICE")])
def test_rights_are_the_least(port: int, capabilities: str) -> None:
    told = lines(Settings(port=port), Path("/opt/speech"))
    assert told["CapabilityBoundingSet"] == told["AmbientCapabilities"] == [capabilities]


def test_the_gpu_can_be_reached_and_compiled_for() -> None:
    """NVIDIA's devices are allowed; what would forbid CUDA's and numba's compilers is not there."""
    told = lines(Settings(), Path("/opt/speech"), nvidia_modprobe=True)
    assert told["DeviceAllow"] == ["char-nvidia* rwm", "/dev/dxg rw"]
    # What DeviceAllow= may match is in the kernel by then.
    assert all("modprobe@nvidia_uvm.service" in told[key][0].split() for key in ("Wants", "After"))
    assert told["PrivateDevices"] == ["no"]
    assert "MemoryDenyWriteExecute" not in told
    assert told["ExecStartPre"] == ["+-/usr/bin/nvidia-modprobe -u -c=0"]
    assert "ExecStartPre" not in lines(Settings(), Path("/opt/speech"))


def test_a_path_that_systemd_cannot_name_is_refused() -> None:
    with pytest.raises(StartError, match="without spaces"):
        render(Settings(), Path("/opt/my speech"), "speech", Path("/usr/bin/python3"), nvidia_modprobe=False)


def test_folders_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """install.sh gives them to the service's user."""
    monkeypatch.setenv("WLK_HOME", str(tmp_path))
    assert main(["--writable"]) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "logs"), str(tmp_path / "models")]
    assert writable(Settings(), tmp_path) == [tmp_path / "logs", tmp_path / "models"]


def test_systemd_takes_it(tmp_path: Path) -> None:
    """Nothing is found by `systemd-analyze verify`, and `security` finds the sandbox good."""
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
    """With systemd's socket in the environment: one READY, when /ready says so too; and at the end STOPPING."""
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
