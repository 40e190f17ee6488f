"""Kills workers and cuts connections in the middle of sentences, and counts the words that this costs.

    python -m benchmarks.faults --runs 6 --seed 1 --audio A.flac --reference R.json --cut 60 --json

Starts a server of this checkout with two workers and plays the audio to it at 1x through a small proxy. Each run has
``--faults`` equal parts. Once in each part, at a random moment (``--seed``), one of ``--kinds`` happens:

    kill     SIGKILL to the worker that serves the stream
    term     SIGTERM to that worker, as when it is recycled: it drains
    hup      SIGHUP to the master: all workers are replaced
    cut      the network connection is reset; the worker lives
    silence  the connection becomes half-open, which the client's ping detects (not among the default kinds)

Each run is compared with the uninterrupted run whose text is most similar to its own. Printed are, over all runs:

    lost, doubled, changed      words that are missing, additional, and different
    retracted                   committed words that changed or disappeared
    gap_s                       seconds of audio that were reported as lost
    resume_p50_s, resume_max_s  seconds from the fault, or from the last words of a worker that drains, until the new
                                connection brings text or reports that all audio is processed
    uninterrupted               the same counts between the uninterrupted runs

A ``--cut`` should be in a pause of the speech, because half a word is recognised differently each time.
"""

import argparse
import asyncio
import itertools
import json
import random
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import psutil

from benchmarks.client import Native, Recording, Sound, play, read_sound
from benchmarks.proxy import Proxy, proxy_to
from benchmarks.scoring import (
    TimedWord,
    count_retracted,
    normalise,
    percentile,
    score,
    spell_numbers,
)
from benchmarks.serving import Server, running_server
from benchmarks.speech import read_reference

KINDS = ("kill", "term", "hup", "cut")

EDGE_S = 1.0
"""No fault happens within this time of the beginning and the end of the audio."""

RUSSIAN = {"language": "ru"}

PING_S = 3.0
"""The interval of the client's pings: a half-open connection is detected within twice this time."""

WARM_WITHIN_S = 30.0

ALIKE = 0.5
"""Two different sequences of words with at least this similarity of letters are two transcripts of the same speech."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that was carried out."""

    run: int
    kind: str
    at_s: float
    """On the clock of the recording."""
    resume_s: float | None
    """Seconds until text continued; None where the stream ended before that."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How many words of one text differ from another one; numbers are spelt out."""

    lost: int
    doubled: int
    changed: int

    @property
    def all(self) -> int:
        return self.lost + self.doubled + self.changed


def difference(text: str, original: str) -> Difference:
    """Count differing words. Where the letters are similar ("по роли", "пароля"), words are changed, not lost."""
    lost = doubled = changed = 0
    for before, after in _differing(text, original):
        if SequenceMatcher(None, "".join(before), "".join(after)).ratio() >= ALIKE:
            changed += max(len(before), len(after))
            continue
        changed += min(len(before), len(after))
        lost += max(0, len(before) - len(after))
        doubled += max(0, len(after) - len(before))
    return Difference(lost, doubled, changed)


def _differing(text: str, original: str) -> list[tuple[list[str], list[str]]]:
    """Pairs of differing word sequences, of the original and of the text, from left to right."""
    before, after = spell_numbers(normalise(original)), spell_numbers(normalise(text))
    return [
        (before[a:b], after[c:d])
        for kind, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        if kind != "equal"
    ]


def nearest(text: str, originals: Sequence[str]) -> str:
    """The original with the fewest differences from the text."""
    return min(originals, key=lambda original: difference(text, original).all)


def changes(text: str, original: str) -> list[str]:
    """The differences in readable form."""
    return [f"{' '.join(before) or '-'} -> {' '.join(after) or '-'}" for before, after in _differing(text, original)]


def plan(chance: random.Random, seconds: float, faults: int, kinds: Sequence[str]) -> list[tuple[float, str]]:
    """The times and kinds of the faults of one run. Over several runs all kinds are equally frequent."""
    part = (seconds - 2 * EDGE_S) / faults
    dealt: list[str] = []
    while len(dealt) < faults:
        dealt += chance.sample(list(kinds), len(kinds))
    return [(EDGE_S + part * (number + chance.random()), dealt[number]) for number in range(faults)]


