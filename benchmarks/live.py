"""Plays audio to a running server at exactly 1x and prints accuracy, latency and cost.

    python -m benchmarks.live --url ws://127.0.0.1:8000/ws --audio A.flac --reference R.json --sessions 4 --json

Prints ``{"worst": {...}, "median": {...}}`` over the sessions. Times are in seconds and count from the first audio
byte sent; ``cpu_s_per_audio_s`` and ``peak_rss_mb`` are of the server's whole process tree, from the first session's
start until the last one is done, and need the server to run on this machine.
"""

import argparse
import asyncio
import json
import sys
import urllib.parse
from dataclasses import asdict
from pathlib import Path

import psutil

from benchmarks.client import Dialect, Native, Recording, Sound, WhisperLiveKit, play, read_sound
from benchmarks.scoring import TimedWord, score, summarise
from benchmarks.speech import read_reference

RSS_EVERY_S = 0.2


class Meter:
    """CPU time and peak memory of a process and all its descendants."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._spent: dict[tuple[int, float], float] = {}
        self._before: dict[tuple[int, float], float] = {}
        self.peak_rss_mb = 0.0
        self.look()
        self._before = dict(self._spent)

    def look(self) -> None:
        """Takes down what the tree has spent so far and what it holds now."""
        rss = 0
        for process in [self._root, *self._root.children(recursive=True)]:
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    self._spent[process.pid, process.create_time()] = times.user + times.system
                    rss += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        self.peak_rss_mb = max(self.peak_rss_mb, rss / 2**20)

    @property
    def cpu_s(self) -> float:
        """Since the meter was made. What a process spent after the last look at it and before it ended is lost."""
        return sum(spent - self._before.get(process, 0.0) for process, spent in self._spent.items())

    async def watch(self) -> None:
        """Looks again and again until cancelled."""
        try:
            while True:
                self.look()
                await asyncio.sleep(RSS_EVERY_S)
        finally:
            self.look()


def server_on_port(port: int) -> int | None:
    """The topmost process that listens on the port, on this machine; None where there is none to be seen."""
    listening = {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid
    }
    for pid in sorted(listening):
        if not listening & {parent.pid for parent in psutil.Process(pid).parents()}:
            return int(pid)
    return None


def figures(recording: Recording, reference: list[TimedWord], sound: Sound) -> dict[str, float | None]:
    """One session's figures; ``end_lag_s`` is from the end of the audio until the server was done."""
    return {**asdict(score(recording.snapshots, reference)), "end_lag_s": recording.finished_s - sound.seconds}


async def run_sessions(
    url: str, sound: Sound, *, sessions: int, stagger_s: float, protocol: str, language: str
) -> list[Recording]:
    """All sessions at once, each begun ``stagger_s`` after the one before."""

    async def one(number: int) -> Recording:
        await asyncio.sleep(number * stagger_s)
        dialect: Dialect
        dialect = Native(sound.rate, language=language) if protocol == "native" else WhisperLiveKit()
        return await play(url, dialect, sound)

    return list(await asyncio.gather(*(one(number) for number in range(sessions))))


async def measure(options: argparse.Namespace) -> dict[str, dict[str, float | None]]:
    """The whole run, as ``main`` prints it."""
    sound = read_sound(options.audio)
    reference = read_reference(options.reference)
    port = urllib.parse.urlsplit(options.url).port or 80
    pid = options.server_pid or server_on_port(port)
    meter = Meter(pid) if pid is not None else None
    watching = asyncio.create_task(meter.watch()) if meter else None
    recordings = await run_sessions(
        options.url,
        sound,
        sessions=options.sessions,
        stagger_s=options.stagger_s,
        protocol=options.protocol,
        language=options.language,
    )
    if watching:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    if options.snapshots:
        lines = [
            [session, round(shot.t, 3), shot.committed, shot.partial]
            for session, recording in enumerate(recordings)
            for shot in recording.snapshots
        ]
        options.snapshots.write_text(
            "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8"
        )
    summary = summarise([figures(recording, reference, sound) for recording in recordings])
    for part in summary.values():
        part["cpu_s_per_audio_s"] = meter.cpu_s / (sound.seconds * options.sessions) if meter else None
        part["peak_rss_mb"] = meter.peak_rss_mb if meter else None
        for name, value in part.items():
            part[name] = round(value, 3) if value is not None else None
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="ws://127.0.0.1:8000/ws")
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--reference", type=Path, help="default: the audio's name with .json")
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--stagger-s", type=float, default=0.7, help="time between two sessions' starts")
    parser.add_argument("--protocol", choices=["native", "whisperlivekit"], default="native")
    parser.add_argument("--language", default="ru")
    parser.add_argument("--server-pid", type=int, help="default: who listens on the port")
    parser.add_argument("--snapshots", type=Path, help="write [session, t, committed, partial] a line")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    options = parser.parse_args()
    options.reference = options.reference or options.audio.with_suffix(".json")
    summary = asyncio.run(measure(options))
    if options.json:
        print(json.dumps(summary))
        return
    print(f"{'':20}{'worst':>10}{'median':>10}")
    for name, worst in summary["worst"].items():
        print(f"{name:20}{_cell(worst)}{_cell(summary['median'][name])}")
    sys.stdout.flush()


def _cell(value: float | None) -> str:
    return f"{'-' if value is None else value:>10}"


if __name__ == "__main__":
    main()
