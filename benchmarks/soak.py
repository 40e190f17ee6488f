"""Soak test: measures whether a server keeps memory, handles, threads or connections of clients that have left.

    python -m benchmarks.soak --minutes 30 --json benchmarks/results/soak.json

Starts a server with one worker (or measures the one at ``--url``) and keeps ``--sessions`` clients ("visitors") on it;
each is followed by the next without a pause. Each visitor behaves in a random manner: it ends its stream properly,
disconnects in the middle, sends silence, sends invalid messages, sends a whole recording at once, or sends a file over
HTTP. Every ``--every`` seconds the memory (MB), file handles, threads and connections of the whole process tree
are recorded. A line is fitted to the memory after the first ``--warm-up`` share of the time. Its slope, in MB per hour
and per 100 visitors, is the leak.
"""

import argparse
import asyncio
import json
import random
import shlex
import statistics
import sys
import time
import urllib.parse
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, WebSocketException

from benchmarks.client import Native, Sound, StreamFailed, play, read_sound
from benchmarks.live import server_on_port
from benchmarks.load import machine
from benchmarks.serving import running_server

CLIP = Path(__file__).parents[1] / "tests" / "data" / "prompts_24s.flac"
MANNERS = {"polite": 6, "hangs_up": 4, "silent": 2, "rubbish": 1, "burst": 2, "file": 1}
"""The relative frequency of each manner."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the server's whole process tree has at one moment."""

    minute: float
    visitors: int
    """Visitors that have left so far."""
    rss_mb: float
    handles: int
    threads: int
    connections: int