def resume_s(recording: Recording, at_s: float) -> float | None:
    """Seconds without text: from the fault, or from the last message of a worker that still sent some, until the next
    connection brings text or reports that all audio is processed. None where that did not happen.
    """
    lost = next((t for t, _ in recording.losses if t >= at_s), None)
    if lost is None:
        return None
    silent = max([at_s, *(t for t, _ in recording.events if t <= lost)])
    for t, event in recording.events:
        text = event["type"] in {"partial", "committed"} and event["text"]
        nothing_to_say = event["type"] == "progress" and event["lag_s"] == 0
        if t > lost and (text or nothing_to_say or event["type"] == "done"):
            return t - silent
    return None


class FaultInjector:
    """Carries out the planned faults while a stream is played."""

    def __init__(self, server: Server, proxy: Proxy) -> None:
        self._server = server
        self._proxy = proxy
        self.done: list[tuple[str, float]] = []
        """The kind of each fault and its time on the event loop's clock."""

    async def follow(self, planned: Sequence[tuple[float, str]], began: float, pace: float) -> None:
        loop = asyncio.get_running_loop()
        for at_s, kind in planned:
            await asyncio.sleep(max(0.0, began + at_s / pace - loop.time()))
            # Before the server has recovered from the previous fault, the cost of this one could not be told from it.
            await self._until_recovered()
            if await self._inject(kind):
                self.done.append((kind, loop.time()))

    async def _until_recovered(self) -> None:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + WARM_WITHIN_S
        while loop.time() < give_up:
            if self._serving() is not None and await asyncio.to_thread(self._ready_workers) >= 2:
                return
            await asyncio.sleep(0.1)

    def _ready_workers(self) -> int:
        try:
            return self._server.ready_workers()
        except OSError:
            return 0

    def _serving(self) -> psutil.Process | None:
        return self._server.worker_of(self._proxy.links[-1].server_port) if self._proxy.links else None

    async def _inject(self, kind: str) -> bool:
        worker = self._serving()
        match kind:
            case "cut":
                self._proxy.cut()
            case "silence":
                self._proxy.silence()
            case "hup":
                psutil.Process(self._server.pid).send_signal(signal.SIGHUP)
            case _ if worker is None:
                return False
            case "kill":
                worker.kill()
            case "term":
                worker.terminate()
            case _:
                raise ValueError(f"kind of fault is {kind!r}, expected one of {', '.join(KINDS)}, silence")
        return True


async def run_with_faults(
    server: Server,
    sound: Sound,
    planned: Sequence[tuple[float, str]],
    *,
    pace: float,
    start: Mapping[str, Any] = RUSSIAN,
    run: int = 0,
    ping_s: float = PING_S,
) -> tuple[Recording, list[Fault]]:
    """Play one stream with the planned faults, and return its recording and the faults that were carried out.

    ``start``: fields of the protocol's ``start``.
    """
    async with proxy_to(int(server.url.rsplit(":", 1)[1])) as proxy:
        injector = FaultInjector(server, proxy)
        began = asyncio.get_running_loop().time()
        injecting = asyncio.create_task(injector.follow(planned, began, pace))
        try:
            recording = await play(
                f"ws://127.0.0.1:{proxy.port}/ws",
                Native(sound.rate, **start),
                sound,
                pace=pace,
                reconnections=10 * len(planned) + 10,
                outage_s=60,
                ping_s=ping_s,
            )
        finally:
            injecting.cancel()
            await asyncio.gather(injecting, return_exceptions=True)
    faults = []
    for kind, moment in injector.done:
        at_s = moment - recording.began
        faults.append(Fault(run, kind, round(at_s, 3), resume_s(recording, at_s)))
    return recording, faults


async def undisturbed(
    server: Server, sound: Sound, *, pace: float, start: Mapping[str, Any], runs: int
) -> list[Recording]:
    """Play the same stream without faults ``runs`` times, one after the other."""
    return [await play(server.ws_url, Native(sound.rate, **start), sound, pace=pace) for _ in range(runs)]


