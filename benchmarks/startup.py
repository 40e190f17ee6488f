"""Measures what a start costs: import times, time from start to ready, memory of the master and of an idle worker.

    python -m benchmarks.startup --runs 3 --markdown benchmarks/results/startup.md

Import times (ms) are those of a fresh process with the files in the page cache, without the start of the interpreter.
Memory (MB) is the proportional set size, in which a page that several processes share is divided among them; the
resident set size is printed next to it.
"""

import argparse
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.serving import ROOT, running_server

IMPORTS = {
    "the command line (`whisperlivekit --help`)": "whisperlivekit.cli",
    "settings": "whisperlivekit.settings.env_file",
    "the application, as the master imports it": "whisperlivekit.server.launch",
}
SETTLE_S = 2.0


def import_ms(module: str, runs: int) -> float:
    """Median time in ms to import a module in a fresh interpreter."""
    program = f"import time; begun = time.perf_counter(); import {module}; print(time.perf_counter() - begun)"
    times = []
    for _ in range(runs + 1):  # the first run fills the page cache
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        times.append(1000 * float(done.stdout))
    return statistics.median(times[1:])


def slowest_imports(module: str, count: int = 5) -> list[tuple[str, float]]:
    """The packages that take longest when the module is imported, with the ms of their own code."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {module}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    own: dict[str, float] = {}
    for match in re.finditer(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", done.stderr):
        package = match[2].split(".")[0]
        own[package] = own.get(package, 0.0) + int(match[1]) / 1000
    return sorted(own.items(), key=lambda item: -item[1])[:count]


def memory_mb(process: psutil.Process) -> tuple[float, float]:
    """The proportional and the resident set size."""
    info = process.memory_full_info()
    return info.pss / 2**20, info.rss / 2**20


def start_once(model: str) -> dict[str, float]:
    """Start a server once and measure it while it has no sessions; ``idle_cpu`` is a share of one core."""
    begun = time.monotonic()
    with running_server(1, WLK_MODEL=model) as server:
        ready_s = time.monotonic() - begun
        time.sleep(SETTLE_S)
        (worker,) = server.workers()
        master_pss, master_rss = memory_mb(psutil.Process(server.pid))
        worker_pss, worker_rss = memory_mb(worker)
        begun_cpu = worker.cpu_times()
        time.sleep(SETTLE_S)
        spent = worker.cpu_times()
    return {
        "ready_s": ready_s,
        "master_pss_mb": master_pss,
        "master_rss_mb": master_rss,
        "worker_pss_mb": worker_pss,
        "worker_rss_mb": worker_rss,
        "idle_cpu": (spent.user + spent.system - begun_cpu.user - begun_cpu.system) / SETTLE_S,
    }


def report(
    imports: dict[str, float], slowest: Sequence[tuple[str, float]], starts: Sequence[dict[str, float]], model: str
) -> str:
    """The table, as benchmarks/results/startup.md has it."""
    middle = {name: statistics.median(start[name] for start in starts) for name in starts[0]}
    rows = [f"| import {name} | {value:.0f} ms |" for name, value in imports.items()]
    rows += [
        f"| start to ready, model {model} on the CPU | {middle['ready_s']:.1f} s |",
        f"| master, idle | {middle['master_pss_mb']:.0f} MB ({middle['master_rss_mb']:.0f} MB resident) |",
        f"| worker with {model}, idle | {middle['worker_pss_mb']:.0f} MB ({middle['worker_rss_mb']:.0f} MB resident) |",
        f"| worker, idle | {middle['idle_cpu']:.1%} of a core |",
    ]
    most = ", ".join(f"{name} {value:.0f} ms" for name, value in slowest)
    return (
        "# What a start costs\n\n"
        f"`python -m benchmarks.startup --runs {len(starts)}`, medians; Python {platform.python_version()}, "
        f"{psutil.cpu_count()} cores. Memory is the proportional set size.\n\n"
        "| | |\n|---|---|\n" + "\n".join(rows) + f"\n\nSlowest imports of the application: {most}.\n"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="base")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--markdown", type=Path, help="write the table here too")
    options = parser.parse_args(arguments)
    imports = {name: import_ms(module, options.runs) for name, module in IMPORTS.items()}
    starts = [start_once(options.model) for _ in range(options.runs)]
    text = report(imports, slowest_imports("whisperlivekit.server.launch"), starts, options.model)
    print(text)
    if options.markdown:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
