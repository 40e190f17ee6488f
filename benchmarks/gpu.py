"""Measures how many real-time streams one device serves, for each model, compute type and batch size.

    python -m benchmarks.gpu                                            # on the GPU, base and small
    python -m benchmarks.gpu --models small,large-v3-turbo --compute-types float16,int8_float16 --batches 8,16,32
    python -m benchmarks.gpu --models small,our-model                   # our-model: a name given to models add
    python -m benchmarks.gpu --device cpu --models base --sessions 1,2  # small, on the CPU

Each model, compute type and batch size is a combination. For each, the sound is played in 1, 2, 4, ... sessions at the
same time, with staggered starts, until the 95th percentile of commit latency is above ``--limit-s``. The sessions are
those of the server, without sockets.

Commit latency (seconds): from the end of a word, as the hypothesis times it, until the word is committed. First partial
(seconds): from the start of the first speech until the first words are shown. Memory and load are those of the whole
GPU, read with NVML while the sessions run; the GPU is the first in CUDA_VISIBLE_DEVICES. A combination that cannot be
loaded is reported and skipped. At the end there is a line for each combination with what it costs: how many streams the
device serves with it, and the memory for them.
"""

import argparse
import asyncio
import json
import math
import os
import platform
import statistics
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from whisperlivekit.core.commands import Audio, Start, Stop
from whisperlivekit.core.events import Committed, Partial, SpeechStarted
from whisperlivekit.core.paragraph import LONGEST_S
from whisperlivekit.core.session import Session, SessionConfig
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.engine.batcher import Engine
from whisperlivekit.engine.models import check, silero_folder
from whisperlivekit.engine.whisper import EngineConfig
from whisperlivekit.errors import WhisperLiveKitError
from whisperlivekit.observe.gpu import Gpu, NoGpu, visible_gpus
from whisperlivekit.session.runner import SessionRunner

CHUNK_S = 0.1
STAGGER_S = 0.37
"""About three quarters of a decode step, so that the sessions do not all request a decode at the same moment."""
LOOK_EVERY_S = 0.5
DOUBLINGS = tuple(2**power for power in range(10))


@dataclass(frozen=True, slots=True)
class Row:
    """The result of one combination with one number of sessions."""

    model: str
    compute_type: str
    batch: int
    sessions: int
    words: int
    commit_p50_s: float
    commit_p95_s: float
    first_partial_p50_s: float
    vram_mb: float | None
    """Peak memory minus the memory in use before the model was loaded; None on a CPU."""
    busy: float | None
    """Mean share of time in which the GPU ran a kernel; None on a CPU."""


@dataclass(slots=True)
class Latencies:
    """The latencies of one session."""

    commits_s: list[float]
    first_partial_s: float | None = None


async def listen(engine: Engine, samples: NDArray[np.float32], language: str | None, delay_s: float) -> Latencies:
    """Play the samples to one session at exactly 1x, after ``delay_s``."""
    await asyncio.sleep(delay_s)
    loop = asyncio.get_running_loop()
    runner = SessionRunner(engine, engine.detector(), Session(SessionConfig(language=language), Start()))
    begun = loop.time()
    found = Latencies([])

    async def speak() -> None:
        step = round(CHUNK_S * SAMPLE_RATE)
        for begin in range(0, len(samples), step):
            chunk = samples[begin : begin + step]
            # A chunk is complete only when its last sample has been spoken.
            await asyncio.sleep(max(0.0, begun + (begin + len(chunk)) / SAMPLE_RATE - loop.time()))
            await runner.receive(Audio(chunk))
        await runner.receive(Stop())

    speaking = asyncio.create_task(speak())
    started = None
    async for event in runner.events():
        now = loop.time() - begun
        match event:
            case SpeechStarted(at) if started is None:
                started = at / SAMPLE_RATE
            case Partial(text, _, _) if text and found.first_partial_s is None:
                found.first_partial_s = now - (started or 0.0)
            case Committed(words):
                found.commits_s += [now - word.end / SAMPLE_RATE for word in words]
            case _:
                pass
    await speaking
    return found


def visible() -> tuple[Gpu, ...]:
    """The GPUs that CUDA shows to this process; the first one is used."""
    return visible_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"))


