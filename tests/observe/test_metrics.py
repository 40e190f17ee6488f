"""Counts for Prometheus."""

import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from whisperlivekit.observe.metrics import Metrics

TWO_WORKERS = """
import os, sys
from whisperlivekit.observe.metrics import Metrics, forget_process
def work(words):
    metrics = Metrics()
    metrics.words.inc(words)
    metrics.sessions.inc()
    metrics.lag.observe(1.2)
    os._exit(0)
children = []
for words in (3, 4):
    child = os.fork()
    if not child:
        work(words)
    os.waitpid(child, 0)
    children.append(child)
forget_process(children[0])
sys.stdout.write(Metrics().exposition().decode())
"""


def samples(text: str) -> dict[str, float]:
    return {
        sample.name + "".join(f"{name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counts_are_told() -> None:
    """What was counted stands in the exposition, and two applications in one process do not meet."""
    first, second = Metrics(), Metrics()
    first.words.inc(5)
    first.closed.labels("ok").inc()
    first.sessions.inc()
    told = samples(first.exposition().decode())
    assert told["whisperlivekit_words_total"] == 5
    assert told["whisperlivekit_sessions_closed_totalcode=ok"] == 1
    assert told["whisperlivekit_sessions"] == 1
    assert samples(second.exposition().decode())["whisperlivekit_words_total"] == 0


def test_workers_are_summed(tmp_path: Path) -> None:
    """Any process tells the sums of all; a dead worker's streams are no longer live, its words were said."""
    told = subprocess.run(
        [sys.executable, "-c", TWO_WORKERS],
        env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    counts = samples(told)
    assert counts["whisperlivekit_words_total"] == 7
    assert counts["whisperlivekit_sessions"] == 1
    assert counts["whisperlivekit_lag_seconds_count"] == 2
