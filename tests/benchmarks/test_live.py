"""The live measurement against a small server in this process: its figures, and the meter of CPU time and memory."""

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from websockets.asyncio.server import ServerConnection, serve

from benchmarks.client import Recording, Sound
from benchmarks.live import Meter, figures, measure, server_on_port
from benchmarks.scoring import Snapshot, TimedWord

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The loop that the client is written for."""
    return "asyncio"


def test_the_meter_counts_the_whole_tree() -> None:
    """CPU time that a child of the process uses is counted, and counted once; the memory of both is added."""
    burn = "import time\nwhile time.process_time() < 0.4: pass\nprint(flush=True)\ninput()"
    parent = f"import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', {burn!r}])\nchild.wait()"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    meter = Meter(process.pid)
    assert process.stdout is not None
    process.stdout.readline()
    meter.look()
    process.communicate("\n", timeout=10)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert 0.35 < meter.cpu_s < total + 0.05
    assert meter.peak_rss_mb > 10


def test_the_meter_does_not_count_what_was_before_it() -> None:
    """Only the sessions are measured, not the start of the server."""
    began = time.process_time()
    assert began > 0.2
    meter = Meter(os.getpid())
    meter.look()
    # The kernel counts in hundredths of a second.
    assert meter.cpu_s <= time.process_time() - began + 0.03


def test_the_server_is_found_by_its_port() -> None:
    """The process that listens on it, and None where no process does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        assert server_on_port(port) is None
        listener.listen()
        assert server_on_port(port) == os.getpid()


def record(path: Path, text: str = "раз два") -> None:
    """A recording of 0.5 s with a word every 0.2 s."""
    soundfile.write(path, np.zeros(8000, np.int16), 16_000, subtype="PCM_16")
    words = [[word, 0.2 * number] for number, word in enumerate(text.split(), start=1)]
    path.with_suffix(".json").write_text(json.dumps(words), encoding="utf-8")


@asynccontextmanager
async def recogniser(texts: list[str], on_audio: Callable[[], None] = lambda: None) -> AsyncIterator[str]:
    """A server that answers each session, from the last text to the first; ``on_audio`` is called when one starts."""

    async def handler(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(json.dumps({"type": "ready", "session": "s"}))
        on_audio()
        while not isinstance(await connection.recv(), str):
            pass
        await connection.send(json.dumps({"type": "committed", "text": texts.pop(), "words": [], "kept_from": 0}))
        await connection.send(json.dumps({"type": "done"}))

    async with serve(handler, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/ws"


def options(url: str, **more: Any) -> argparse.Namespace:
    """The command line's defaults, with two sessions."""
    defaults: dict[str, Any] = {
        "url": url, "audio": None, "reference": None, "group": [], "sessions": 2, "stagger_s": 0.01,
        "protocol": "native", "language": "ru", "commit": "words", "refine": False, "server_pid": None,
        "snapshots": None,
    }  # fmt: skip
    return argparse.Namespace(**(defaults | more))


async def test_a_run_prints_the_figures_of_all_sessions(tmp_path: Path) -> None:
    """Two sessions, one of which gets a wrong word: the worst and the median differ, and every figure is there."""
    record(tmp_path / "a.wav")
    async with recogniser([" раз два", " раз три"]) as url:
        summary = await measure(options(url, audio=tmp_path / "a.wav", snapshots=tmp_path / "snapshots.jsonl"))
    worst, median = summary["worst"], summary["median"]
    assert set(worst) == set(median) >= {
        "wer", "substitutions", "deletions", "insertions", "commit_p50_s", "commit_p95_s", "partial_p50_s",
        "partial_p95_s", "retracted", "end_lag_s", "cpu_s_per_audio_s", "peak_rss_mb",
    }  # fmt: skip
    assert (worst["wer"], median["wer"], worst["substitutions"]) == (0.5, 0.25, 1)
    # Text is committed after the audio of 0.5 s: 0.3 s after the first word and 0.1 s after the second.
    assert worst["commit_p50_s"] >= 0.2
    assert worst["end_lag_s"] >= 0
    assert worst["peak_rss_mb"] is not None
    assert worst["peak_rss_mb"] > 20
    assert len((tmp_path / "snapshots.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_what_the_options_of_a_stream_add() -> None:
    """By utterance, the time from its last word to its text; refined, the errors and the time of the refined text."""
    words = [{"text": text, "start": 0.0, "end": end} for text, end in (("раз", 0.2), ("тва", 0.4))]
    better = [{**words[0]}, {**words[1], "text": "два"}]
    recording = Recording(
        snapshots=[Snapshot(0.3, "", " раз"), Snapshot(0.9, " раз тва", ""), Snapshot(1.9, " раз тва три", "")],
        events=[
            (0.9, {"type": "committed", "text": " раз тва", "words": words}),
            (1.9, {"type": "committed", "text": " три", "words": [{"text": "три", "start": 1.0, "end": 1.2}]}),
            (3.5, {"type": "refined", "text": " раз два", "words": better, "replaces": 2, "end": 0.5}),
        ],
    )
    reference = [TimedWord("раз", 0.2), TimedWord("два", 0.4), TimedWord("три", 1.2)]
    sound = Sound(np.zeros(16_000, np.int16), 16_000)
    assert recording.refined == " раз два три"
    found = figures(recording, reference, sound, commit="utterance", refine=True)
    assert found["wer"] == pytest.approx(1 / 3)
    assert found["wer_refined"] == 0
    assert found["refine_p50_s"] == 3.0
    # The last word of the first utterance is wrong: it has no latency.
    assert found["final_p50_s"] == found["final_p95_s"] == pytest.approx(0.7)
    plain = figures(recording, reference, sound)
    assert not set(plain) & {"wer_refined", "refine_p50_s", "final_p50_s"}


async def test_each_recording_of_a_group_is_played_once(tmp_path: Path) -> None:
    """Three recordings in two sessions at a time: a row for each group and one for all words."""
    for name in ("read_1", "read_2", "phone"):
        record(tmp_path / f"{name}.wav")
    groups = [f"read={tmp_path}/read_*.wav", f"phone={tmp_path}/phone.wav"]
    started: list[float] = []
    async with recogniser([" раз"] * 3, lambda: started.append(time.monotonic())) as url:
        summary = await measure(options(url, group=groups))
    assert len(started) == 3
    # The third starts when one of the first two has ended, after 0.5 s of audio.
    assert started[2] - started[0] >= 0.5
    rows = [(row.group, row.recordings, row.words, row.wer) for row in summary["groups"]]
    assert rows == [("read", 2, 4, 0.5), ("phone", 1, 2, 0.5), ("all", 3, 6, 0.5)]
    assert summary["worst"]["wer"] == summary["median"]["wer"] == 0.5
