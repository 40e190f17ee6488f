"""The counts of several processes, which prometheus_client keeps in one file for each process and kind of metric.

prometheus_client keeps the counters and histograms of a process after its end, because what it counted has happened:
one more file for each kind and process, for ever. Here the files of ended processes are added up into one file for each
kind, ``counter_retired.db`` and ``histogram_retired.db``. A lock keeps readers from seeing a count twice or not at all:
Prometheus would take a total that falls for a restart of the server.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, multiprocess
from prometheus_client.mmap_dict import MmapedDict

SUMMED = ("counter", "histogram")
"""Kinds of metrics whose values are added up. The gauges of a process end with it."""

RETIRED = "retired"
"""Replaces the process id in a file's name."""

LOCK_WITHIN_S = 1.0
"""How long Gunicorn's master waits for readers. What it cannot retire now it retires with the next process."""


def folder() -> Path | None:
    """Where the files are; None if this process counts alone."""
    path = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(path) if path else None


@contextmanager
def reading(files: Path) -> Iterator[CollectorRegistry]:
    """The sums of all processes. They may be collected inside this context only."""
    with _lock_file(files) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, str(files))  # type: ignore[no-untyped-call]
        yield registry


def retire_ended_processes() -> None:
    """Remove the gauges of processes that have ended, and add their counts to the file of ended processes."""
    files = folder()
    if files is None:
        return
    with _lock_file(files) as lock:
        if not _locked(lock):
            return
        for path in files.glob("*.db"):
            kind, _, rest = path.stem.partition("_")
            pid = rest.rpartition("_")[2]
            if not pid.isdecimal() or Path("/proc", pid).exists():
                continue
            if kind in SUMMED:
                _add(path, files / f"{kind}_{RETIRED}.db")
            if kind in SUMMED or rest.startswith("live"):
                path.unlink()


def _add(source: Path, target: Path) -> None:
    """Add the values of one file to another's."""
    sums = MmapedDict(str(target))  # type: ignore[no-untyped-call]
    try:
        for key, value, timestamp, _ in MmapedDict.read_all_values_from_file(str(source)):  # type: ignore[no-untyped-call]
            before, _ = sums.read_value(key)  # type: ignore[no-untyped-call]
            sums.write_value(key, before + value, timestamp)  # type: ignore[no-untyped-call]
    finally:
        sums.close()  # type: ignore[no-untyped-call]


@contextmanager
def _lock_file(files: Path) -> Iterator[int]:
    lock = os.open(files / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        yield lock
    finally:
        os.close(lock)


def _locked(lock: int) -> bool:
    """Lock for writing. False if readers hold it for too long: a reader that hangs must not stop the master."""
    deadline = time.monotonic() + LOCK_WITHIN_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                raise
        else:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
