"""Compare decode and commit policies without a socket, on a simulated clock that counts compute time.

``python -m benchmarks.engine --stream A.flac=A.json [...] [--set step_s=0.5,0.75 --set frame_threshold=15,25]``

Audio arrives in 40 ms chunks at exactly 1x. A decode that starts at t ends at t plus the CPU time that it really
took, so one stream plays as it would on a machine with one core to spare, in a fraction of the time. With
``--decode-s`` every decode takes that long instead: two runs of the same settings are then the same, whatever else
the machine does. Every combination of ``--set`` values is one row of the table; fields of SessionConfig and module
constants of the engine and the core (``whisper.PADDING_S``) can be set.
"""

import argparse
import asyncio
import dataclasses
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from benchmarks.scoring import Snapshot, TimedWord, score
from whisperlivekit.core import commit, gate, session
from whisperlivekit.core.commands import Start
from whisperlivekit.core.events import Committed, Event, Partial, UtteranceEnded
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis
from whisperlivekit.core.session import Session, SessionConfig
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.engine import memory, silero, whisper
from whisperlivekit.engine.whisper import EngineConfig, WhisperModel

CHUNK = 640
MODULES: dict[str, Any] = {"whisper": whisper, "session": session, "gate": gate, "commit": commit}


@dataclasses.dataclass(frozen=True, slots=True)
class Stream:
    """One recording with its reference."""

    name: str
    samples: NDArray[np.float32]
    speech: NDArray[np.float32]
    """Speech probability of each window, computed once for all runs."""
    words: tuple[TimedWord, ...]


@dataclasses.dataclass(slots=True)
class Transcript:
    """What a client sees, with the moments."""

    committed: str = ""
    partial: str = ""
    snapshots: list[Snapshot] = dataclasses.field(default_factory=list)

    def apply(self, events: list[Event], now: float) -> None:
        for event in events:
            match event:
                case Committed():
                    self.committed, self.partial = self.committed + event.text, ""
                case Partial(text):
                    self.partial = text
                case UtteranceEnded():
                    self.partial = ""
                case _:
                    continue
        if events:
            self.snapshots.append(Snapshot(now, self.committed, self.partial))


def play(
    stream: Stream, model: WhisperModel, config: SessionConfig, decode_s: float | None = None
) -> tuple[Transcript, float, int]:
    """The transcript in time, the CPU seconds of decoding, and the number of decodes.

    ``decode_s``: what each decode takes on the simulated clock instead of its CPU time.
    """
    core = Session(config, Start())
    transcript = Transcript()
    cpu = 0.0
    decodes = 0
    answer: tuple[float, Hypothesis] | None = None
    judged = 0

    def decode(now: float) -> tuple[float, Hypothesis] | None:
        nonlocal cpu, decodes
        request: DecodeRequest | None = core.next_decode()
        if request is None:
            return None
        began = time.process_time()
        (hypothesis,) = model.decode([request])
        took = time.process_time() - began
        cpu += took
        decodes += 1
        return now + (took if decode_s is None else decode_s), hypothesis

    position = 0
    while not core.finished:
        arrival = (position + CHUNK) / SAMPLE_RATE if position < len(stream.samples) else float("inf")
        if answer is not None and answer[0] <= arrival:
            now, hypothesis = answer
            core.receive_hypothesis(hypothesis)
        elif position < len(stream.samples):
            now = arrival
            core.receive_audio(stream.samples[position : position + CHUNK])
            position = min(position + CHUNK, len(stream.samples))
            windows = position // 512
            core.receive_speech(stream.speech[judged:windows])
            judged = windows
            if position == len(stream.samples):
                core.receive_stop()
        else:
            raise RuntimeError("the session waits for nothing")
        if answer is not None and answer[0] <= now:
            answer = None
        transcript.apply(core.events(), now)
        if answer is None:
            answer = decode(now)
    return transcript, cpu, decodes


def load_stream(name: str, audio: Path, reference: Path, vad: silero.SileroModel) -> Stream:
    """A stream with its speech probabilities.

    Raises:
        SystemExit: the audio is not at 16 kHz.
    """
    samples, rate = soundfile.read(audio, dtype="float32")
    if rate != SAMPLE_RATE:
        raise SystemExit(f"{audio} has {rate} Hz, expected {SAMPLE_RATE}")
    words = json.loads(reference.read_text())
    words = words["words"] if isinstance(words, dict) else words
    speech = asyncio.run(silero.SileroDetector(vad).feed(samples))
    return Stream(name, samples, speech, tuple(TimedWord(text, end) for text, end in words))


def combinations(settings: list[str]) -> Iterator[dict[str, Any]]:
    names = [setting.partition("=")[0] for setting in settings]
    values = [[json.loads(value) for value in setting.partition("=")[2].split(",")] for setting in settings]
    for combination in itertools.product(*values):
        yield dict(zip(names, combination, strict=True))


