"""The start-up measurement, and the bounds on imports and memory that hold on every machine."""

from pathlib import Path

import pytest

from benchmarks.startup import IMPORTS, import_ms, report, slowest_imports, start_once

START = {
    "ready_s": 4.2,
    "master_pss_mb": 40.0,
    "master_rss_mb": 80.0,
    "worker_pss_mb": 600.0,
    "worker_rss_mb": 640.0,
    "idle_cpu": 0.01,
}


def test_the_table_has_medians() -> None:
    """One slow start of three does not change the table."""
    slow = START | {"ready_s": 9.0}
    text = report({"settings": 120.4}, [("pydantic", 50.0)], [START, START, slow], "base")
    assert "| start to ready, model base on the CPU | 4.2 s |" in text
    assert "| import settings | 120 ms |" in text
    assert "--runs 3" in text
    assert "pydantic 50 ms" in text


@pytest.mark.slow
def test_imports_stay_light() -> None:
    """The application is imported without a model library. The slowest imports are reported by name."""
    times = {name: import_ms(module, 1) for name, module in IMPORTS.items()}
    assert all(value > 0 for value in times.values()), times
    names = {name for name, _ in slowest_imports("whisperlivekit.server.launch", 100)}
    assert "fastapi" in names
    assert not names & {"torch", "ctranslate2", "onnxruntime", "librosa", "av", "matplotlib"}


@pytest.mark.model
@pytest.mark.slow
def test_a_start_is_measured(base_model: Path) -> None:
    """The master is small, the worker has the model in memory, and an idle worker needs almost no CPU time."""
    start = start_once("base")
    assert start["master_pss_mb"] < 150
    assert 150 < start["worker_pss_mb"] < 2000
    assert start["idle_cpu"] < 0.2
