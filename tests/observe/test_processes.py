"""Counts of several processes, and of those that have ended."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

RECYCLED = """
import json, os, sys, threading, time
from pathlib import Path
from prometheus_client.parser import text_string_to_metric_families
from whisperlivekit.observe.metrics import Metrics
from whisperlivekit.observe.processes import retire_ended_processes

files = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
own = Metrics()

def worker(number):
    metrics = Metrics()
    metrics.words.inc(number)
    metrics.closed.labels("ok").inc()
    metrics.lag.observe(1.25)
    metrics.sessions.inc()
    os._exit(0)

def told():
    return {
        sample.name.removeprefix("whisperlivekit_") + "".join(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(own.exposition().decode())
        for sample in family.samples
    }

def read():
    while not ended.is_set():
        seen.append(told()["words_total"])
        time.sleep(0.05)  # a reader that never pauses would keep the lock from everybody

seen, counts = [], []
ended = threading.Event()
reader = threading.Thread(target=read, daemon=True)
for number in range(1, 51):
    child = os.fork()
    if not child:
        worker(number)
    os.waitpid(child, 0)
    if number == 25:
        reader.start()
    before = told()
    retire_ended_processes()
    after = told()
    assert {**before, "sessions": 0.0} == after, (before, after)
    counts.append(len(list(files.glob("*.db"))))
ended.set()
reader.join()
print(json.dumps({"told": told(), "files": counts, "monotonic": seen == sorted(seen), "reads": len(seen)}))
"""


def run(program: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PROMETHEUS_MULTIPROC_DIR": str(folder), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_fifty_recycled_workers_leave_their_counts_and_no_files(tmp_path: Path) -> None:
    """Totals stay exactly as they were, a reader meanwhile never sees one fall, and the files do not grow in number."""
    found = run(RECYCLED, tmp_path)
    assert found["told"]["words_total"] == sum(range(1, 51))
    assert found["told"]["sessions_closed_totalok"] == 50
    assert found["told"]["lag_seconds_count"] == found["told"]["lag_seconds_bucket1.5"] == 50
    assert found["told"]["lag_seconds_bucket1.0"] == 0
    assert found["told"]["sessions"] == 0
    assert len(set(found["files"])) == 1
    assert found["files"][0] < 10
    assert found["monotonic"]
    assert found["reads"] > 0


BUSY = """
import json, os
from pathlib import Path
from whisperlivekit.observe import processes
from whisperlivekit.observe.metrics import Metrics

files = processes.folder()
own = Metrics()
child = os.fork()
if not child:
    Metrics().words.inc(3)
    os._exit(0)
os.waitpid(child, 0)
processes.LOCK_WITHIN_S = 0.1
with processes.reading(files):
    processes.retire_ended_processes()
    kept = (files / f"counter_{child}.db").exists()
processes.retire_ended_processes()
gone = not (files / f"counter_{child}.db").exists()
print(json.dumps({"kept": kept, "gone": gone, "words": b"whisperlivekit_words_total 3.0" in own.exposition()}))
"""


def test_a_reader_that_hangs_does_not_stop_the_master(tmp_path: Path) -> None:
    """The files stay until the next time, and nothing is lost."""
    assert run(BUSY, tmp_path) == {"kept": True, "gone": True, "words": True}
