"""The load measurement, against a small server of this process: when it stops, what it writes, what it draws."""

import argparse
import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.client import Sound
from benchmarks.load import line, measure, merge, over, plot
from benchmarks.scoring import TimedWord
from tests.server.scripted import Server, scripted_server

WORDS = [TimedWord(word, 0.4 * (place + 1)) for place, word in enumerate(("раз", "два", "три", "четыре"))]
SOUND = Sound((np.sin(np.arange(25_600)) * 8_000).astype(np.int16), 16_000)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with scripted_server(max_sessions=2) as running:
        yield running


def options() -> argparse.Namespace:
    return argparse.Namespace(protocol="native", language="ru", stagger_s=0.02)


def test_every_session_is_scored_and_the_server_s_cost_told(server: Server) -> None:
    """The worst session's latencies, the errors of all, and what it took."""
    row = asyncio.run(measure(server.ws_url, SOUND, WORDS, 2, options()))
    assert (row["sessions"], row["served"], row["failures"]) == (2, 2, [])
    assert row["wer"] == row["worst_wer"] == 0
    assert 0 < row["commit_p50_s"] <= row["commit_p95_s"] < 2
    assert row["rss_mb"] > 20
    assert row["cpu_cores"] > 0
    assert not over(row, 3.0)
    assert over(row, 0.01)
    assert line(row).count("|") == line({}).count("|")


def test_a_refusal_is_a_figure_too(server: Server) -> None:
    """Who was not let in is counted, with the reason, and that ends the measurement."""
    row = asyncio.run(measure(server.ws_url, SOUND, WORDS, 3, options()))
    assert (row["sessions"], row["served"], row["failures"]) == (3, 2, ["503: refused"])
    assert over(row, 3.0)


def test_parts_of_a_measurement_make_one() -> None:
    """New rows take the place of old ones; of another machine or other speech nothing is kept."""
    old: dict[str, Any] = {"machine": "m", "audio": "a", "rows": [{"sessions": 1, "wer": 0.2}, {"sessions": 2}]}
    new: dict[str, Any] = {"machine": "m", "audio": "a", "rows": [{"sessions": 1, "wer": 0.1}, {"sessions": 4}]}
    assert merge(old, new)["rows"] == [{"sessions": 1, "wer": 0.1}, {"sessions": 2}, {"sessions": 4}]
    assert merge({**old, "machine": "other"}, new) == new


def test_the_plot_is_drawn_and_the_same_twice(tmp_path: Path) -> None:
    """Rows without a latency are left out; equal figures give equal files."""
    rows = [{"sessions": n, "commit_p50_s": 1.0, "commit_p95_s": 1.5 * n, "worst_wer": 0.1} for n in (1, 2, 4)]
    result = {"name": "a", "rows": [*rows, {"sessions": 8, "served": 0}]}
    for name in ("one.svg", "two.svg"):
        plot([result, json.loads(json.dumps({**result, "name": "b"}))], tmp_path / name, 3.0)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert "</svg>" in (tmp_path / "one.svg").read_text(encoding="utf-8")
