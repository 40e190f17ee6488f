"""Measures what batching gains on a device: the stages of a decode by batch size, and whole sessions.

    python -m benchmarks.batch --threads 1,2 --batch 1,2,4,8                  # stages
    python -m benchmarks.batch --threads 1,2 --batch 1,4,8 --sessions 4,8     # sessions too
    python -m benchmarks.batch --device cuda --compute-type float16 --model models/whisper/small --batch 1,4,8,16,32

The requests are those that a session makes for the stream, so windows and prefixes have realistic lengths.

Stages: milliseconds per item in encode, generate and align, and items per second of all three together.

Sessions: N sessions with staggered starts share the model on a simulated clock, as in a worker. A batch that starts at
t ends at t plus the time that it really took. The speech detector and the sockets are left out; ``benchmarks.load``
includes them.

Times are wall time. With ``--cpu-time`` they are CPU time of the process, which other work on the machine disturbs
less. That is meaningful for one thread on a CPU only.
"""

import argparse
import asyncio
import heapq
import itertools
import json
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine import Stream, Transcript, play
from benchmarks.scoring import score
from benchmarks.speech import read_speech
from whisperlivekit.core.commands import Start
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis
from whisperlivekit.core.session import Session, SessionConfig
from whisperlivekit.core.units import SAMPLE_RATE, WINDOW
from whisperlivekit.engine import silero
from whisperlivekit.engine.models import find_silero
from whisperlivekit.engine.schedule import Waiting, next_batch
from whisperlivekit.engine.whisper import EngineConfig, WhisperModel

CHUNK = 640

STAGES = ("encode", "generate", "align")


class TimedModel(WhisperModel):
    """A model that adds up the time of each stage and keeps the requests that it got."""

    def __init__(self, config: EngineConfig) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.asked: list[DecodeRequest] = []
        self.clock: Callable[[], float] = time.perf_counter
        super().__init__(config)

    def decode(self, requests: Sequence[DecodeRequest]) -> list[Hypothesis]:
        self.asked += requests
        return super().decode(requests)

    def _encode(self, audio: Sequence[NDArray[np.float32]]) -> Any:
        with self._clocked("encode"):
            return super()._encode(audio)

    def _generate(self, *arguments: Any) -> Any:
        with self._clocked("generate"):
            return super()._generate(*arguments)

    def _align(self, *arguments: Any) -> Any:
        with self._clocked("align"):
            return super()._align(*arguments)

    @contextmanager
    def _clocked(self, stage: str) -> Iterator[None]:
        began = self.clock()
        try:
            yield
        finally:
            self.spent[stage] += self.clock() - began


def measure_stages(model: TimedModel, requests: Sequence[DecodeRequest], batch: int, rounds: int) -> dict[str, float]:
    """Milliseconds per item in each stage, and items per second, over ``rounds`` batches of random requests."""
    chance = random.Random(batch)
    drawn = [chance.choices(requests, k=batch) for _ in range(rounds + 1)]
    model.decode(drawn[0])
    model.spent.clear()
    began = model.clock()
    for members in drawn[1:]:
        model.decode(members)
    took = model.clock() - began
    items = rounds * batch
    return {**{f"{stage}_ms": 1000 * model.spent[stage] / items for stage in STAGES}, "items_per_s": items / took}


@dataclass(slots=True)
class _SimulatedSession:
    """One simulated session and its stream."""

    core: Session
    stream: Stream
    begins: float
    transcript: Transcript = field(default_factory=Transcript)
    position: int = 0
    judged: int = 0

    def receive_chunk(self) -> float | None:
        """Receive the next chunk.

        Returns:
            The time of the chunk after it on the simulated clock, or None at the end of the stream.
        """
        samples = self.stream.samples
        self.core.receive_audio(samples[self.position : self.position + CHUNK])
        self.position = min(self.position + CHUNK, len(samples))
        windows = self.position // WINDOW
        self.core.receive_speech(self.stream.speech[self.judged : windows])
        self.judged = windows
        if self.position == len(samples):
            self.core.receive_stop()
            return None
        return self.begins + min(self.position + CHUNK, len(samples)) / SAMPLE_RATE


@dataclass(slots=True)
class Load:
    """The result of a simulation."""

    sessions: list[_SimulatedSession]
    busy_s: float = 0.0
    batches: int = 0
    requests: int = 0


def simulate(model: TimedModel, stream: Stream, config: SessionConfig, sessions: int, max_batch: int) -> Load:
    """Run sessions that share one model, on a clock on which only the audio and the model take time."""
    load = Load(
        [_SimulatedSession(Session(config, Start()), stream, number * 0.7 + number / 17) for number in range(sessions)]
    )
    arrivals = [(session.begins + CHUNK / SAMPLE_RATE, number) for number, session in enumerate(load.sessions)]
    heapq.heapify(arrivals)
    waiting: list[tuple[Waiting, _SimulatedSession]] = []
    count = itertools.count()
    now = 0.0

    def react(session: _SimulatedSession) -> None:
        session.transcript.apply(session.core.events(), now - session.begins)
        if (request := session.core.next_decode()) is not None:
            waiting.append((Waiting(request, next(count)), session))

    def receive_until(limit: float) -> None:
        nonlocal now
        while arrivals and arrivals[0][0] <= limit:
            now, number = heapq.heappop(arrivals)
            session = load.sessions[number]
            if (due := session.receive_chunk()) is not None:
                heapq.heappush(arrivals, (due, number))
            react(session)

    while True:
        if not waiting:
            if not arrivals:
                return load
            receive_until(arrivals[0][0])
            continue
        chosen = next_batch([entry for entry, _ in waiting], max_batch)
        batch = [(entry, session) for entry, session in waiting if entry in chosen]
        waiting = [(entry, session) for entry, session in waiting if entry not in chosen]
        began = model.clock()
        answers = model.decode([entry.request for entry, _ in batch])
        took = model.clock() - began
        load.busy_s += took
        load.batches += 1
        load.requests += len(batch)
        ready = now + took
        receive_until(ready)
        now = ready
        for (_, session), answer in zip(batch, answers, strict=True):
            session.core.receive_hypothesis(answer)
            react(session)


