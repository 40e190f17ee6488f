"""Plays audio to a running server at exactly 1x and prints accuracy, latency and cost.

    python -m benchmarks.live --url ws://127.0.0.1:8000/ws --audio A.flac --reference R.json --sessions 4 --json
    python -m benchmarks.live --group 'read=speech/read_*.flac' --group 'phone=speech/phone/*.flac' --sessions 2
    python -m benchmarks.live --audio A.flac --commit utterance --refine
    python -m benchmarks.live --audio A.flac --protocol realtime

With ``--audio``, that recording is played in ``--sessions`` sessions at the same time. With ``--group``, each recording
is played once, ``--sessions`` of them at the same time, and the word error rate of each group is printed with its
interval (see ``benchmarks.groups``).

With ``--commit utterance``, ``final_p50_s`` and ``final_p95_s`` are the times from the last word of an utterance to its
text. With ``--refine``, ``wer_refined`` is the word error rate of the refined text, and ``refine_p50_s`` and
``refine_p95_s`` the times from the end of a paragraph to its refined text. The groups are scored with the refined text.

``--protocol`` names a protocol of ``benchmarks.dialects``; the audio is resampled to the rate that it wants.

Prints the worst and the median over the sessions: with ``--json`` ``{"worst": {...}, "median": {...}}``, and "groups"
where there are some. Times are in seconds, counted from the first audio byte sent. ``cpu_s_per_audio_s`` and
``peak_rss_mb`` are those of the server's whole process tree from the start of the first session to the end of the last.
They need the server to run on this machine.
"""

import argparse
import asyncio
import json
import sys
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from benchmarks.client import Recording, Sound, play, read_sound
from benchmarks.dialects import protocol, protocol_names
from benchmarks.groups import GroupRow, group_rows, table
from benchmarks.scoring import TimedWord, count_errors, last_word_latencies, percentile, score, summarise
from benchmarks.speech import add_group_option, read_groups, read_recording

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
        """Record the CPU time that the processes have used so far, and the memory that they have now."""
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
        """CPU time since the meter was made, without what a process used between the last ``look`` and its end."""
        return sum(spent - self._before.get(process, 0.0) for process, spent in self._spent.items())

    async def watch(self) -> None:
        """Call ``look`` every ``RSS_EVERY_S`` until cancelled."""
        try:
            while True:
                self.look()
                await asyncio.sleep(RSS_EVERY_S)
        finally:
            self.look()


def server_on_port(port: int) -> int | None:
    """The topmost process on this machine that listens on the port; None where there is none, or it is not visible."""
    listening = {
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid
    }
    for pid in sorted(listening):
        if not listening & {parent.pid for parent in psutil.Process(pid).parents()}:
            return int(pid)
    return None


def figures(
    recording: Recording, reference: Sequence[TimedWord], sound: Sound, *, commit: str = "words", refine: bool = False
) -> dict[str, float | None]:
    """The figures of one session. ``end_lag_s`` is the time from the end of the audio until the server had finished."""
    found: dict[str, float | None] = asdict(score(recording.snapshots, reference))
    found["end_lag_s"] = recording.finished_s - sound.seconds
    if commit == "utterance":
        latencies = last_word_latencies(recording.snapshots, reference)
        found |= {"final_p50_s": percentile(latencies, 0.5), "final_p95_s": percentile(latencies, 0.95)}
    if refine:
        late = [at - event["end"] for at, event in recording.events if event["type"] == "refined"]
        found["wer_refined"] = count_errors([word.text for word in reference], recording.refined).wer
        found |= {"refine_p50_s": percentile(late, 0.5), "refine_p95_s": percentile(late, 0.95)}
    return found


async def run_sessions(
    url: str, sounds: Sequence[Sound], *, sessions: int, stagger_s: float, spoken: str, start: Mapping[str, Any]
) -> list[Recording]:
    """Play every sound once, ``sessions`` at the same time; the first ones start ``stagger_s`` apart.

    ``spoken``: the protocol. ``start``: fields of the native protocol's ``start``.
    """
    speaking = protocol(spoken)
    recordings: dict[int, Recording] = {}
    waiting = iter(enumerate(sounds))

    async def one(number: int) -> None:
        await asyncio.sleep(number * stagger_s)
        for place, sound in waiting:
            sent = speaking.sound(sound)
            recordings[place] = await play(url, speaking.dialect(sent.rate, **start), sent)

    await asyncio.gather(*(one(number) for number in range(sessions)))
    return [recordings[place] for place in range(len(sounds))]


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The whole run, as ``main`` prints it."""
    played = read_groups(options.group)
    if options.audio:
        played += [read_recording(options.audio, "", options.reference)] * options.sessions
    sounds = {speech.audio: read_sound(speech.audio) for speech in played}
    url = options.url or f"ws://127.0.0.1:8000{protocol(options.protocol).path}"
    port = urllib.parse.urlsplit(url).port or 80
    pid = options.server_pid or server_on_port(port)
    meter = Meter(pid) if pid is not None else None
    watching = asyncio.create_task(meter.watch()) if meter else None
    asked = {"commit": options.commit, "refine": options.refine}
    recordings = await run_sessions(
        url,
        [sounds[speech.audio] for speech in played],
        sessions=options.sessions,
        stagger_s=options.stagger_s,
        spoken=options.protocol,
        start={"language": options.language, **asked},
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
    pairs = list(zip(played, recordings, strict=True))
    summary = summarise(
        [figures(recording, speech.words, sounds[speech.audio], **asked) for speech, recording in pairs]
    )
    seconds = sum(sounds[speech.audio].seconds for speech in played)
    for part in summary.values():
        part["cpu_s_per_audio_s"] = meter.cpu_s / seconds if meter else None
        part["peak_rss_mb"] = meter.peak_rss_mb if meter else None
        for name, value in part.items():
            part[name] = round(value, 3) if value is not None else None
    if not options.group:
        return dict(summary)
    return {**summary, "groups": group_rows((speech, recording.refined) for speech, recording in pairs)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="default: the protocol's path on port 8000 of this machine")
    parser.add_argument("--audio", type=Path, help="the recording to play; this or --group")
    parser.add_argument("--reference", type=Path, help="its words; default: the audio's name with .json")
    add_group_option(parser)
    parser.add_argument("--sessions", type=int, default=1, help="at the same time")
    parser.add_argument("--stagger-s", type=float, default=0.7, help="time between the starts of two sessions")
    parser.add_argument("--protocol", choices=protocol_names(), default="native")
    parser.add_argument("--language", default="ru")
    parser.add_argument("--commit", choices=["words", "utterance"], default="words")
    parser.add_argument("--refine", action="store_true", help="ask for refined text")
    parser.add_argument("--server-pid", type=int, help="default: the process that listens on the port")
    parser.add_argument("--snapshots", type=Path, help="write [session, t, committed, partial] into this file, by line")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")
    options = parser.parse_args()
    if bool(options.audio) == bool(options.group):
        parser.error("expected either --audio or --group")
    summary = asyncio.run(measure(options))
    groups: list[GroupRow] = summary.pop("groups", [])
    if options.json:
        print(json.dumps(summary | ({"groups": [row.rounded() for row in groups]} if groups else {})))
        return
    print(f"{'':20}{'worst':>10}{'median':>10}")
    for name, worst in summary["worst"].items():
        print(f"{name:20}{_cell(worst)}{_cell(summary['median'][name])}")
    if groups:
        print(f"\n{table(groups)}")
    sys.stdout.flush()


def _cell(value: float | None) -> str:
    return f"{'-' if value is None else value:>10}"


if __name__ == "__main__":
    main()
