"""Counts for Prometheus."""

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from whisperlivekit.errors import NoCapacity, Unauthorized
from whisperlivekit.observe.gpu import Gpu, NoGpu, read_gpus
from whisperlivekit.observe.metrics import Metrics, gpu_families

TWO_WORKERS = """
import os, sys
from whisperlivekit.observe.metrics import Metrics
from whisperlivekit.observe.processes import retire_ended_processes
def work(words):
    metrics = Metrics()
    metrics.words.inc(words)
    metrics.sessions.inc()
    metrics.serves(2)
    metrics.lag.observe(1.2)
    os._exit(0)
for words in (3, 4):
    child = os.fork()
    if not child:
        work(words)
    os.waitpid(child, 0)
    if words == 3:
        retire_ended_processes()
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


def test_what_has_not_happened_is_told_as_zero() -> None:
    """Everything that an alert waits for, before it happens: from nothing to 1 is no increase for Prometheus."""
    told = samples(Metrics().exposition().decode())
    for series in (
        "decode_failures_totalreason=out_of_memory",
        "decode_failures_totalreason=error",
        "sessions_refused_totalcode=server_full",
        "sessions_refused_totalcode=unauthorized",
        "sessions_without_room_totalreason=slow",
        "sessions_closed_totalcode=ok",
        "sessions_closed_totalcode=internal_error",
        "sessions_closed_totalcode=model_unavailable",
        "gap_seconds_totalreason=decode_failed",
    ):
        assert told[f"whisperlivekit_{series}"] == 0


def test_refusals_are_counted_by_reason() -> None:
    """By the code that the client got; where there was no room, also by why not."""
    metrics = Metrics()
    metrics.count_rejection(NoCapacity("2 streams are live, this server takes 2"))
    metrics.count_rejection(NoCapacity("text takes 3.0 s to be recognised", "slow"))
    metrics.count_rejection(Unauthorized("no key"))
    told = samples(metrics.exposition().decode())
    assert told["whisperlivekit_sessions_refused_totalcode=server_full"] == 2
    assert told["whisperlivekit_sessions_refused_totalcode=unauthorized"] == 1
    for reason, count in (("full", 1), ("slow", 1), ("late", 0), ("address", 0)):
        assert told[f"whisperlivekit_sessions_without_room_totalreason={reason}"] == count


def test_what_the_engine_does_is_counted() -> None:
    """Waits, batches, the time of each stage, loops, and failures by reason."""
    metrics = Metrics()
    metrics.observe_wait(0.04)
    metrics.observe_batch(3, 1, {"encode": 0.2, "generate": 0.3})
    metrics.observe_batch(1, 0, {"encode": 0.1})
    metrics.observe_failure("out_of_memory")
    told = samples(metrics.exposition().decode())
    assert told["whisperlivekit_decode_wait_seconds_count"] == 1
    assert told["whisperlivekit_decode_batch_size_sum"] == 4
    assert told["whisperlivekit_decode_batch_size_bucketle=2.0"] == 1
    assert told["whisperlivekit_decode_seconds_sum"] == pytest.approx(0.6)
    assert told["whisperlivekit_decode_stage_seconds_totalstage=encode"] == pytest.approx(0.3)
    assert told["whisperlivekit_decode_loops_total"] == 1
    assert told["whisperlivekit_decode_failures_totalreason=out_of_memory"] == 1


def test_what_serves_is_told() -> None:
    """Version, model, device and type as labels of a constant; how many workers there should be; since when."""
    metrics = Metrics()
    metrics.describe(version="1.2", model="base", device="cpu", compute_type="int8", workers=4)
    told = samples(metrics.exposition().decode())
    assert told["whisperlivekit_infocompute_type=int8device=cpumodel=baseversion=1.2"] == 1
    assert told["whisperlivekit_workers"] == 4
    assert told["whisperlivekit_start_time_seconds"] > 1.7e9


def test_gpus_are_told() -> None:
    """What NVML says of each; what a GPU does not say is left out, and without a GPU there is nothing."""
    known = Gpu(0, "GPU-0", "NVIDIA X", "595.1", 2**34, 2**33, 0.37, 61, 250.5)
    silent = Gpu(1, "GPU-1", "NVIDIA X", "595.1", 2**34, 2**30, None, None, None)
    told = {
        (family.name.removeprefix("whisperlivekit_gpu_"), sample.labels["gpu"]): sample.value
        for family in gpu_families((known, silent))
        for sample in family.samples
    }
    assert told == {
        ("utilization_ratio", "0"): 0.37,
        ("memory_used_bytes", "0"): 2**33,
        ("memory_used_bytes", "1"): 2**30,
        ("memory_total_bytes", "0"): 2**34,
        ("memory_total_bytes", "1"): 2**34,
        ("temperature_celsius", "0"): 61,
        ("power_watts", "0"): 250.5,
    }
    try:
        read_gpus()
    except NoGpu:
        assert b"whisperlivekit_gpu_" not in Metrics().exposition()


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
    assert counts["whisperlivekit_lanes"] == 2
    assert counts["whisperlivekit_lag_seconds_count"] == 2


def test_ready_workers_are_counted() -> None:
    """Of this process where it is alone; its lanes count while it serves."""
    metrics = Metrics()
    assert metrics.ready_workers() == 0
    metrics.serves(3)
    assert metrics.ready_workers() == 1
    assert samples(metrics.exposition().decode())["whisperlivekit_lanes"] == 3
    metrics.serves(0)
    assert metrics.ready_workers() == 0
    assert samples(metrics.exposition().decode())["whisperlivekit_lanes"] == 0
