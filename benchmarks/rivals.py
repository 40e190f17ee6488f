r"""Measures this server beside WhisperLive 0.10.0 and WhisperLiveKit 0.2.26: the same recordings, weights and machine.

    python -m benchmarks.rivals --group 'read=speech/read_*.flac' --group 'phone=speech/phone/*.flac' \
        --server this --server whisper-live=rivals/live/bin/python --server whisperlivekit=rivals/kit/bin/python

Each server is started on this machine with the model's int8 weights on the CPU and gets every recording at exactly 1x,
one after the other. Each of the other two has a virtual environment of its own, whose Python is given to ``--server``:

    python3.11 -m venv rivals/live
    rivals/live/bin/pip install torch --index-url https://download.pytorch.org/whl/cpu
    rivals/live/bin/pip install 'faster-whisper==1.2.0' requests websockets fastapi uvicorn python-multipart scipy
    rivals/live/bin/pip install --no-deps whisper-live==0.10.0

    python3.11 -m venv rivals/kit
    rivals/kit/bin/pip install torch --index-url https://download.pytorch.org/whl/cpu
    rivals/kit/bin/pip install 'faster-whisper>=1.2' fastapi uvicorn websockets python-multipart
    rivals/kit/bin/pip install librosa soundfile tiktoken
    rivals/kit/bin/pip install --no-deps whisperlivekit==0.2.26

``--no-deps`` leaves out what these backends do not load, among it PyAudio, OpenVINO and torchaudio. Neither server
needs the network: both get their voice activity detection from a package.

How they are run: WhisperLive with its faster_whisper backend and the options of its own client. WhisperLiveKit with
faster-whisper, LocalAgreement and raw PCM input; its default policy, SimulStreaming, needs PyTorch weights, which are
not the same model files. Everything else has its default. Both use as many threads as CTranslate2 chooses, unless
``--threads`` says otherwise; the script ``run_server.py`` of WhisperLive's repository would set one.

What is measured (times in seconds; see benchmarks/README.md):

- commit: a word is final when the server says so and it does not change afterwards. For WhisperLive these are segments
  that are ``completed``, for WhisperLiveKit ``lines`` without the buffer.
- settled: a word is final from the moment at which it is at its place in every later text, whether or not the server
  calls it final. A reader knows this only afterwards.
- partial: a word is shown at its place for the first time.
- lag: the time from the end of the audio until the server had finished. WhisperLive does not say when it has; there it
  is the last change of the text, and the segment that is then still open counts as final from its last change. Its
  client waits 15 s for a new text and then ends the stream; that wait is in no figure.
- retracted: words that the server had called final and that changed or disappeared later.
- CPU and memory: those of the server's whole process tree, until it has finished.

Latencies are those of all correct words together. WER is over all words of a group.
"""

import argparse
import asyncio
import json
import os
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from benchmarks.client import Native, Recording, Sound, StreamFailed, WhisperLiveKit, play
from benchmarks.groups import group_rows
from benchmarks.live import Meter
from benchmarks.load import machine
from benchmarks.scoring import Errors, Snapshot, count_errors, count_retracted, measure_latencies, percentile
from benchmarks.serving import ROOT, SUPERVISOR, ServerFailed, free_port, running_server
from benchmarks.speech import Speech, add_group_option, cut, read_groups, read_samples
from whisperlivekit.core.units import SAMPLE_RATE

LANGUAGE = "ru"
CHUNK_S = 0.04
"""Length of the audio in one message, for every server."""
QUIET_S = 15.0
"""How long WhisperLive's own client waits for a new text before it ends the stream."""
WARM_UP_S = 5.0
"""Audio that each server gets before the measurement: WhisperLive loads its model for the first client."""

THIS = "this"
LIVE = "whisper-live"
KIT = "whisperlivekit"

_LIVE_PROGRAM = """
import sys
from whisper_live.server import TranscriptionServer
TranscriptionServer().run("127.0.0.1", port=int(sys.argv[1]), backend="faster_whisper",
                          faster_whisper_custom_model_path=sys.argv[2], single_model=True)
"""
"""What ``run_server.py`` of WhisperLive's repository does; its package has no program."""