def summarise(load: Load) -> dict[str, float]:
    """The worst latencies and error rates of the sessions, and how the model was used."""
    scores = [score(session.transcript.snapshots, session.stream.words) for session in load.sessions]
    seconds = max(session.begins for session in load.sessions) + len(load.sessions[0].stream.samples) / SAMPLE_RATE
    return {
        "wer": statistics.fmean(one.wer for one in scores),
        "worst_wer": max(one.wer for one in scores),
        "commit_p50_s": max(one.commit_p50_s or 0.0 for one in scores),
        "commit_p95_s": max(one.commit_p95_s or 0.0 for one in scores),
        "partial_p50_s": max(one.partial_p50_s or 0.0 for one in scores),
        "busy": load.busy_s / seconds,
        "batch": load.requests / load.batches,
        "decodes_per_s": load.requests / seconds,
    }


def load_stream(audio: Path, seconds: float) -> Stream:
    """The beginning of a recording with its speech probabilities.

    Raises:
        SystemExit: the audio is not at 16 kHz.
    """
    sound, words = read_speech(audio, seconds)
    if sound.rate != SAMPLE_RATE:
        raise SystemExit(f"{audio} has {sound.rate} Hz, expected {SAMPLE_RATE} Hz")
    samples = sound.samples.astype(np.float32) / np.float32(32768)
    detector = silero.SileroModel(find_silero(Path("models")))
    speech = asyncio.run(silero.SileroDetector(detector).feed(samples))
    detector.close()
    return Stream(audio.stem, samples, speech, tuple(words))


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/whisper/base"))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--audio", type=Path, default=Path("benchmarks/material/long.flac"))
    parser.add_argument("--seconds", type=float, default=60.0, help="of the audio")
    parser.add_argument("--threads", type=numbers, default=[1])
    parser.add_argument("--batch", type=numbers, default=[1, 2, 4, 8])
    parser.add_argument("--items", type=int, default=32, help="decodes for each batch size; 0: do not measure stages")
    parser.add_argument("--sessions", type=numbers, default=[], help="also simulate these numbers of sessions")
    parser.add_argument("--step-s", type=float, default=SessionConfig().step_s)
    parser.add_argument("--cpu-time", action="store_true", help="measure CPU time instead of wall time")
    parser.add_argument("--json", type=Path, help="write all results here")
    options = parser.parse_args()
    if options.device == "cuda":
        from whisperlivekit.engine.cuda import load_cublas

        load_cublas()
    stream = load_stream(options.audio, options.seconds)
    config = SessionConfig(step_s=options.step_s)
    rows: list[dict[str, Any]] = []
    for threads in options.threads:
        model = TimedModel(EngineConfig(options.model, options.device, 0, options.compute_type, threads=threads))
        if options.cpu_time:
            model.clock = time.process_time
        play(stream, model, config)
        asked = list(model.asked)
        for final in (False, True) if options.items else ():
            requests = [request for request in asked if request.final is final]
            length = statistics.median(len(request.samples) + len(request.context) for request in requests)
            print(f"\n{threads} threads, {'final' if final else 'partial'} decodes of {length / SAMPLE_RATE:.1f} s")
            print("batch | encode | generate | align ms per item | items/s")
            for batch in options.batch:
                row = measure_stages(model, requests, batch, max(4, options.items // batch))
                rows.append({"threads": threads, "final": final, "max_batch": batch, **row})
                print(
                    f"{batch:5} | {row['encode_ms']:6.1f} | {row['generate_ms']:8.1f} | {row['align_ms']:16.1f} | "
                    f"{row['items_per_s']:6.2f}",
                    flush=True,
                )
        for sessions in options.sessions:
            if sessions == options.sessions[0]:
                print(f"\n{threads} threads: sessions")
                print("  N | max batch | mean | decodes/s | busy | WER mean/worst | commit p50/p95 | partial p50")
            for batch in options.batch:
                row = summarise(simulate(model, stream, config, sessions, batch))
                rows.append({"threads": threads, "sessions": sessions, "max_batch": batch, **row})
                print(
                    f"{sessions:3} | {batch:9} | {row['batch']:4.1f} | {row['decodes_per_s']:9.2f} | "
                    f"{row['busy']:4.2f} | {row['wer']:.3f} / {row['worst_wer']:.3f}  | "
                    f"{row['commit_p50_s']:5.2f} / {row['commit_p95_s']:5.2f}  | {row['partial_p50_s']:5.2f}",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