class Watch:
    """Memory and load of a GPU, read with NVML. On a CPU it measures nothing."""

    def __init__(self, index: int | None) -> None:
        self._index = index
        self.loads: list[float] = []
        self.memory_bytes = 0
        gpu = self._gpu()
        self.before_bytes = gpu.memory_used_bytes if gpu else 0

    @property
    def vram_mb(self) -> float | None:
        return None if self._index is None else (self.memory_bytes - self.before_bytes) / 2**20

    @property
    def busy(self) -> float | None:
        return statistics.mean(self.loads) if self.loads else None

    def forget(self) -> None:
        self.loads = []
        self.memory_bytes = 0

    def _gpu(self) -> Gpu | None:
        if self._index is None:
            return None
        return visible()[self._index]

    async def run(self) -> None:
        """Measure every ``LOOK_EVERY_S`` until cancelled."""
        while (gpu := await asyncio.to_thread(self._gpu)) is not None:
            self.memory_bytes = max(self.memory_bytes, gpu.memory_used_bytes)
            if gpu.utilization is not None:
                self.loads.append(gpu.utilization)
            await asyncio.sleep(LOOK_EVERY_S)


@asynccontextmanager
async def watching(watch: Watch) -> AsyncIterator[None]:
    watch.forget()
    task = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def sweep(
    config: EngineConfig, model: str, counts: Sequence[int], samples: NDArray[np.float32], limit_s: float
) -> list[Row]:
    """Measure one combination with more and more sessions, until the latency is above the limit."""
    watch = Watch(config.device_index if config.device == "cuda" else None)
    engine = Engine(config)
    await engine.load()
    rows: list[Row] = []
    try:
        for count in counts:
            async with watching(watch):
                everyone = await asyncio.gather(
                    *(listen(engine, samples, config.language, number * STAGGER_S) for number in range(count))
                )
            commits = sorted(latency for found in everyone for latency in found.commits_s)
            firsts = [found.first_partial_s for found in everyone if found.first_partial_s is not None]
            rows.append(
                Row(
                    model=model,
                    compute_type=config.compute_type,
                    batch=config.max_batch,
                    sessions=count,
                    words=len(commits),
                    commit_p50_s=percentile(commits, 0.5),
                    commit_p95_s=percentile(commits, 0.95),
                    first_partial_p50_s=statistics.median(firsts) if firsts else math.nan,
                    vram_mb=watch.vram_mb,
                    busy=watch.busy,
                )
            )
            print(line(rows[-1]), flush=True)
            if not commits or rows[-1].commit_p95_s > limit_s:
                break
    finally:
        await asyncio.to_thread(engine.close)
    return rows


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the sorted values that a ``share`` of all values do not exceed; NaN where there are none."""
    return values[min(len(values) - 1, math.ceil(share * len(values)) - 1)] if values else math.nan


def best(rows: Iterable[Row], limit_s: float) -> dict[tuple[str, str, int], Row]:
    """For each model, compute type and batch size the row with the most sessions within the limit."""
    found: dict[tuple[str, str, int], Row] = {}
    for row in rows:
        key = (row.model, row.compute_type, row.batch)
        good = row.commit_p95_s <= limit_s  # false for NaN
        if good and (key not in found or row.sessions > found[key].sessions):
            found[key] = row
    return found


def summary(rows: Sequence[Row], limit_s: float) -> list[str]:
    """A line for each model, compute type and batch size: the most streams within the limit, and what they need."""
    within = best(rows, limit_s)
    lines = []
    for key in dict.fromkeys((row.model, row.compute_type, row.batch) for row in rows):
        row = within.get(key)
        if row is None:
            cost = "0: one stream is too many"
        else:
            memory = "" if row.vram_mb is None else f", VRAM {row.vram_mb:.0f} MB"
            cost = f"{row.sessions} (commit p95 {row.commit_p95_s:.2f} s{memory})"
        lines.append(f"- {key[0]} {key[1]}, batch {key[2]}: {cost}")
    return lines


COLUMNS = "| model | type | batch | sessions | commit p50 | p95 | first partial p50 | VRAM MB | GPU busy |"


def line(row: Row) -> str:
    vram = "–" if row.vram_mb is None else f"{row.vram_mb:.0f}"
    busy = "–" if row.busy is None else f"{row.busy:.0%}"
    return (
        f"| {row.model} | {row.compute_type} | {row.batch} | {row.sessions} | {row.commit_p50_s:.2f} s | "
        f"{row.commit_p95_s:.2f} s | {row.first_partial_p50_s:.2f} s | {vram} | {busy} |"
    )


def plot(rows: Sequence[Row], limit_s: float, device: str, path: Path) -> None:
    """Draw the 95th percentile over the number of sessions, a line for each model, compute type and batch size."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5))
    for key in dict.fromkeys((row.model, row.compute_type, row.batch) for row in rows):
        own = [row for row in rows if (row.model, row.compute_type, row.batch) == key]
        axes.plot(
            [row.sessions for row in own], [row.commit_p95_s for row in own], marker="o", label=" ".join(map(str, key))
        )
    axes.axhline(limit_s, linestyle="--", color="grey")
    axes.set(xscale="log", xlabel="sessions at once", ylabel="p95 of commit latency, s", title=device)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def name_of(device: str) -> str:
    """The name of the device that is measured."""
    if device == "cpu":
        return f"CPU: {platform.processor() or platform.machine()}"
    return visible()[0].name


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument(
        "--models", default="base,small", help="names of downloaded and added models: folders of --model-dir"
    )
    parser.add_argument("--model-dir", type=Path, default=Path("models/whisper"))
    parser.add_argument("--compute-types", help="default: float16,int8_float16 on a GPU, int8 on a CPU")
    parser.add_argument("--batches", type=numbers, default=(8, 16))
    parser.add_argument("--sessions", type=numbers, default=DOUBLINGS)
    parser.add_argument("--threads", type=int, default=1, help="of one decode on a CPU")
    parser.add_argument("--lanes", type=int, default=1, help="batches at the same time, each in a thread of its own")
    parser.add_argument("--audio", type=Path, default=Path("tests/data/prompts_24s.flac"), help="mono, 16 kHz")
    parser.add_argument("--language", default="ru")
    parser.add_argument("--limit-s", type=float, default=2.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="a file that matplotlib can write, such as gpu.svg")
    options = parser.parse_args(arguments)
    if options.device == "cuda":
        # NVML numbers GPUs by their bus. CUDA must do the same, or another GPU than the used one would be measured.
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        try:
            visible()
        except NoGpu as reason:
            parser.exit(2, f"{reason}. Without a GPU, use: --device cpu --models base --sessions 1,2\n")
    samples, rate = soundfile.read(options.audio, dtype="float32")
    if rate != SAMPLE_RATE or samples.ndim != 1:
        parser.error(f"{options.audio} has {rate} Hz and {samples.ndim} axes, expected {SAMPLE_RATE} Hz, mono")
    types = options.compute_types or ("float16,int8_float16" if options.device == "cuda" else "int8")
    device = name_of(options.device)
    print(f"{device}; {len(samples) / SAMPLE_RATE:.0f} s of speech in each session\n\n{COLUMNS}\n{'|---' * 9}|")
    rows: list[Row] = []
    begun = time.monotonic()
    for model in options.models.split(","):
        for compute_type in types.split(","):
            for batch in options.batches:
                config = EngineConfig(
                    options.model_dir / model,
                    options.device,
                    compute_type=compute_type,
                    threads=options.threads,
                    lanes=options.lanes,
                    max_batch=batch,
                    language=options.language,
                    longest_s=LONGEST_S,
                    silero_dir=silero_folder(options.model_dir.parent),
                )
                try:
                    check(config.model_dir)
                    rows += asyncio.run(sweep(config, model, options.sessions, samples, options.limit_s))
                except WhisperLiveKitError as error:
                    print(f"| {model} | {compute_type} | {batch} | skipped: {error.message} |", flush=True)
                if options.json:
                    result = {"device": device, "limit_s": options.limit_s, "rows": [asdict(row) for row in rows]}
                    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"\nStreams with p95 commit latency up to {options.limit_s:g} s (took {time.monotonic() - begun:.0f} s):\n")
    print("\n".join(summary(rows, options.limit_s)))
    if options.plot:
        plot(rows, options.limit_s, device, options.plot)


if __name__ == "__main__":
    main()