def run(
    streams: list[Stream], model: WhisperModel, chosen: dict[str, Any], decode_s: float | None = None
) -> dict[str, Any]:
    """One row: the mean over the streams."""
    fields = {field.name for field in dataclasses.fields(SessionConfig)}
    for name, value in chosen.items():
        module, _, constant = name.partition(".")
        if module in MODULES:
            if not hasattr(MODULES[module], constant):
                raise SystemExit(f"{name} is not a constant of {module}")
            setattr(MODULES[module], constant, value)
        elif name not in fields:
            raise SystemExit(f"unknown setting {name}: expected one of {sorted(fields)} or MODULE.CONSTANT")
    config = SessionConfig(**{name: value for name, value in chosen.items() if name in fields})
    rows = []
    for stream in streams:
        transcript, cpu, decodes = play(stream, model, config, decode_s)
        result = score(transcript.snapshots, stream.words)
        seconds = len(stream.samples) / SAMPLE_RATE
        row = {**dataclasses.asdict(result), "cpu": cpu / seconds, "decodes": decodes / seconds}
        rows.append({"stream": stream.name, **row, "text": transcript.committed})
    keys = ("wer", "commit_p50_s", "commit_p95_s", "partial_p50_s", "partial_p95_s", "retracted", "cpu", "decodes")
    means = {key: statistics.fmean(row[key] or 0 for row in rows) for key in keys}
    return {"set": chosen, **means, "streams": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, default=Path("models/whisper/base"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--beams", type=int, default=3)
    parser.add_argument("--stream", action="append", default=[], metavar="AUDIO=REFERENCE")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE[,VALUE...]")
    parser.add_argument("--decode-s", type=float, help="what a decode takes on the clock; without it, its CPU time")
    parser.add_argument("--text", action="store_true", help="print the transcripts too")
    parser.add_argument("--json", type=Path, help="write all results here")
    parser.add_argument("--plot", type=Path, help="draw WER over commit latency, one point a row, into this SVG or PNG")
    parser.add_argument("--results", type=Path, help="measure nothing: draw these, as --json wrote them")
    arguments = parser.parse_args()
    if arguments.results:
        if not arguments.plot:
            parser.error("expected --plot with --results")
        plot(json.loads(arguments.results.read_text()), arguments.plot)
        return
    if not arguments.stream:
        parser.error("expected at least one --stream")
    memory.limit()
    vad = silero.SileroModel()
    streams = []
    for pair in arguments.stream:
        audio, _, reference = pair.partition("=")
        path = Path(audio)
        streams.append(load_stream(path.stem, path, Path(reference or path.with_suffix(".json")), vad))
    config = EngineConfig(arguments.model, "cpu", threads=arguments.threads, beams=arguments.beams)
    model = WhisperModel(config)
    results = []
    print("  WER  | commit p50/p95 | partial p50/p95 | retr | CPU/s | decodes/s | settings")
    for chosen in combinations(arguments.set):
        result = run(streams, model, chosen, arguments.decode_s)
        results.append(result)
        for row in [result] if len(streams) == 1 else [*result["streams"], result]:
            print(
                f"{row['wer']:6.3f} | {row['commit_p50_s']:5.2f} / {row['commit_p95_s']:5.2f} | "
                f"{row['partial_p50_s']:5.2f} / {row['partial_p95_s']:6.2f} | {row['retracted']:4.0f} | "
                f"{row['cpu']:5.3f} | {row['decodes']:5.2f} | {row.get('stream', '')} {chosen}",
                flush=True,
            )
        if arguments.text:
            for row in result["streams"]:
                print(row["stream"], row["text"])
    if arguments.json:
        arguments.json.write_text(json.dumps(results, ensure_ascii=False, indent=1))
    if arguments.plot:
        plot(results, arguments.plot)


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """The frontier: each row a point, its area the CPU seconds a second of audio costs."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    names = list(dict.fromkeys(name for result in results for name in result["set"]))
    for result in results:
        values = " / ".join(str(result["set"].get(name, "default")) for name in names) or "defaults"
        axes.scatter(result["commit_p50_s"], 100 * result["wer"], s=800 * result["cpu"], alpha=0.5)
        axes.annotate(
            f"{values} ({result['cpu']:.2f})",
            (result["commit_p50_s"], 100 * result["wer"]),
            fontsize=8,
            xytext=(10, -3),
            textcoords="offset points",
        )
    axes.set_title(f"{' / '.join(names) or 'settings'} (CPU seconds a second of audio)", fontsize=9)
    axes.margins(x=0.3, y=0.1)
    axes.set_xlabel("commit latency, median, s")
    axes.set_ylabel("WER, %")
    axes.grid(alpha=0.3)
    figure.savefig(path)


if __name__ == "__main__":
    main()
