"""Memory of a worker."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PROGRAM = """
import sys
from pathlib import Path

import numpy as np
import psutil

from whisperlivekit.core.hypothesis import DecodeRequest
from whisperlivekit.engine import memory

memory.limit()
from whisperlivekit.engine.whisper import EngineConfig, WhisperModel

model = WhisperModel(EngineConfig(Path(sys.argv[1]), "cpu"))
noise = np.random.default_rng(0).normal(0, 0.01, 64_000).astype(np.float32)


def decode(lengths):
    for length in lengths:
        model.decode([DecodeRequest(0, noise[:length], 0, "ru")])
    memory.give_back()
    return psutil.Process().memory_info().rss


before = decode(range(63_000, 64_000, 320))
print((decode(range(32_000, 63_000, 320)) - before) / 2**20)
"""


@pytest.mark.model
@pytest.mark.slow
def test_windows_of_every_length_do_not_add_memory(base_model: Path) -> None:
    """After a hundred windows of different lengths: without the limits libraries keep 70 MB for them."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, base_model], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert float(ran.stdout) < 20
