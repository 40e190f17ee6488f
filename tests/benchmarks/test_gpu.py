"""The measurement of models, compute types, batch sizes and sessions, run on the CPU."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.gpu import Row, best, line, main, percentile, summary
from tests.conftest import ROOT
from tests.model_hub import Told
from whisperlivekit.admin.add import add, parse_source
from whisperlivekit.observe.gpu import NoGpu, read_gpus

ROW = Row("small", "float16", 8, 4, 100, 0.5, 1.2, 0.8, 2048.4, 0.37)


def test_the_best_row_has_the_most_sessions_within_the_limit() -> None:
    """For each model, compute type and batch size. Rows above the limit or without any word do not count."""
    rows = [
        ROW,
        replace(ROW, sessions=8, commit_p95_s=1.9),
        replace(ROW, sessions=16, commit_p95_s=2.1),
        replace(ROW, batch=16, commit_p95_s=math.nan),
        replace(ROW, model="base"),
    ]
    found = best(rows, 2.0)
    assert {key: row.sessions for key, row in found.items()} == {("small", "float16", 8): 8, ("base", "float16", 8): 4}


def test_every_combination_has_its_cost() -> None:
    """The most streams within the limit and their memory. A model of which one stream is too much is named too."""
    rows = [
        replace(ROW, sessions=1),
        replace(ROW, sessions=2),
        replace(ROW, model="large-v3", commit_p95_s=3.0, sessions=1),
        replace(ROW, model="our-model", vram_mb=None),
    ]
    assert summary(rows, 2.0) == [
        "- small float16, batch 8: 2 (commit p95 1.20 s, VRAM 2048 MB)",
        "- large-v3 float16, batch 8: 0: one stream is too many",
        "- our-model float16, batch 8: 4 (commit p95 1.20 s)",
    ]
    assert summary([], 2.0) == []


def test_a_row_is_a_line_of_the_table() -> None:
    """It has as many columns as the heading, also without a GPU."""
    assert line(ROW) == "| small | float16 | 8 | 4 | 0.50 s | 1.20 s | 0.80 s | 2048 | 37% |"
    assert line(replace(ROW, vram_mb=None, busy=None)).endswith("| – | – |")
    assert line(ROW).count("|") == gpu.COLUMNS.count("|")


def test_percentiles() -> None:
    """A percentile is one of the values, and NaN where there are none."""
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.95) == 4.0
    assert math.isnan(percentile([], 0.95))


def test_without_a_gpu_it_ends_with_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """It does not silently measure the CPU instead."""
    try:
        read_gpus()
    except NoGpu:
        with pytest.raises(SystemExit) as ended:
            main([])
        assert ended.value.code == 2
        assert "Without a GPU, use: --device cpu" in capsys.readouterr().err
    else:
        pytest.skip("this machine has a GPU")


@pytest.mark.model
@pytest.mark.slow
def test_it_measures_on_the_cpu(base_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A short phrase in one session gives words, latencies, a table, a file and a plot; a missing model is skipped.

    The model is one that was added.
    """
    models, told = tmp_path / "models", Told()
    add(parse_source(str(base_model)), "our-base", models, tmp_path / "cache", report=told.report, say=told.say)
    shutil.copytree(ROOT / "models" / "silero_vad", models / "silero_vad")
    main(
        [
            "--device", "cpu", "--models", "missing,our-base", "--model-dir", str(models / "whisper"),
            "--sessions", "1", "--batches", "4", "--audio", str(ROOT / "tests" / "data" / "phrase_3s.flac"),
            "--limit-s", "inf", "--json", str(tmp_path / "gpu.json"), "--plot", str(tmp_path / "gpu.svg"),
        ]
    )  # fmt: skip
    result = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    (row,) = result["rows"]
    assert result["device"].startswith("CPU")
    assert row["words"] >= 3
    assert 0 < row["commit_p50_s"] <= row["commit_p95_s"]
    assert row["first_partial_p50_s"] > 0
    assert row["vram_mb"] is None
    shown = capsys.readouterr().out
    assert "| missing | int8 | 4 | skipped: cannot use the model in " in shown
    assert "- our-base int8, batch 4: 1 (commit p95 " in shown
    assert (tmp_path / "gpu.svg").stat().st_size > 1000
