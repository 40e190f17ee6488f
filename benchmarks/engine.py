"""Compares decode and commit policies without a socket, on a simulated clock that counts compute time.

    python -m benchmarks.engine --stream A.flac=A.json [...] [--set step_s=0.5,0.75 --set frame_threshold=15,25]
    python -m benchmarks.engine --group 'read=speech/read_*.flac' --group 'phone=speech/phone/*.flac' --decode-s 0.16

On the simulated clock, audio arrives in 40 ms chunks at exactly 1x. A decode that starts at t ends at t plus the CPU
time that it really took. So a stream behaves as on a machine with one free core, and takes a fraction of the time;
paragraphs, with ``--refine``, are decoded by another core. With
``--decode-s`` every decode takes that long on the clock, so that two runs with the same settings give the same figures,
whatever else the machine does.

Every combination of ``--set`` values is one row of the table. The settings are fields of SessionConfig and module
constants of the engine and the core (``whisper.PADDING_S``). Latencies are in seconds, WER in errors per reference
word, ``CPU/s`` in CPU seconds of decoding per second of audio. With ``--group`` a table of the groups follows (see
``benchmarks.groups``). ``--commit`` and ``--refine`` are options of the stream, as in the protocol. With them, further
columns give the time from the last word of an utterance to its text, and the word error rate of the refined text with
the time from the end of a paragraph to that text. The groups are then scored with the refined text.
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
from numpy.typing import NDArray

from benchmarks.groups import group_rows, table
from benchmarks.scoring import Snapshot, TimedWord, count_errors, last_word_latencies, percentile, score
from benchmarks.speech import Speech, add_group_option, read_groups, read_recording, read_samples
from whisperlivekit.core import commit, gate, history, paragraph, refine, session, utterance
from whisperlivekit.core.commands import Start
from whisperlivekit.core.events import Committed, Done, Event, Partial, Refined, UtteranceEnded
from whisperlivekit.core.hypothesis import Hypothesis, Word
from whisperlivekit.core.session import Session, SessionConfig
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.engine import memory, silero, whisper
from whisperlivekit.engine.models import find_silero
from whisperlivekit.engine.whisper import EngineConfig, WhisperModel

CHUNK = 640
DEFAULTS = Start()
EXTRA = ("final_p50_s", "final_p95_s", "wer_refined", "refine_p50_s", "refine_p95_s")
"""Figures that only some options have."""
MODULES: dict[str, Any] = {
    "whisper": whisper, "session": session, "gate": gate, "commit": commit, "paragraph": paragraph, "refine": refine,
    "utterance": utterance, "history": history,
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Stream:
    """A recording with its speech probabilities and reference words."""

    name: str
    samples: NDArray[np.float32]
    speech: NDArray[np.float32]
    """Speech probability of each window of 512 samples, computed once for all runs."""
    words: tuple[TimedWord, ...]


@dataclasses.dataclass(slots=True)
class Transcript:
    """The text that a client sees, with the times of its changes."""

    committed: str = ""
    partial: str = ""
    snapshots: list[Snapshot] = dataclasses.field(default_factory=list)
    refined: str = ""
    """With what was refined in place of committed text."""
    late_s: list[float] = dataclasses.field(default_factory=list)
    """For each paragraph the time from its end to its refined text."""
    _unrefined: list[Word] = dataclasses.field(default_factory=list)

    def apply(self, events: list[Event], now: float) -> None:
        for event in events:
            match event:
                case Committed(words):
                    self.committed, self.partial = self.committed + event.text, ""
                    self._unrefined += words
                case Refined(end=end, replaces=replaces):
                    del self._unrefined[:replaces]
                    self.refined += event.text
                    self.late_s.append(now - end / SAMPLE_RATE)
                case Done():
                    self.refined += "".join(word.text for word in self._unrefined)
                case Partial(text):
                    self.partial = text
                case UtteranceEnded():
                    self.partial = ""
                case _:
                    continue
        if events:
            self.snapshots.append(Snapshot(now, self.committed, self.partial))


def play(
    stream: Stream,
    model: WhisperModel,
    config: SessionConfig,
    decode_s: float | None = None,
    start: Start = DEFAULTS,
) -> tuple[Transcript, float, int]:
    """Play a stream to its end.

    ``decode_s``: duration of each decode on the simulated clock, instead of its CPU time. ``start``: the stream's
    options.

    Returns:
        The transcript with its times, the CPU seconds of all decodes, and the number of decodes.
    """
    core = Session(config, start)
    transcript = Transcript()
    cpu = 0.0
    decodes = 0
    answers: list[tuple[float, Hypothesis]] = []
    """The decodes in flight, at most one live and one of a paragraph, with the times at which they end."""
    judged = 0

    def decode(now: float) -> None:
        nonlocal cpu, decodes
        while (request := core.next_decode()) is not None:
            began = time.process_time()
            (hypothesis,) = model.decode([request])
            took = time.process_time() - began
            cpu += took
            decodes += 1
            answers.append((now + (took if decode_s is None else decode_s), hypothesis))
            answers.sort(key=lambda answer: answer[0])

    position = 0
    while not core.finished:
        arrival = (position + CHUNK) / SAMPLE_RATE if position < len(stream.samples) else float("inf")
        if answers and answers[0][0] <= arrival:
            now, hypothesis = answers.pop(0)
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
            raise RuntimeError("the session is not finished, but no audio and no decode is pending")
        transcript.apply(core.events(), now)
        decode(now)
    return transcript, cpu, decodes


def stream_of(recording: Speech, vad: silero.SileroModel) -> Stream:
    """Read a recording's audio and compute its speech probabilities."""
    samples = read_samples(recording.audio)
    speech = asyncio.run(silero.SileroDetector(vad).feed(samples))
    return Stream(recording.name, samples, speech, recording.words)


