"""The measurement of batches with the real model: stages are timed, and simulated sessions get their text."""

from pathlib import Path

import pytest

from benchmarks.batch import STAGES, TimedModel, load_stream, measure_stages, simulate, summarise
from tests.conftest import ROOT
from whisperlivekit.core.session import SessionConfig
from whisperlivekit.engine.whisper import EngineConfig


@pytest.mark.model
@pytest.mark.slow
def test_stages_and_sessions_are_measured(base_model: Path) -> None:
    """Two sessions share the model, no batch is larger than allowed, both get most of the words, and every stage of the
    decodes takes a part of the time.
    """
    stream = load_stream(ROOT / "tests" / "data" / "phrase_3s.flac", 60.0)
    model = TimedModel(EngineConfig(base_model, "cpu"))
    load = simulate(model, stream, SessionConfig(), sessions=2, max_batch=2)
    assert load.requests == len(model.asked) >= 4
    assert load.requests / 2 <= load.batches <= load.requests
    assert sum(model.spent.values()) <= load.busy_s
    row = summarise(load)
    assert row["worst_wer"] < 0.35
    assert row["commit_p50_s"] > 0
    final = [request for request in model.asked if request.final]
    stages = measure_stages(model, final, batch=2, rounds=1)
    assert all(stages[f"{stage}_ms"] > 0 for stage in STAGES)
    assert sum(stages[f"{stage}_ms"] for stage in STAGES) <= 1000 / stages["items_per_s"]
