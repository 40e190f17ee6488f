"""Measures how many sessions one server can hold: the same speech in N sessions at the same time, from N = 1 upwards.

    python -m benchmarks.load --json benchmarks/results/load.json                     # starts a server of its own
    python -m benchmarks.load --url ws://127.0.0.1:9000/asr --protocol whisperlivekit --json other.json
    python -m benchmarks.load --plot benchmarks/results/load.svg benchmarks/results/load.json other.json

It ends with the first N at which the worst session's p95 commit latency is above ``--limit-s``, or at which the server
refuses a session. The starts of the sessions are staggered, so that they do not request a decode all at once.
Latencies are those of the worst session, in seconds; benchmarks/README.md says how they are measured. CPU, memory and
GPU are those of the server from the start of the first session to the end of the last. The column ``client`` is the CPU
time of this program, which the server lacks where both run on one machine.
"""

import argparse
import asyncio
import json
import os
import platform
import shlex
import statistics
import sys
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from websockets.exceptions import ConnectionClosed

from benchmarks.client import Recording, Sound, StreamFailed, play
from benchmarks.dialects import protocol, protocol_names
from benchmarks.live import Meter, figures, server_on_port
from benchmarks.scoring import TimedWord, summarise
from benchmarks.serving import running_server
from benchmarks.speech import read_speech
from whisperlivekit.observe.gpu import NoGpu, read_gpus

STAGGER_S = 0.37
"""About three quarters of a decode step."""

COLUMNS = {
    "sessions": "N",
    "served": "served",
    "wer": "WER",
    "worst_wer": "worst",
    "commit_p50_s": "commit p50",
    "commit_p95_s": "p95",
    "partial_p50_s": "partial p50",
    "partial_p95_s": "p95",
    "cpu_cores": "CPU cores",
    "client_cores": "client",
    "rss_mb": "RSS MB",
    "gpu_busy": "GPU",
    "gpu_mb": "GPU MB",
}


@dataclass(slots=True)
class GpuMeter:
    """Load and memory of the busiest GPU, where there is one."""

    present: bool = True
    uses: list[float] | None = None
    peak_mb: float = 0.0

    async def watch(self) -> None:
        """Measure every 0.2 s until cancelled; return at once where there is no GPU."""
        self.uses = []
        while self.present:
            try:
                gpus = read_gpus()
            except NoGpu:
                self.present = False
                return
            self.uses.append(max(gpu.utilization or 0.0 for gpu in gpus))
            self.peak_mb = max(self.peak_mb, *(gpu.memory_used_bytes / 2**20 for gpu in gpus))
            await asyncio.sleep(0.2)

    @property
    def busy(self) -> float | None:
        """Mean share of the time in which the GPU ran a kernel; None without a GPU."""
        return statistics.fmean(self.uses) if self.present and self.uses else None


async def play_all(
    url: str, sound: Sound, sessions: int, *, spoken: str, language: str, stagger_s: float
) -> tuple[list[Recording], list[str]]:
    """The recordings of the sessions that succeeded, and the errors of the others. ``spoken``: the protocol."""
    speaking = protocol(spoken)
    sent = speaking.sound(sound)

    async def one(number: int) -> Recording | str:
        await asyncio.sleep(number * stagger_s)
        try:
            return await play(url, speaking.dialect(sent.rate, language=language), sent)
        except (StreamFailed, ConnectionClosed, OSError, TimeoutError) as failed:
            return str(failed)

    ended = await asyncio.gather(*(one(number) for number in range(sessions)))
    return [one for one in ended if isinstance(one, Recording)], [one for one in ended if isinstance(one, str)]


async def measure(
    url: str, sound: Sound, words: list[TimedWord], sessions: int, options: argparse.Namespace
) -> dict[str, Any]:
    """One row: ``sessions`` sessions at the same time."""
    pid = server_on_port(urllib.parse.urlsplit(url).port or 80)
    meter = Meter(pid) if pid is not None else None
    gpu = GpuMeter()
    own = psutil.Process().cpu_times()
    began = time.monotonic()
    watching = [asyncio.create_task(one.watch()) for one in (meter, gpu) if one]
    recordings, failures = await play_all(
        url, sound, sessions, spoken=options.protocol, language=options.language, stagger_s=options.stagger_s
    )
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    took = time.monotonic() - began
    now = psutil.Process().cpu_times()
    row: dict[str, Any] = {"sessions": sessions, "served": len(recordings), "failures": failures}
    if recordings:
        every = [figures(recording, words, sound) for recording in recordings]
        row |= summarise(every)["worst"]
        row["worst_wer"] = row["wer"]
        row["wer"] = statistics.fmean(one["wer"] or 0.0 for one in every)
    row["cpu_cores"] = meter.cpu_s / took if meter else None
    row["client_cores"] = (now.user + now.system - own.user - own.system) / took
    row["rss_mb"] = meter.peak_rss_mb if meter else None
    row["gpu_busy"] = gpu.busy
    row["gpu_mb"] = gpu.peak_mb if gpu.present else None
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}