def combinations(settings: list[str]) -> Iterator[dict[str, Any]]:
    """Every combination of the values of ``NAME=VALUE[,VALUE...]``; values are JSON."""
    names = [setting.partition("=")[0] for setting in settings]
    values = [[json.loads(value) for value in setting.partition("=")[2].split(",")] for setting in settings]
    for combination in itertools.product(*values):
        yield dict(zip(names, combination, strict=True))


def run(
    streams: list[Stream],
    model: WhisperModel,
    chosen: dict[str, Any],
    decode_s: float | None = None,
    start: Start = DEFAULTS,
) -> dict[str, Any]:
    """One row of the table: the means over the streams with the chosen settings and the stream's options in ``start``.

    Raises:
        SystemExit: a chosen setting does not exist.
    """
    fields = {field.name for field in dataclasses.fields(SessionConfig)}
    for name, value in chosen.items():
        module, _, constant = name.partition(".")
        if module in MODULES:
            if not hasattr(MODULES[module], constant):
                raise SystemExit(f"--set has {name}, expected a constant of {module}")
            setattr(MODULES[module], constant, value)
        elif name not in fields:
            raise SystemExit(f"--set has {name}, expected one of {sorted(fields)} or MODULE.CONSTANT")
    config = SessionConfig(**{name: value for name, value in chosen.items() if name in fields})
    rows = []
    for stream in streams:
        transcript, cpu, decodes = play(stream, model, config, decode_s, start)
        result = score(transcript.snapshots, stream.words)
        seconds = len(stream.samples) / SAMPLE_RATE
        row = {**dataclasses.asdict(result), "cpu": cpu / seconds, "decodes": decodes / seconds}
        row |= dict(_of_option(transcript, stream.words, start))
        rows.append({"stream": stream.name, **row, "text": transcript.refined})
    keys = ["wer", "commit_p50_s", "commit_p95_s", "partial_p50_s", "partial_p95_s", "retracted", "cpu", "decodes"]
    keys += [key for key in EXTRA if all(key in row for row in rows)]
    means = {key: statistics.fmean(row[key] or 0 for row in rows) for key in keys}
    return {"set": chosen, **means, "streams": rows}


