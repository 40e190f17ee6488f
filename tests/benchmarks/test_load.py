"""The load measurement against a small server in this process: when it stops, what it writes, what it draws."""

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


def test_every_session_is_scored_and_the_server_s_cost_measured(server: Server) -> None:
    """A row has the latencies of the worst session, the errors of all sessions, CPU time and memory."""
    row = asyncio.run(measure(server.ws_url, SOUND, WORDS, 2, options()))
    assert (row["sessions"], row["served"], row["failures"]) == (2, 2, [])
    assert row["wer"] == row["worst_wer"] == 0
    assert 0 < row["commit_p50_s"] <= row["commit_p95_s"]
    assert row["rss_mb"] > 20
    assert row["cpu_cores"] > 0
    assert not over(row, row["commit_p95_s"])
    assert over(row, row["commit_p95_s"] / 2)
    assert line(row).count("|") == line({}).count("|")


def test_refused_sessions_end_the_measurement(server: Server) -> None:
    """They are counted, with the reason, and the row is over any limit."""
    row = asyncio.run(measure(server.ws_url, SOUND, WORDS, 3, options()))
    assert (row["sessions"], row["served"], row["failures"]) == (3, 2, ["503: refused"])
    assert over(row, float("inf"))


def test_parts_of_a_measurement_make_one() -> None:
    """New rows replace old ones; old rows of another machine or other speech are dropped."""
    old: dict[str, Any] = {"machine": "m", "audio": "a", "rows": [{"sessions": 1, "wer": 0.2}, {"sessions": 2}]}
    new: dict[str, Any] = {"machine": "m", "audio": "a", "rows": [{"sessions": 1, "wer": 0.1}, {"sessions": 4}]}
    assert merge(old, new)["rows"] == [{"sessions": 1, "wer": 0.1}, {"sessions": 2}, {"sessions": 4}]
    assert merge({**old, "machine": "other"}, new) == new


def test_the_plot_is_drawn_and_the_same_twice(tmp_path: Path) -> None:
    """Rows without a latency are left out, and the same figures give the same file."""
    rows = [{"sessions": n, "commit_p50_s": 1.0, "commit_p95_s": 1.5 * n, "worst_wer": 0.1} for n in (1, 2, 4)]
    result = {"name": "a", "rows": [*rows, {"sessions": 8, "served": 0}]}
    for name in ("one.svg", "two.svg"):
        plot([result, json.loads(json.dumps({**result, "name": "b"}))], tmp_path / name, 3.0)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert "</svg>" in (tmp_path / "one.svg").read_text(encoding="utf-8")
