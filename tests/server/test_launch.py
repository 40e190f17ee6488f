"""Starting the server."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.serving import ROOT, free_port
from whisperlivekit.admin.check import list_gpus
from whisperlivekit.errors import StartError
from whisperlivekit.server.launch import GUNICORN_CONF, need_free_port

LIGHT = """
import sys
from whisperlivekit.server import launch
app = launch.build()
maps = open('/proc/self/maps').read()
heavy = {"torch", "ctranslate2", "onnxruntime", "faster_whisper", "av", "soundfile", "librosa"} & set(sys.modules)
assert not heavy, heavy
assert not [name for name in ("libtorch", "libcuda", "ctranslate2", "onnxruntime") if name in maps]
assert set(app.openapi()["paths"]) >= {"/ws", "/live", "/ready", "/metrics", "/v1/audio/transcriptions"}
"""


def run(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_taken_port_is_named() -> None:
    """The error says which port and what helps; a free one is no error."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            StartError, match=f"cannot listen on port {port} of 127.0.0.1: another .* set WLK_VOSK_PORT"
        ):
            need_free_port("127.0.0.1", port, "WLK_VOSK_PORT")
    need_free_port("127.0.0.1", port, "WLK_PORT")


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_named(host: str) -> None:
    """An address this machine does not have is an operator's mistake with a clear message."""
    with pytest.raises(StartError, match="this machine has no such address; set WLK_HOST"):
        need_free_port(host, free_port(), "WLK_PORT")


def test_a_taken_port_ends_the_program(tmp_path: Path) -> None:
    """``python -m whisperlivekit.basic_server`` prints the reason, no traceback, and exits 2."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        model_dir = str(ROOT / "models")
        done = run(
            "-m", "whisperlivekit.basic_server", cwd=tmp_path, WLK_PORT=port, WLK_MODEL="base", WLK_MODEL_DIR=model_dir
        )
    assert done.returncode == 2
    assert f"port {port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_settings_end_the_program(tmp_path: Path) -> None:
    """Also for who starts Gunicorn by hand: the variable, what was found, no traceback of ours."""
    for arguments in (("-m", "whisperlivekit.basic_server"), ("-m", "gunicorn", "-c", str(GUNICORN_CONF))):
        done = run(*arguments, cwd=tmp_path, WLK_PORT="many")
        assert done.returncode != 0
        assert "WLK_PORT=many" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_missing_model_ends_the_program(tmp_path: Path) -> None:
    """Before any worker is started, with what to do."""
    for arguments in (("-m", "whisperlivekit.basic_server"), ("-m", "gunicorn", "-c", str(GUNICORN_CONF))):
        done = run(*arguments, cwd=tmp_path, WLK_PORT=str(free_port()), WLK_MODEL="base")
        assert done.returncode == 2
        assert "base" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_application_is_light(tmp_path: Path) -> None:
    """What the master imports before the fork loads no model library, and no reader of files."""
    done = run("-c", LIGHT, cwd=tmp_path, WLK_MODEL="base")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [["-m", "whisperlivekit", "serve"], ["-m", "gunicorn", "-c", "CONFIGURATION"]])
def test_cuda_without_a_gpu_ends_the_program(tmp_path: Path, base_model: Path, command: list[str]) -> None:
    """Both ways to start: the reason and what helps, status 2, and no worker that falls back to the CPU."""
    if list_gpus()[0] or any(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("this machine has a GPU")
    done = run(
        *[str(GUNICORN_CONF) if word == "CONFIGURATION" else word for word in command],
        cwd=tmp_path,
        WHISPER_DEVICE="cuda",
        WLK_MODEL=str(base_model),
        WLK_PORT=str(free_port()),
        WLK_LOG_DIR=str(tmp_path),
        WLK_CACHE_DIR=str(tmp_path),
    )
    told = done.stdout + done.stderr
    assert done.returncode == 2, told
    assert "WHISPER_DEVICE=cuda asks for an NVIDIA GPU: no NVIDIA GPU: " in told
    assert "set WHISPER_DEVICE=cpu" in told
    assert "Traceback" not in told
