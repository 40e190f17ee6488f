"""`check` looks at what a start depends on and names a remedy for each thing that is wrong."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from whisperlivekit.check import Finding, examine, list_gpus
from whisperlivekit.engine.cuda import find_cublas
from whisperlivekit.settings import Settings


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def settings(tmp_path: Path, **values: object) -> Settings:
    folders = {"model_dir": tmp_path / "models", "cache_dir": tmp_path / "cache", "log_dir": tmp_path / "logs"}
    return Settings(_env_file=None, **{"device": "cpu", **folders, **values})  # type: ignore[arg-type]


def bad(settings: Settings) -> list[Finding]:
    return [finding for finding in examine(settings) if not finding.good]


@pytest.mark.model
def test_a_good_machine_has_no_problem(tmp_path: Path, base_model: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    findings = list(examine(settings(tmp_path, model=str(base_model), port=port, gunicorn_workers=1)))
    assert [str(finding) for finding in findings if not finding.good] == []
    told = "\n".join(map(str, findings))
    for subject in ("Python", "ctranslate2", "device: CPU, int8", "memory:", "silero-vad", "WLK_LOG_DIR", "is free"):
        assert subject in told


def test_a_missing_model_comes_with_its_command(tmp_path: Path) -> None:
    (finding,) = [finding for finding in bad(settings(tmp_path)) if "model" in finding.what]
    assert "there is no such folder" in finding.what
    assert finding.remedy == "fetch it with: whisperlivekit models fetch small"


def test_a_busy_port_is_named(tmp_path: Path, busy_port: int) -> None:
    findings = [str(finding) for finding in bad(settings(tmp_path, port=busy_port))]
    assert any(f"cannot listen on port {busy_port} of 127.0.0.1" in text and "WLK_PORT" in text for text in findings)


def test_a_missing_gpu_is_named(tmp_path: Path) -> None:
    if list_gpus()[0]:
        pytest.skip("this machine has a GPU")
    findings = [str(finding) for finding in bad(settings(tmp_path, device="cuda"))]
    assert any("no NVIDIA GPU can be used" in text and "WHISPER_DEVICE=cpu" in text for text in findings)
    if find_cublas() is None:
        assert any("libcublas.so.12 was not found" in text for text in findings)


def test_too_many_workers_for_the_memory_are_named(tmp_path: Path, base_model: Path) -> None:
    huge = tmp_path / "own"
    huge.mkdir()
    for name in ("config.json", "tokenizer.json", "vocabulary.json"):
        (huge / name).write_text("{}")
    with (huge / "model.bin").open("wb") as file:
        file.truncate(1 << 40)  # a hole: takes no disk
    findings = [str(finding) for finding in bad(settings(tmp_path, model=str(huge)))]
    assert any("memory" in text and "WLK_GUNICORN_WORKERS" in text for text in findings)


def test_a_certificate_that_is_none_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "cert.pem"
    wrong.write_text("no certificate")
    findings = [finding.what for finding in bad(settings(tmp_path, ssl_certfile=wrong, ssl_keyfile=wrong))]
    assert any("certificate and key do not load" in what for what in findings)


def test_an_open_address_without_https_is_pointed_out(tmp_path: Path) -> None:
    hints = [finding for finding in examine(settings(tmp_path, host="0.0.0.0")) if "no microphone" in finding.what]
    assert [hint.good for hint in hints] == [True]