def over(row: dict[str, Any], limit_s: float) -> bool:
    """Whether this is more than the server can hold: a session was refused or failed, or the latency is too high."""
    return row["served"] < row["sessions"] or (row.get("commit_p95_s") or float("inf")) > limit_s


@contextmanager
def server_for(options: argparse.Namespace) -> Iterator[str]:
    """The URL of the running server at ``--url``, or of a new one with one worker."""
    if options.url:
        yield options.url
        return
    settings = dict(pair.partition("=")[::2] for pair in options.set)
    # The limit is what is measured here, so admission must not refuse sessions before it is reached.
    with running_server(1, **{"WLK_MAX_SESSIONS": "256", **settings}) as server:
        yield server.ws_url.removesuffix("/ws") + protocol(options.protocol).path


def machine() -> str:
    """The processor, its cores, the memory and the GPUs."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    try:
        gpus = "".join(f", {gpu.name}" for gpu in read_gpus())
    except NoGpu:
        gpus = ""
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} x {names[0] if names else platform.machine()}, {memory:.0f} GiB{gpus}"


def heading() -> str:
    return "| " + " | ".join(COLUMNS.values()) + " |\n|" + "---|" * len(COLUMNS)


def line(row: dict[str, Any]) -> str:
    """One row as Markdown."""
    cells = [row.get(name) for name in COLUMNS]
    return "| " + " | ".join("-" if c is None else f"{c:.3g}" if isinstance(c, float) else str(c) for c in cells) + " |"


def plot(results: Sequence[dict[str, Any]], path: Path, limit_s: float) -> None:
    """Draw commit latency and word error rate over the number of sessions, for each result."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    # With a fixed salt the same figures give the same file.
    mpl.rcParams["svg.hashsalt"] = "load"
    figure, (latency, errors) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for number, result in enumerate(results):
        rows = [row for row in result["rows"] if row.get("commit_p95_s") is not None]
        at = [row["sessions"] for row in rows]
        colour = f"C{number}"
        latency.plot(at, [row["commit_p95_s"] for row in rows], "o-", color=colour, label=f"{result['name']}, p95")
        latency.plot(at, [row["commit_p50_s"] for row in rows], "o:", color=colour, label=f"{result['name']}, p50")
        errors.plot(at, [row["worst_wer"] for row in rows], "o-", color=colour, label=result["name"])
    latency.axhline(limit_s, color="grey", linewidth=0.8)
    latency.set(xlabel="sessions at once", ylabel="commit latency of the worst session, s", yscale="log")
    errors.set(xlabel="sessions at once", ylabel="word error rate of the worst session", ylim=(0, None))
    for axes in (latency, errors):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The whole measurement. Each row is printed as soon as it is measured."""
    sound, words = read_speech(options.audio, options.seconds)
    result: dict[str, Any] = {
        "name": options.name,
        "machine": machine(),
        "command": shlex.join(["python", "-m", "benchmarks.load", *sys.argv[1:]]),
        "audio": f"{options.audio.name}, {sound.seconds:.1f} s, {len(words)} words",
        "rows": [],
    }
    print(f"{result['machine']}; {result['audio']}\n{heading()}")
    with server_for(options) as url:
        for sessions in options.sessions:
            row = asyncio.run(measure(url, sound, words, sessions, options))
            result["rows"].append(row)
            print(line(row), *row["failures"][:1], flush=True)
            if over(row, options.limit_s):
                break
    return result


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a running server; default: start one, base on the CPU with one worker")
    parser.add_argument("--set", action="append", default=[], metavar="VARIABLE=VALUE", help="for the started server")
    parser.add_argument("--protocol", choices=protocol_names(), default="native")
    parser.add_argument("--language", default="ru")
    parser.add_argument("--name", default="this server", help="in the plot")
    parser.add_argument("--audio", type=Path, default=Path("benchmarks/material/long.flac"))
    parser.add_argument("--seconds", type=float, default=60.0, help="of the audio, in each session")
    parser.add_argument("--sessions", type=numbers, default=list(range(1, 65)), help="1,2,4,...; default: each N")
    parser.add_argument("--limit-s", type=float, default=3.0, help="the highest p95 commit latency that is acceptable")
    parser.add_argument("--stagger-s", type=float, default=STAGGER_S)
    parser.add_argument("--json", type=Path, help="write the result here; rows of other N in the file are kept")
    parser.add_argument("--plot", type=Path, help="measure nothing, and draw the named results into this file")
    parser.add_argument("results", type=Path, nargs="*")
    options = parser.parse_args()
    if options.plot:
        plot([json.loads(path.read_text(encoding="utf-8")) for path in options.results], options.plot, options.limit_s)
        return
    result = run(options)
    if options.json:
        if options.json.is_file():
            result = merge(json.loads(options.json.read_text(encoding="utf-8")), result)
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Combine two parts of one measurement: new rows replace old ones of the same N.

    Old rows of another machine or other speech are dropped.
    """
    if (old["machine"], old["audio"]) != (new["machine"], new["audio"]):
        return new
    rows = {row["sessions"]: row for row in [*old["rows"], *new["rows"]]}
    return {**new, "rows": [rows[sessions] for sessions in sorted(rows)]}


if __name__ == "__main__":
    main()