def _of_option(
    transcript: Transcript, reference: tuple[TimedWord, ...], start: Start
) -> Iterator[tuple[str, float | None]]:
    """The figures that the stream's options add."""
    if start.commit == "utterance":
        latencies = last_word_latencies(transcript.snapshots, reference)
        yield "final_p50_s", percentile(latencies, 0.5)
        yield "final_p95_s", percentile(latencies, 0.95)
    if start.refine:
        yield "wer_refined", count_errors([word.text for word in reference], transcript.refined).wer
        yield "refine_p50_s", percentile(transcript.late_s, 0.5)
        yield "refine_p95_s", percentile(transcript.late_s, 0.95)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/whisper/base"))
    parser.add_argument("--threads", type=int, default=1, help="of one decode")
    parser.add_argument("--beams", type=int, default=3, help="as WLK_BEAMS")
    parser.add_argument("--stream", action="append", default=[], metavar="AUDIO[=REFERENCE]")
    add_group_option(parser)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE[,VALUE...]")
    parser.add_argument("--commit", choices=["words", "utterance"], default="words")
    parser.add_argument("--refine", action="store_true", help="ask for refined text")
    parser.add_argument("--decode-s", type=float, help="duration of a decode on the clock; default: its CPU time")
    parser.add_argument("--text", action="store_true", help="print the transcripts too")
    parser.add_argument("--json", type=Path, help="write all results here")
    parser.add_argument("--plot", type=Path, help="draw WER over commit latency, one point a row, into this SVG or PNG")
    parser.add_argument("--results", type=Path, help="measure nothing, and draw these results of an earlier --json")
    arguments = parser.parse_args()
    if arguments.results:
        if not arguments.plot:
            parser.error("expected --plot with --results")
        plot(json.loads(arguments.results.read_text()), arguments.plot)
        return
    recordings = []
    for pair in arguments.stream:
        audio, _, reference = pair.partition("=")
        recordings.append(read_recording(Path(audio), "", Path(reference) if reference else None))
    recordings += read_groups(arguments.group)
    if not recordings:
        parser.error("expected at least one --stream or --group")
    memory.limit()
    vad = silero.SileroModel(find_silero(Path("models")))
    streams = [stream_of(recording, vad) for recording in recordings]
    config = EngineConfig(arguments.model, "cpu", threads=arguments.threads, beams=arguments.beams)
    model = WhisperModel(config)
    results = []
    extra = (["final p50 | p95"] if arguments.commit == "utterance" else []) + (
        ["refined WER | late p50 | p95"] if arguments.refine else []
    )
    print(" | ".join(["  WER ", "commit p50/p95 | partial p50/p95 | retr | CPU/s | decodes/s", *extra, "settings"]))
    for chosen in combinations(arguments.set):
        start = Start(commit=arguments.commit, refine=arguments.refine)
        result = run(streams, model, chosen, arguments.decode_s, start)
        texts = zip(recordings, (row["text"] for row in result["streams"]), strict=True)
        groups = group_rows((recording, text) for recording, text in texts if recording.group)
        result["groups"] = [row.rounded() for row in groups]
        results.append(result)
        for row in [result] if len(streams) == 1 else [*result["streams"], result]:
            print(
                f"{row['wer']:6.3f} | {row['commit_p50_s']:5.2f} / {row['commit_p95_s']:5.2f} | "
                f"{row['partial_p50_s']:5.2f} / {row['partial_p95_s']:6.2f} | {row['retracted']:4.0f} | "
                f"{row['cpu']:5.3f} | {row['decodes']:5.2f} | "
                + "".join(f"{row[key]:6.3f} | " for key in EXTRA if row.get(key) is not None)
                + f"{row.get('stream', '')} {chosen}",
                flush=True,
            )
        if arguments.text:
            for row in result["streams"]:
                print(row["stream"], row["text"])
        if groups:
            print(f"\n{table(groups)}\n", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, ensure_ascii=False, indent=1))
    if arguments.plot:
        plot(results, arguments.plot)


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Draw WER over commit latency: a point for each row, whose area is the CPU time per second of audio."""
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
