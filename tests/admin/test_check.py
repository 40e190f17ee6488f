"""`check` examines everything that a start depends on, and names a remedy for each problem."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.certificates import self_signed
from tests.model_hub import Told
from tests.tiny_whisper import write_tiny_whisper
from whisperlivekit.admin.add import add, parse_source
from whisperlivekit.admin.check import UVM, Finding, list_gpus, run_checks
from whisperlivekit.engine.cuda import find_cublas
from whisperlivekit.observe.gpu import Gpu
from whisperlivekit.settings.declarations import Settings
from whisperlivekit.settings.env_file import load_settings


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def settings(tmp_path: Path, **values: object) -> Settings:
    folders = {"model_dir": tmp_path / "models", "cache_dir": tmp_path / "cache", "log_dir": tmp_path / "logs"}
    return Settings(**{"device": "cpu", **folders, **values})


def bad(settings: Settings) -> list[Finding]:
    return [finding for finding in run_checks(settings) if not finding.good]


@pytest.mark.model
def test_a_good_machine_has_no_problem(tmp_path: Path, base_model: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    findings = list(
        run_checks(settings(tmp_path, model="base", model_dir=base_model.parents[1], port=port, gunicorn_workers=1))
    )
    assert [str(finding) for finding in findings if not finding.good] == []
    told = "\n".join(map(str, findings))
    for subject in ("Python", "ctranslate2", "device: CPU, int8", "memory:", "silero-vad", "WLK_LOG_DIR", "is free"):
        assert subject in told


def test_the_command_that_downloads_a_missing_model_is_named(tmp_path: Path) -> None:
    (finding,) = [finding for finding in bad(settings(tmp_path)) if "the model in" in finding.what]
    assert "the folder does not exist" in finding.what
    assert re.fullmatch(r"to download it, run: \S*whisperlivekit models fetch small", finding.remedy)


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


def own_model(tmp_path: Path, size: int) -> Path:
    """A folder with a model of this size. The end of its file is sparse and uses no disk space."""
    folder = write_tiny_whisper(tmp_path / "own")
    with (folder / "model.bin").open("r+b") as file:
        file.truncate(size)
    return folder


def add_model(tmp_path: Path, **kind: Any) -> None:
    """Add a tiny model with the name ours to the models of ``settings``."""
    source = parse_source(str(write_tiny_whisper(tmp_path / "source", **kind)))
    told = Told()
    add(source, "ours", tmp_path / "models", tmp_path / "cache", report=told.report, say=told.say)


def added_settings(tmp_path: Path, text: str = "") -> Settings:
    """Settings from an .env that names the model ours."""
    file = tmp_path / ".env"
    file.write_text(f"WHISPER_DEVICE=cpu\nWLK_MODEL=ours\n{text}")
    return load_settings(file)


@pytest.mark.model
def test_the_source_of_an_added_model_is_named(tmp_path: Path) -> None:
    """And the command that adds it again if a file is wrong."""
    add_model(tmp_path)
    found = list(run_checks(added_settings(tmp_path)))
    (model,) = [finding for finding in found if finding.what.startswith("model ours: ")]
    assert model.good
    assert f"added from {tmp_path}/source" in model.what
    (tmp_path / "models" / "whisper" / "ours" / "vocabulary.json").write_text("[]")
    (wrong,) = [finding for finding in bad(added_settings(tmp_path)) if "the model in" in finding.what]
    assert "vocabulary.json has 2 bytes" in wrong.what
    assert re.fullmatch(
        rf"to add it again, run: \S*whisperlivekit models add {tmp_path}/source --name ours", wrong.remedy
    )


@pytest.mark.model
def test_an_english_model_for_another_language_is_named(tmp_path: Path) -> None:
    """It would write any speech as if it were English."""
    add_model(tmp_path, english=True)
    (finding,) = [finding for finding in bad(added_settings(tmp_path)) if "English only" in finding.what]
    assert "WLK_LANGUAGE is ru" in finding.what
    assert not [f for f in bad(added_settings(tmp_path, "WLK_LANGUAGE=en\n")) if "English only" in f.what]


@pytest.mark.model
@pytest.mark.parametrize(("stored", "needed"), [("float16", 1.0), ("int8", 1.4), ("float32", 0.7)])
def test_the_memory_follows_from_the_type_in_the_file(tmp_path: Path, stored: str, needed: float) -> None:
    """A file of 1 GB: numbers of 16 bits shrink to int8 when they are loaded, those of 8 bits stay as they are."""
    folder = write_tiny_whisper(tmp_path / "own", stored=stored)
    with (folder / "model.bin").open("r+b") as file:
        file.truncate(1_000_000_000)
    (memory,) = [f for f in run_checks(settings(tmp_path, model=str(folder))) if f.what.startswith("memory:")]
    assert f"will need about {needed:.1f} GB" in memory.what


def test_too_many_workers_for_the_memory_are_named(tmp_path: Path, base_model: Path) -> None:
    huge = own_model(tmp_path, 1 << 40)
    findings = [str(finding) for finding in bad(settings(tmp_path, model=str(huge)))]
    assert any("memory" in text and "WLK_GUNICORN_WORKERS" in text for text in findings)


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For every folder that the server writes to, and for the one with the workers' copies of the model."""
    full = SimpleNamespace(free=10 << 20)
    monkeypatch.setattr("whisperlivekit.admin.check.shutil.disk_usage", lambda _: full)
    model = own_model(tmp_path, 1 << 30)
    findings = [str(finding) for finding in bad(settings(tmp_path, model=str(model), gunicorn_workers=2))]
    for variable in ("WLK_MODEL_DIR", "WLK_CACHE_DIR", "WLK_LOG_DIR"):
        assert any(variable in text and "only 10 MB free" in text for text in findings)
    assert any("need about 2.8 GB" in text and "TMPDIR" in text for text in findings)


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "cert.pem"
    wrong.write_text("no certificate")
    findings = [finding.what for finding in bad(settings(tmp_path, ssl_certfile=wrong, ssl_keyfile=wrong))]
    assert any("cannot be loaded" in what for what in findings)


