"""What auto and 0 mean on a machine. GPUs are simulated; the cores are those of this machine."""

from pathlib import Path

import pytest

from tests.settings.gpus import gpus_found
from whisperlivekit.errors import StartError
from whisperlivekit.settings.declarations import Settings
from whisperlivekit.settings.machine import (
    available_cores,
    need_device,
    resolved_compute_type,
    resolved_device,
    threads_per_worker,
    worker_count,
)


def test_threads_are_the_cores_divided_by_the_workers() -> None:
    cores = available_cores()
    assert threads_per_worker(Settings(gunicorn_workers=1)) == cores
    assert threads_per_worker(Settings(gunicorn_workers=64)) == max(1, cores // 64)
    assert threads_per_worker(Settings(cpu_threads=3)) == 3


@pytest.mark.parametrize(
    ("capabilities", "compute_type"),
    [
        ([(9, 0)], "float16"),
        ([(7, 0)], "float16"),
        ([(6, 1)], "int8_float32"),
        ([(5, 2)], "float32"),
        ([(8, 6), (6, 1)], "int8_float32"),
    ],
)
def test_the_compute_type_follows_the_gpus(
    monkeypatch: pytest.MonkeyPatch, capabilities: list[tuple[int, int]], compute_type: str
) -> None:
    """It is one that the oldest of the visible GPUs computes fast. The device auto is the GPU."""
    gpus_found(monkeypatch, *capabilities)
    assert resolved_device(Settings()) == "cuda"
    assert resolved_compute_type(Settings()) == compute_type


def test_cuda_without_a_gpu_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error has the reason and the remedy. A device file counts as a GPU even if NVML does not list one."""
    monkeypatch.setattr("whisperlivekit.settings.machine.DEVICE_FILES", tmp_path)
    gpus_found(monkeypatch, (8, 0))
    need_device(Settings(device="cuda"))
    with pytest.raises(StartError, match=r"CUDA_VISIBLE_DEVICES=7 names none of the GPUs.*WHISPER_DEVICE=cpu"):
        need_device(Settings(device="cuda", cuda_visible_devices="7"))
    need_device(Settings(device="cpu"))
    (tmp_path / "nvidia0").touch()
    need_device(Settings(device="cuda", cuda_visible_devices="7"))


def test_the_default_number_of_workers_fits_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four on a GPU, one on a CPU; a number is taken as it is."""
    assert worker_count(Settings(device="cpu")) == 1
    assert worker_count(Settings(device="cuda")) == 4
    gpus_found(monkeypatch, (8, 0))
    assert worker_count(Settings()) == 4
    assert worker_count(Settings(device="cpu", gunicorn_workers=3)) == 3