@dataclass(frozen=True, slots=True)
class Session:
    """One recording as one server recognised it."""

    recording: Recording
    cpu_s: float
    """CPU time of the server from the first audio until it had finished."""


@dataclass(frozen=True, slots=True)
class Rival:
    """A server to measure. ``python``: of its virtual environment; None for this server."""

    name: str
    python: Path | None = None


def read_rival(text: str) -> Rival:
    """``this``, ``whisper-live=PYTHON`` or ``whisperlivekit=PYTHON``.

    Raises:
        argparse.ArgumentTypeError: the text is none of these, or the Python does not exist.
    """
    name, _, python = text.partition("=")
    if name not in {THIS, LIVE, KIT} or (name == THIS) != (not python):
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected {THIS}, {LIVE}=PYTHON or {KIT}=PYTHON, with the Python of its environment"
        )
    if python and not Path(python).is_file():
        raise argparse.ArgumentTypeError(f"{python} does not exist, expected the Python of {name}'s environment")
    # Not resolved: a virtual environment's Python is a link, and its place is what selects the environment.
    return Rival(name, Path(python).absolute() if python else None)


def command_of(rival: Rival, port: int, model: Path) -> list[str]:
    """The command that starts one of the other servers."""
    if rival.name == LIVE:
        return [str(rival.python), "-c", _LIVE_PROGRAM, str(port), str(model)]
    options = ["--host", "127.0.0.1", "--port", str(port), "--model_dir", str(model), "--language", LANGUAGE]
    options += ["--backend", "faster-whisper", "--backend-policy", "localagreement", "--pcm-input"]
    # Without a file to warm up with, it would download one. Its default log level is DEBUG.
    return [str(rival.python), "-m", "whisperlivekit.basic_server", *options, "--warmup-file", "", "-l", "WARNING"]


@contextmanager
def running(command: Sequence[str], port: int, threads: int | None = None, within_s: float = 180.0) -> Iterator[int]:
    """Start a server, wait until it listens on the port, and end its whole process group afterwards.

    ``threads``: of each decode; None leaves it to the server.

    Yields:
        Its process ID.

    Raises:
        ServerFailed: it ended, or does not listen within ``within_s``. The message has the end of its output.
    """
    # benchmarks/__init__.py limits this process to one thread; the server gets its own defaults.
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "output.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", SUPERVISOR, *command],
                cwd=folder,
                env={**environment, "HF_HUB_OFFLINE": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
            )
        assert process.stdin is not None
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        try:
            deadline = time.monotonic() + within_s
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    state = "ended" if process.poll() is not None else f"did not listen within {within_s:g} s"
                    raise ServerFailed(f"the server {state}:\n{log.read_text(errors='replace')[-4000:]}")
                time.sleep(0.2)
            yield pid
        finally:
            # The supervisor ends the group.
            process.stdin.close()
            process.stdout.close()
            process.wait(timeout=30)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class _LiveSession:
    """One stream to WhisperLive, as its client 0.10.0 has it."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.recording = Recording()
        self.ready = False
        self.changed_s = 0.0
        """When the text changed for the last time."""
        self._on_change = on_change
        self._uid = str(uuid.uuid4())
        self._committed: list[str] = []
        self._committed_s = 0.0

    def opening(self) -> str:
        """The options of its client, with the client's defaults."""
        return json.dumps(
            {
                "uid": self._uid, "language": LANGUAGE, "task": "transcribe", "model": "base", "use_vad": True,
                "send_last_n_segments": 10, "no_speech_thresh": 0.45, "clip_audio": False,
                "same_output_threshold": 10, "enable_translation": False, "word_timestamps": False,
                "hotwords": None, "initial_prompt": None, "vad_parameters": None,
            }
        )  # fmt: skip

    def take(self, message: dict[str, Any], now: float) -> None:
        """Process a message from the server.

        Raises:
            StreamFailed: the server is full, or reports an error.
        """
        self.recording.events.append((now, message))
        if message.get("status") in {"WAIT", "ERROR"}:
            raise StreamFailed(message["status"], str(message.get("message")))
        self.ready = self.ready or message.get("message") == "SERVER_READY"
        segments = message.get("segments", [])
        if not segments:
            return
        for segment in segments:
            # The last ten completed segments are sent again each time.
            if segment["completed"] and float(segment["start"]) >= self._committed_s:
                self._committed.append(segment["text"].strip())
                self._committed_s = float(segment["end"])
        open_text = "" if segments[-1]["completed"] else segments[-1]["text"].strip()
        snapshot = Snapshot(now, " ".join(self._committed), f" {open_text}" if open_text else "")
        last = self.recording.snapshots[-1] if self.recording.snapshots else Snapshot(0.0, "", "")
        if (last.committed, last.partial) != (snapshot.committed, snapshot.partial):
            self.recording.snapshots.append(snapshot)
            self.changed_s = now
            self._on_change()

    def close(self, seconds: float) -> Recording:
        """The recording of ``seconds`` of audio. The segment that is still open is final from its last change."""
        self.recording.finished_s = max(seconds, self.changed_s)
        if self.recording.snapshots:
            last = self.recording.snapshots[-1]
            self.recording.snapshots[-1] = replace(last, committed=(last.committed + last.partial).strip(), partial="")
        return self.recording


