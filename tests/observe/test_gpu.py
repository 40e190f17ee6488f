"""NVIDIA GPUs by NVML."""

import subprocess
import sys
from pathlib import Path

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