def summarise(
    recordings: Sequence[Recording], faults: Sequence[Fault], originals: Sequence[Recording], words: list[TimedWord]
) -> dict[str, Any]:
    """The figures in the form in which ``main`` prints them."""
    texts = [recording.refined for recording in originals]
    found = [difference(one.refined, nearest(one.refined, texts)) for one in recordings]
    between = [difference(one, other) for one, other in itertools.permutations(texts, 2)]
    resumed = [fault.resume_s for fault in faults if fault.resume_s is not None]
    return {
        "runs": len(recordings),
        "faults": len(faults),
        "lost": sum(one.lost for one in found),
        "doubled": sum(one.doubled for one in found),
        "changed": sum(one.changed for one in found),
        "retracted": sum(count_retracted(recording.snapshots) for recording in recordings),
        "gap_s": round(sum(gap["end"] - gap["start"] for one in recordings for gap in one.of_type("gap")), 3),
        "resume_p50_s": _rounded(percentile(resumed, 0.5)),
        "resume_max_s": _rounded(max(resumed, default=None)),
        "words": sum(len(spell_numbers(normalise(recording.committed))) for recording in recordings),
        "wer": [_rounded(score(recording.snapshots, words).wer) for recording in recordings],
        "uninterrupted": {
            "runs": len(originals),
            "lost": max((one.lost for one in between), default=0),
            "doubled": max((one.doubled for one in between), default=0),
            "changed": max((one.changed for one in between), default=0),
            "wer": [_rounded(score(recording.snapshots, words).wer) for recording in originals],
        },
        "changes_between_them": [changes(one, other) for one, other in itertools.combinations(texts, 2)],
        "kinds": {
            kind: _of_kind([fault for fault in faults if fault.kind == kind])
            for kind in sorted({fault.kind for fault in faults})
        },
        "differences": [changes(one.refined, nearest(one.refined, texts)) for one in recordings],
        "each": [asdict(fault) | {"resume_s": _rounded(fault.resume_s)} for fault in faults],
    }


def _of_kind(faults: Sequence[Fault]) -> dict[str, Any]:
    resumed = [fault.resume_s for fault in faults if fault.resume_s is not None]
    return {
        "faults": len(faults),
        "resume_p50_s": _rounded(percentile(resumed, 0.5)),
        "resume_max_s": _rounded(max(resumed, default=None)),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def cut_to(sound: Sound, words: list[TimedWord], seconds: float | None) -> tuple[Sound, list[TimedWord]]:
    """The first seconds of the audio, and the words that end in them."""
    if seconds is None:
        return sound, words
    samples = sound.samples[: round(seconds * sound.rate)]
    return Sound(samples, sound.rate), [word for word in words if word.end_s <= seconds]


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Start a server and run the whole measurement."""
    sound, words = cut_to(read_sound(options.audio), read_reference(options.reference), options.cut)
    chance = random.Random(options.seed)
    with running_server(2, WLK_CPU_THREADS="1", WLK_GUNICORN_MAX_REQUESTS="0") as server:
        start = {"language": options.language, "commit": options.commit, "refine": options.refine}
        originals = await undisturbed(server, sound, pace=options.pace, start=start, runs=options.uninterrupted)
        recordings, faults = [], []
        for run in range(options.runs):
            planned = plan(chance, sound.seconds, options.faults, options.kinds)
            recording, happened = await run_with_faults(server, sound, planned, pace=options.pace, start=start, run=run)
            recordings.append(recording)
            faults += happened
            print(f"run {run}: {', '.join(fault.kind for fault in happened)}", file=sys.stderr, flush=True)
    return summarise(recordings, faults, originals, words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--uninterrupted", type=int, default=2, help="runs without faults, for comparison")
    parser.add_argument("--faults", type=int, default=4, help="faults in each run")
    parser.add_argument("--kinds", default=",".join(KINDS), type=lambda names: names.split(","))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--reference", type=Path, help="default: the audio's name with .json")
    parser.add_argument("--cut", type=float, help="use only the first seconds")
    parser.add_argument("--pace", type=float, default=1.0, help="times real time")
    parser.add_argument("--language", default="ru")
    parser.add_argument("--commit", choices=["words", "utterance"], default="words")
    parser.add_argument("--refine", action="store_true", help="ask for refined text, and compare it")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    options = parser.parse_args()
    options.reference = options.reference or options.audio.with_suffix(".json")
    figures = asyncio.run(measure(options))
    if options.json:
        print(json.dumps(figures, ensure_ascii=False))
        return
    for name, value in figures.items():
        if not isinstance(value, dict | list):
            print(f"{name:15}{value if value is not None else '-':>10}")
    print(f"uninterrupted: {figures['uninterrupted']}")
    for kind, part in figures["kinds"].items():
        print(f"{kind}: {part}")


if __name__ == "__main__":
    main()