async def play_live(
    url: str, sound: Sound, *, on_change: Callable[[], None] = lambda: None, quiet_s: float = QUIET_S
) -> Recording:
    """Play the sound to WhisperLive at 1x, wait until the text has not changed for ``quiet_s``, and end the stream.

    The server never says that it has finished. It drops what it has not recognised when the stream ends.

    Raises:
        StreamFailed: the server refused the stream, reported an error, or ended the stream early.
    """
    loop = asyncio.get_running_loop()
    session = _LiveSession(on_change)
    try:
        async with connect(url, max_size=None, compression=None, ping_timeout=None, close_timeout=2) as socket:
            await socket.send(session.opening())
            while not session.ready:
                session.take(json.loads(await asyncio.wait_for(socket.recv(), 120)), 0.0)
            began = session.recording.began = loop.time()

            async def receive() -> None:
                async for text in socket:
                    session.take(json.loads(text), loop.time() - began)

            receiving = asyncio.create_task(receive())
            sending = asyncio.create_task(_send(socket, sound, began))
            try:
                await asyncio.wait({receiving, sending}, return_when=asyncio.FIRST_COMPLETED)
                while not receiving.done():
                    rest_s = began + max(sound.seconds, session.changed_s) + quiet_s - loop.time()
                    if rest_s <= 0:
                        break
                    await asyncio.wait({receiving}, timeout=rest_s)
                if receiving.done():
                    receiving.result()
                    raise StreamFailed("closed", "the server ended the stream before the end")
                sending.result()
                await socket.send(b"END_OF_AUDIO")
            finally:
                receiving.cancel()
                sending.cancel()
                await asyncio.gather(receiving, sending, return_exceptions=True)
    except ConnectionClosed as error:
        raise StreamFailed("closed", f"the connection was lost before the end: {error}") from error
    return session.close(sound.seconds)


async def _send(socket: ClientConnection, sound: Sound, began: float) -> None:
    """Send the sound at 1x, as 32-bit floats. Each chunk has a time of its own, counted from the first one."""
    loop = asyncio.get_running_loop()
    chunk = round(CHUNK_S * sound.rate)
    for at in range(0, len(sound.samples), chunk):
        if (wait_s := began + at / sound.rate - loop.time()) > 0:
            await asyncio.sleep(wait_s)
        await socket.send((sound.samples[at : at + chunk].astype("<f4") / np.float32(32768)).tobytes())
    await asyncio.sleep(max(0.0, began + sound.seconds - loop.time()))