def look(pid: int, began: float, visitors: int) -> Sample:
    """Measure the process ``pid`` and its descendants."""
    root = psutil.Process(pid)
    rss = handles = threads = connections = 0
    for process in [root, *root.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            rss += process.memory_info().rss
            handles += process.num_fds()
            threads += process.num_threads()
            connections += len(process.net_connections("tcp"))
    return Sample((time.monotonic() - began) / 60, visitors, rss / 2**20, handles, threads, connections)


def slope(samples: Sequence[Sample], of: str) -> float:
    """The slope of the memory (MB) over the field ``of`` of Sample, by least squares; 0 where it is not defined."""
    xs = [float(getattr(sample, of)) for sample in samples]
    if len(set(xs)) < 2:
        return 0.0
    return statistics.linear_regression(xs, [sample.rss_mb for sample in samples]).slope


class Visitors:
    """Runs visitors one after the other and counts them and their failures."""

    def __init__(self, url: str, sound: Sound, file: bytes, seed: int) -> None:
        self._url = url
        self._sound = sound
        self._file = file
        self._chance = random.Random(seed)
        self.gone: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()

    @property
    def visitors(self) -> int:
        return sum(self.gone.values())

    async def keep_coming(self, until: float) -> None:
        """Run one visitor after the other until this moment of the monotonic clock."""
        while time.monotonic() < until:
            [manner] = self._chance.choices(list(MANNERS), list(MANNERS.values()))
            try:
                await self._visit(manner)
            except (
                StreamFailed,
                WebSocketException,
                InvalidHandshake,
                httpx.HTTPError,
                OSError,
                TimeoutError,
            ) as error:
                self.failures[f"{manner}: {type(error).__name__} {str(error)[:80]}"] += 1
                await asyncio.sleep(0.2)
            self.gone[manner] += 1

    async def _visit(self, manner: str) -> None:
        begin = self._chance.randrange(len(self._sound.samples) // 2)
        seconds = self._chance.uniform(2, 10)
        said = Sound(self._sound.samples[begin : begin + round(seconds * self._sound.rate)], self._sound.rate)
        match manner:
            case "polite":
                await play(self._url, Native(said.rate, language="ru"), said, pace=2.0)
            case "burst":
                await play(self._url, Native(said.rate, language="ru"), self._sound, pace=None)
            case "hangs_up":
                await self._break_off(said)
            case "silent":
                still = Sound(said.samples * 0, said.rate)
                await play(self._url, Native(said.rate, language="ru"), still, pace=4.0)
            case "rubbish":
                async with connect(self._url, compression=None) as socket:
                    await socket.send('{"type":"start"}')
                    await socket.send('{"type":')
                    # The server closes the connection with 1007.
                    with suppress(ConnectionClosed):
                        while True:
                            await socket.recv()
            case _:
                await self._send_file()

    async def _break_off(self, said: Sound) -> None:
        """Send audio, then close the TCP connection without ``stop`` and without a close frame."""
        async with connect(self._url, compression=None) as socket:
            await socket.send('{"type":"start","language":"ru"}')
            for at in range(0, len(said.samples), said.rate // 10):
                await socket.send(said.samples[at : at + said.rate // 10].tobytes())
                await asyncio.sleep(0.05)
            socket.transport.abort()

    async def _send_file(self) -> None:
        parts = urllib.parse.urlsplit(self._url)
        async with httpx.AsyncClient(timeout=120) as client:
            answer = await client.post(
                f"http://{parts.netloc}/v1/audio/transcriptions",
                files={"file": ("a.flac", self._file)},
                data={"language": "ru"},
            )
            answer.raise_for_status()


async def soak(url: str, options: argparse.Namespace) -> dict[str, Any]:
    """The whole measurement of a running server.

    Raises:
        SystemExit: no process on this machine listens on the port of the URL.
    """
    pid = server_on_port(urllib.parse.urlsplit(url).port or 80)
    if pid is None:
        raise SystemExit(f"no process on this machine listens on the port of {url}, expected a running server")
    visitors = Visitors(url, read_sound(CLIP), CLIP.read_bytes(), options.seed)
    began = time.monotonic()
    until = began + options.minutes * 60
    samples = [look(pid, began, 0)]
    coming = [asyncio.create_task(visitors.keep_coming(until)) for _ in range(options.sessions)]
    print("minute | visitors | RSS MB | handles | threads | connections")
    while time.monotonic() < until:
        await asyncio.sleep(min(options.every, max(0.1, until - time.monotonic())))
        samples.append(look(pid, began, visitors.visitors))
        show(samples[-1])
    await asyncio.gather(*coming)
    await asyncio.sleep(2)
    samples.append(look(pid, began, visitors.visitors))
    show(samples[-1])
    settled = [sample for sample in samples[1:-1] if sample.minute >= options.warm_up * options.minutes]
    return {
        "minutes": options.minutes,
        "sessions": options.sessions,
        "visitors": dict(visitors.gone),
        "failures": dict(visitors.failures),
        "mb_per_100_visitors": round(100 * slope(settled, "visitors"), 3),
        "mb_per_hour": round(60 * slope(settled, "minute"), 2),
        "rss_mb_first_last": [round(samples[0].rss_mb, 1), round(samples[-1].rss_mb, 1)],
        "handles_first_last": [samples[0].handles, samples[-1].handles],
        "threads_first_last": [samples[0].threads, samples[-1].threads],
        "connections_first_last": [samples[0].connections, samples[-1].connections],
        "samples": [{name: round(value, 2) for name, value in asdict(sample).items()} for sample in samples],
    }


def show(sample: Sample) -> None:
    """Print a row of the table."""
    print(
        f"{sample.minute:6.1f} | {sample.visitors:8} | {sample.rss_mb:6.1f} | {sample.handles:7} | "
        f"{sample.threads:7} | {sample.connections}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--sessions", type=int, default=4, help="visitors at the same time")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two measurements")
    parser.add_argument("--warm-up", type=float, default=0.3, help="share of the time before the line is fitted")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--url", help="a running server; default: start one, base on the CPU with one worker")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    # No visitor may be refused, and the worker must not be replaced, because its memory is what is measured.
    own = running_server(1, WLK_MAX_SESSIONS="64", WLK_GUNICORN_MAX_REQUESTS="0")
    with nullcontext() if options.url else own as server:
        result = asyncio.run(soak(options.url or (server.ws_url if server else ""), options))
    result = {
        "machine": machine(),
        "command": shlex.join(["python", "-m", "benchmarks.soak", *sys.argv[1:]]),
        **result,
    }
    print({name: value for name, value in result.items() if name != "samples"})
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
