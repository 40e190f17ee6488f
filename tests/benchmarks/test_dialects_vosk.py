"""The benchmarks' client of Vosk's protocol against the real adapter."""

import asyncio

import numpy as np

from benchmarks.client import Sound, play
from benchmarks.dialects.vosk import dialect
from tests.server.scripted import LOUD, QUIET, scripted_server


def test_a_recording_is_played() -> None:
    """Its text and its end are seen, and partial texts before them."""
    samples = np.frombuffer(LOUD + QUIET + LOUD, "<i2").astype(np.int16)
    with scripted_server() as server:
        address = f"ws://127.0.0.1:{server.port}/vosk"
        recording = asyncio.run(play(address, dialect(16_000, language="ru"), Sound(samples, 16_000), pace=2.0))
    assert recording.committed.split()[:2] == ["раз", "два"]
    assert len(recording.committed.split()) >= 4
    assert any(shot.partial for shot in recording.snapshots)
    assert recording.finished_s > 1.0