def test_a_public_address_without_https_gets_a_hint(tmp_path: Path) -> None:
    hints = [
        finding for finding in run_checks(settings(tmp_path, host="0.0.0.0")) if "without a certificate" in finding.what
    ]
    assert [hint.good for hint in hints] == [True]


GIB = 2**30


def gpu(index: int, capability: tuple[int, int], free_gib: float) -> Gpu:
    total = 80 * GIB
    used = total - round(free_gib * GIB)
    return Gpu(index, f"GPU-{index}", "NVIDIA X", "595.1", total, used, 0.0, 40, 60.0, capability)


def with_gpus(monkeypatch: pytest.MonkeyPatch, *gpus: Gpu) -> None:
    """Replaces the answer of NVML, which comes with the driver and is missing on a machine without a GPU."""
    for module in ("admin.check", "observe.gpu"):
        monkeypatch.setattr(f"whisperlivekit.{module}.read_gpus", lambda: gpus)


def test_a_compute_type_above_the_gpu_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, gpu(0, (7, 5), 15), gpu(1, (8, 6), 15))
    findings = [str(finding) for finding in bad(settings(tmp_path, device="cuda", compute_type="bfloat16"))]
    (finding,) = [text for text in findings if "compute capability" in text]
    assert "GPU 0 has compute capability 7.5, bfloat16 needs 8.0" in finding
    assert "WLK_COMPUTE_TYPE=auto" in finding


@pytest.mark.parametrize(
    ("capability", "compute_type", "good"),
    [
        ((5, 2), "float32", False),
        ((5, 3), "float32", True),
        ((6, 1), "int8_float32", True),
        ((6, 2), "int8_float32", False),
        ((6, 2), "float32", True),
        ((7, 0), "int8_float16", True),
    ],
)
def test_the_compute_capability_is_compared_with_the_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], compute_type: str, good: bool
) -> None:
    """According to CTranslate2's table, in which 6.2 has no int8."""
    with_gpus(monkeypatch, gpu(0, capability, 20))
    found = run_checks(settings(tmp_path, device="cuda", compute_type=compute_type))
    assert [finding.good for finding in found if "compute capability" in finding.what] == [good]


def test_workers_that_do_not_fit_a_gpu_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base_model: Path
) -> None:
    """Of three workers on two GPUs, two are on the first one."""
    with_gpus(monkeypatch, gpu(0, (8, 0), 2), gpu(1, (8, 0), 2))
    values = {"device": "cuda", "model": str(base_model), "gunicorn_workers": 3}
    told = [
        finding
        for finding in run_checks(settings(tmp_path, **values))
        if "will need about" in finding.what and "GPU" in finding.what
    ]
    assert [finding.good for finding in told] == [False, True]
    assert "GPU 0: 2 workers will need about 2.3 GB, 2.1 GB are free" in told[0].what
    assert "WLK_GUNICORN_WORKERS" in told[0].remedy


def test_a_large_model_needs_more_than_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """large-v3 and its batches do not fit into 6 GB."""
    with_gpus(monkeypatch, gpu(0, (8, 6), 5.9))
    values = {"device": "cuda", "model": str(own_model(tmp_path, 3_087_284_237)), "gunicorn_workers": 1}
    (finding,) = [
        finding
        for finding in run_checks(settings(tmp_path, **values))
        if "will need about" in finding.what and "GPU" in finding.what
    ]
    assert not finding.good
    assert "about 7.0 GB" in finding.what


def test_a_container_without_cuda_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has NVML only, because its driver capability is utility without compute."""
    with_gpus(monkeypatch, gpu(0, (8, 0), 20))

    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr("whisperlivekit.admin.check.ctypes.CDLL", missing)
    findings = [str(finding) for finding in bad(settings(tmp_path, device="cuda"))]
    assert any("libcuda.so.1" in text and "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in text for text in findings)


def test_missing_device_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if UVM.exists():
        pytest.skip("this machine has it")
    with_gpus(monkeypatch, gpu(0, (8, 0), 20))
    findings = [str(finding) for finding in bad(settings(tmp_path, device="cuda"))]
    assert any("/dev/nvidia-uvm is missing" in text and "nvidia-modprobe" in text for text in findings)


def test_a_certificate_near_its_end_is_named(tmp_path: Path) -> None:
    for days, good in ((2, False), (400, True)):
        certificate, key = self_signed(tmp_path, days)
        told = [
            finding
            for finding in run_checks(settings(tmp_path, ssl_certfile=certificate, ssl_keyfile=key))
            if "until" in finding.what
        ]
        assert [finding.good for finding in told] == [good]


def test_a_wrong_clock_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that was never set shows 1970."""
    monkeypatch.setattr("whisperlivekit.admin.check.time.time", lambda: 86_400.0)
    assert any("the clock shows 1970-01-0" in finding.what for finding in bad(settings(tmp_path)))