async def play_to(name: str, url: str, sound: Sound, meter: Meter) -> Session:
    """Play one recording to a server with its protocol."""
    before_s = meter.cpu_s
    if name == LIVE:
        spent_s = before_s

        def look() -> None:
            nonlocal spent_s
            meter.look()
            spent_s = meter.cpu_s

        recording = await play_live(url, sound, on_change=look)
        # Until the text no longer changed: while the client waits, the server may recognise the same audio again.
        return Session(recording, spent_s - before_s)
    dialect = Native(sound.rate, language=LANGUAGE) if name == THIS else WhisperLiveKit()
    recording = await play(url, dialect, sound, chunk_s=CHUNK_S)
    meter.look()
    return Session(recording, meter.cpu_s - before_s)


async def measure(name: str, url: str, pid: int, sounds: Sequence[Sound]) -> tuple[list[Session], float]:
    """The sessions of a running server, one for each sound, and the peak memory of its processes in MB."""
    await play_to(name, url, Sound(sounds[0].samples[: round(WARM_UP_S * SAMPLE_RATE)], SAMPLE_RATE), Meter(pid))
    meter = Meter(pid)
    watching = asyncio.create_task(meter.watch())
    sessions = []
    for sound in sounds:
        sessions.append(await play_to(name, url, sound, meter))
        print(".", end="", flush=True, file=sys.stderr)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    print(file=sys.stderr)
    return sessions, meter.peak_rss_mb


def raw_errors(speech: Speech, text: str) -> Errors:
    """The word errors with digits as they are."""
    return count_errors([word.text for word in speech.words], text, spell=False)


def as_shown(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """The same texts without the difference between committed and partial."""
    return [Snapshot(snapshot.t, snapshot.committed + snapshot.partial, "") for snapshot in snapshots]


def summarise(
    played: Sequence[tuple[Speech, Sound]], sessions: Sequence[Session], peak_rss_mb: float
) -> dict[str, Any]:
    """The figures of one server over all recordings."""
    commit: list[float] = []
    partial: list[float] = []
    settled: list[float] = []
    raw: dict[str, Errors] = {}
    for (speech, _), session in zip(played, sessions, strict=True):
        snapshots = session.recording.snapshots
        latencies = measure_latencies(snapshots, speech.words)
        commit += latencies.commit
        partial += latencies.partial
        settled += measure_latencies(as_shown(snapshots), speech.words).commit
        errors = raw_errors(speech, session.recording.committed)
        raw[speech.group] = raw.get(speech.group, Errors(0, 0, 0, 0)) + errors
    rows = group_rows(
        (speech, session.recording.committed) for (speech, _), session in zip(played, sessions, strict=True)
    )
    everything = sum(raw.values(), start=Errors(0, 0, 0, 0))
    lags = [one.recording.finished_s - sound.seconds for (_, sound), one in zip(played, sessions, strict=True)]
    seconds = sum(sound.seconds for _, sound in played)
    figures: dict[str, Any] = {
        "wer": rows[-1].wer,
        "wer_raw": everything.wer,
        "commit_p50_s": percentile(commit, 0.5),
        "commit_p95_s": percentile(commit, 0.95),
        "settled_p50_s": percentile(settled, 0.5),
        "settled_p95_s": percentile(settled, 0.95),
        "partial_p50_s": percentile(partial, 0.5),
        "end_lag_median_s": statistics.median(lags),
        "end_lag_worst_s": max(lags),
        "cpu_s_per_audio_s": sum(session.cpu_s for session in sessions) / seconds,
        "peak_rss_mb": peak_rss_mb,
        "retracted": sum(count_retracted(session.recording.snapshots) for session in sessions),
    }
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}
    groups = [row.rounded() | {"wer_raw": round(raw.get(row.group, everything).wer, 4)} for row in rows]
    return {**rounded, "groups": groups}


COLUMNS = {
    "wer": "WER",
    "wer_raw": "WER raw",
    "commit_p50_s": "commit p50",
    "commit_p95_s": "p95",
    "settled_p50_s": "settled p50",
    "settled_p95_s": "p95",
    "partial_p50_s": "partial p50",
    "end_lag_median_s": "lag at the end, median",
    "end_lag_worst_s": "worst",
    "cpu_s_per_audio_s": "CPU s per audio s",
    "peak_rss_mb": "RSS MB",
    "retracted": "retracted",
}


