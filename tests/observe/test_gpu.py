"""NVIDIA GPUs by NVML."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from whisperlivekit.observe import gpu

GPUS = tuple(
    gpu.Gpu(index, f"GPU-{index}aaaa", f"NVIDIA {index}", "595.1", 2**34, 2**30, 0.5, 60, 200.0) for index in range(3)
)


@pytest.mark.parametrize(
    ("setting", "indices"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("1", [1]),
        ("2,0", [2, 0]),
        (" 2 , 0 ", [2, 0]),
        ("GPU-1", [1]),
        ("0,7,1", [0]),
        ("-1", []),
        ("GPU-", []),
    ],
)
def test_visible_gpus_follow_cuda(setting: str | None, indices: list[int]) -> None:
    """CUDA_VISIBLE_DEVICES chooses and orders; like CUDA, what names no single GPU ends the list."""
    assert [found.index for found in gpu.visible(GPUS, setting)] == indices


def test_asking_never_fails() -> None:
    """With a GPU or without: one line that says so."""
    try:
        expected = [found.name for found in gpu.read_gpus()]
    except gpu.NoGpu as reason:
        expected = [str(reason), "NVIDIA GPU"]
    line = gpu.describe()
    assert "\n" not in line
    assert all(part in line for part in expected)


def fake_nvml(monkeypatch: pytest.MonkeyPatch, count: int, *, broken: tuple[int, ...] = ()) -> None:
    """A driver without ``nvmlDeviceGetTemperatureV``; broken GPUs have fallen off the bus."""

    def handle(index: int) -> int:
        if index in broken:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return index

    def missing(*_: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)

    told: dict[str, Callable[..., object]] = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: "550.1",
        "nvmlDeviceGetCount": lambda: count,
        "nvmlDeviceGetHandleByIndex": handle,
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(total=2**34, used=2**30),
        "nvmlDeviceGetUtilizationRates": lambda _: SimpleNamespace(gpu=50),
        "nvmlDeviceGetTemperatureV": missing,
        "nvmlDeviceGetTemperature": lambda _, sensor: 61,
        "nvmlDeviceGetCudaComputeCapability": lambda _: (8, 6),
        "nvmlDeviceGetPowerUsage": missing,
        "nvmlDeviceGetUUID": lambda index: f"GPU-{index}",
        "nvmlDeviceGetName": lambda _: "NVIDIA X",
    }
    for name, function in told.items():
        monkeypatch.setattr(pynvml, name, function)


def test_an_older_driver_tells_the_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the call that it has; what it does not have at all is unknown."""
    fake_nvml(monkeypatch, 1)
    (found,) = gpu.read_gpus()
    assert found == gpu.Gpu(0, "GPU-0", "NVIDIA X", "550.1", 2**34, 2**30, 0.5, 61, None, (8, 6))


def test_a_lost_gpu_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left out; where it is the only one, NVML's word for it is the reason."""
    fake_nvml(monkeypatch, 3, broken=(1,))
    assert [found.index for found in gpu.read_gpus()] == [0, 2]
    fake_nvml(monkeypatch, 1, broken=(0,))
    with pytest.raises(gpu.NoGpu, match="lost"):
        gpu.read_gpus()


@pytest.mark.gpu
def test_a_gpu_is_described() -> None:
    """On a machine with a GPU its name, memory and load are read."""
    try:
        gpus = gpu.read_gpus()
    except gpu.NoGpu as reason:
        pytest.skip(str(reason))
    for found in gpus:
        assert found.name
        assert 0 <= found.memory_used_bytes <= found.memory_total_bytes
        assert found.utilization is None or 0 <= found.utilization <= 1


def test_asking_leaves_cuda_alone() -> None:
    """A master process may ask: neither torch nor CUDA's library is loaded by it."""
    program = (
        "from whisperlivekit.observe import gpu\n"
        "gpu.describe()\n"
        "maps = open('/proc/self/maps').read()\n"
        "import sys\n"
        "assert 'libcuda' not in maps and 'libtorch' not in maps, maps\n"
        "assert not {'torch', 'ctranslate2', 'onnxruntime'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=True)
