"""Simulates GPUs."""

import pytest

from whisperlivekit.observe.gpu import Gpu


def gpus_found(monkeypatch: pytest.MonkeyPatch, *capabilities: tuple[int, int]) -> None:
    """Replaces the answer of NVML, which is missing on a machine without a GPU, by GPUs with these capabilities."""
    found = tuple(
        Gpu(index, f"GPU-{index}", "X", "1", 2**34, 0, None, None, None, capability)
        for index, capability in enumerate(capabilities)
    )
    monkeypatch.setattr("whisperlivekit.observe.gpu.read_gpus", lambda: found)