def tables(servers: dict[str, dict[str, Any]]) -> str:
    """All figures, and the word error rates by group, as Markdown. ``servers``: by name, from ``summarise``."""
    lines = ["| server | " + " | ".join(COLUMNS.values()) + " |", "|" + "---|" * (len(COLUMNS) + 1)]
    for name, figures in servers.items():
        lines.append(f"| {name} | " + " | ".join(_cell(figures[column]) for column in COLUMNS) + " |")
    lines += ["", "| group | words | " + " | ".join(f"{name}, WER / raw" for name in servers) + " |"]
    lines.append("|" + "---|" * (len(servers) + 2))
    for rows in zip(*(figures["groups"] for figures in servers.values()), strict=True):
        cells = [f"{row['wer']:.3f} ({row['low']:.3f} to {row['high']:.3f}) / {row['wer_raw']:.3f}" for row in rows]
        lines.append(f"| {rows[0]['group']} | {rows[0]['words']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if isinstance(value, int) or value >= 100 else f"{value:.3f}"


def read_played(groups: Sequence[str], seconds: float) -> list[tuple[Speech, Sound]]:
    """The recordings of all groups at 16 kHz, each at most ``seconds`` long, with the words of that part."""
    played = []
    for speech in read_groups(groups):
        samples = np.clip(np.round(read_samples(speech.audio) * 32768), -32768, 32767).astype(np.int16)
        sound, words = cut(Sound(samples, SAMPLE_RATE), speech.words, seconds)
        clips = tuple(clip for clip in speech.clips if clip.end_s <= sound.seconds)
        played.append((replace(speech, words=tuple(words), clips=clips), sound))
    return played


def run(rival: Rival, model: Path, sounds: Sequence[Sound], threads: int | None) -> tuple[list[Session], float]:
    """Start a server, play everything to it and stop it."""
    if rival.name == THIS:
        with running_server(1) as server:
            return asyncio.run(measure(THIS, server.ws_url, server.pid, sounds))
    port = free_port()
    url = f"ws://127.0.0.1:{port}" + ("/asr" if rival.name == KIT else "")
    with running(command_of(rival, port, model), port, threads) as pid:
        return asyncio.run(measure(rival.name, url, pid, sounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--server",
        action="append",
        type=read_rival,
        required=True,
        metavar="NAME[=PYTHON]",
        help=f"{THIS}, {LIVE}=PYTHON or {KIT}=PYTHON; may be repeated",
    )
    add_group_option(parser)
    parser.add_argument("--seconds", type=float, default=120.0, help="of each recording, at most")
    parser.add_argument("--threads", type=int, help="OMP_NUM_THREADS of the other servers; default: not set")
    parser.add_argument("--json", type=Path, help="write the result here; other servers in the file are kept")
    options = parser.parse_args()
    if not options.group:
        parser.error("found no --group, expected at least one")
    played = read_played(options.group, options.seconds)
    sounds = [sound for _, sound in played]
    result: dict[str, Any] = {
        "machine": machine(),
        "command": shlex.join(["python", "-m", "benchmarks.rivals", *sys.argv[1:]]),
        "audio": f"{len(played)} recordings, {sum(sound.seconds for sound in sounds):.0f} s, "
        f"{sum(len(speech.words) for speech, _ in played)} words",
        "servers": {},
    }
    if options.json and options.json.is_file():
        before = json.loads(options.json.read_text(encoding="utf-8"))
        if (before["machine"], before["audio"]) == (result["machine"], result["audio"]):
            result["servers"] = before["servers"]
    print(f"{result['machine']}; {result['audio']}", flush=True)
    for rival in options.server:
        print(f"{rival.name} ", end="", flush=True, file=sys.stderr)
        sessions, peak_rss_mb = run(rival, ROOT / "models" / "whisper" / "base", sounds, options.threads)
        result["servers"][rival.name] = summarise(played, sessions, peak_rss_mb)
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(tables(result["servers"]))


if __name__ == "__main__":
    main()
