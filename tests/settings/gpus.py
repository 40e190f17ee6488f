"""GPUs that NVML would list."""

import pytest

from whisperlivekit.observe.gpu import Gpu


def gpus_found(monkeypatch: pytest.MonkeyPatch, *capabilities: tuple[int, int]) -> None:
    """What NVML would say of a machine with these GPUs; NVML itself comes with the driver only."""
    found = tuple(
        Gpu(index, f"GPU-{index}", "X", "1", 2**34, 0, None, None, None, capability)
        for index, capability in enumerate(capabilities)
    )
    monkeypatch.setattr("whisperlivekit.observe.gpu.read_gpus", lambda: found)
