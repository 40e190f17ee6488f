"""A microphone's view of the whole server: real Gunicorn, real models, real speech, over the native WebSocket."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from benchmarks.client import Native, Recording, Sound, play, read_sound
from benchmarks.material import room
from benchmarks.scoring import TimedWord, score
from benchmarks.serving import Server, running_server
from benchmarks.speech import read_reference

pytestmark = [pytest.mark.anyio, pytest.mark.model, pytest.mark.slow]

DATA = Path(__file__).parents[1] / "data"
RATE = 16_000


def clip(name: str) -> tuple[Sound, list[TimedWord]]:
    [audio] = [path for path in DATA.glob(f"{name}.*") if path.suffix != ".json"]
    return read_sound(audio), read_reference(DATA / f"{name}.json")


def sound_of(samples: NDArray[np.float64]) -> Sound:
    return Sound((np.clip(samples, -1, 1) * 32767).astype(np.int16), RATE)


def assert_committed_never_changes(recording: Recording) -> None:
    for before, after in zip(recording.snapshots, recording.snapshots[1:], strict=False):
        assert after.committed.startswith(before.committed)


async def test_speech_at_real_time_is_read_right_and_soon(server: Server) -> None:
    """Four prompts at 1x: the words are right, nothing committed changes, and the text keeps up with the speaker."""
    sound, reference = clip("prompts_24s")
    recording = await play(server.ws_url, Native(sound.rate, language="ru"), sound)
    assert_committed_never_changes(recording)
    figures = score(recording.snapshots, reference)
    assert figures.wer < 0.28, recording.committed
    assert figures.retracted == 0
    assert figures.commit_p95_s is not None
    assert figures.commit_p95_s < 3
    assert figures.partial_p50_s is not None
    assert figures.commit_p50_s is not None
    assert figures.partial_p50_s < figures.commit_p50_s
    assert recording.finished_s - sound.seconds < 3


async def test_a_file_sent_at_once_is_read_as_well_and_its_events_agree(server: Server) -> None:
    """The server holds back what it cannot take yet, and loses nothing.

    Events are numbered without holes, words lie in order inside the stream, each utterance ends, totals are true.
    """
    sound, reference = clip("prompts_24s")
    recording = await play(server.ws_url, Native(sound.rate, language="ru"), sound, pace=None)
    assert_committed_never_changes(recording)
    assert score(recording.snapshots, reference).wer < 0.28, recording.committed
    events = [event for _, event in recording.events]
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert (events[0]["type"], events[-1]["type"]) == ("ready", "done")
    words = [word for event in recording.of_type("committed") for word in event["words"]]
    assert "".join(event["text"] for event in recording.of_type("committed")) == recording.committed
    assert [word["text"] for word in words] == recording.committed.split()
    times = [time for word in words for time in (word["start"], word["end"])]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= sound.seconds
    assert all(0 < word["probability"] <= 1 for word in words)
    [done] = recording.of_type("done")
    assert done["audio_s"] == pytest.approx(sound.seconds, abs=0.01)
    assert done["words"] == len(words)
    assert done["utterances"] == len(recording.of_type("utterance_ended")) == len(recording.of_type("speech_started"))
    assert done["gap_s"] == 0
    positions = [event["kept_from"] for event in events if "kept_from" in event]
    assert positions == sorted(positions)


async def test_a_telephone_is_understood(server: Server) -> None:
    """8 kHz mu-law as it comes from the line."""
    sound, reference = clip("telephone_8k")
    assert sound.rate == 8000
    dialect = Native(sound.rate, encoding="mulaw", language="ru")
    recording = await play(server.ws_url, dialect, sound, pace=None)
    assert score(recording.snapshots, reference).wer < 0.28, recording.committed


@pytest.mark.parametrize("kind", ["digital silence", "quiet line", "white noise", "room"])
async def test_a_minute_without_speech_gives_no_word(server: Server, kind: str) -> None:
    """Nothing is invented where nobody speaks."""
    seed = np.random.default_rng(5)
    count = 60 * RATE
    match kind:
        case "quiet line":
            samples = seed.standard_normal(count) * 0.0005
        case "white noise":
            samples = seed.standard_normal(count) * 0.05
        case "room":
            samples = room(seed, 60).astype(np.float64)
        case _:
            samples = np.zeros(count)
    recording = await play(server.ws_url, Native(RATE, language="ru"), sound_of(samples), pace=None)
    assert (recording.committed, recording.snapshots) == ("", [])
    assert recording.of_type("done")[0]["words"] == 0


async def test_sessions_at_once_do_not_mix(server: Server) -> None:
    """Two speakers on one model: each reads only the own words."""
    (phrase, phrase_words), (long, long_words) = clip("phrase_3s"), clip("prompts_24s")
    short_one, long_one = await asyncio.gather(
        play(server.ws_url, Native(RATE, language="ru"), phrase, pace=4),
        play(server.ws_url, Native(RATE, language="ru"), long, pace=4),
    )
    assert score(short_one.snapshots, phrase_words).wer < 0.35, short_one.committed
    assert score(long_one.snapshots, long_words).wer < 0.28, long_one.committed


def mapped_files(process: psutil.Process) -> str:
    return Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8")


def private_mb(process: psutil.Process) -> float:
    return float(process.memory_full_info().uss / 2**20)


def served_by(server: Server, port: int) -> int | None:
    """The worker that holds the connection from this local port."""
    for worker in server.workers():
        if any(connection.raddr and connection.raddr.port == port for connection in worker.net_connections("tcp")):
            return int(worker.pid)
    return None


async def worker_of(server: Server, dialect: Native, sound: Sound) -> tuple[Recording, int | None]:
    """Plays the sound, and tells which worker served it."""
    found: int | None = None
    ports: list[int] = []

    async def look() -> None:
        nonlocal found
        while found is None:
            await asyncio.sleep(0.1)
            found = served_by(server, ports[0]) if ports else None

    looking = asyncio.create_task(look())
    recording = await play(server.ws_url, dialect, sound, pace=2, on_connection=ports.append)
    looking.cancel()
    return recording, found


@pytest.fixture(scope="module")
def two_workers(base_model: Path) -> Iterator[Server]:
    """Two workers with half of the machine each."""
    with running_server(workers=2, WLK_CPU_THREADS="1") as running:
        yield running


async def test_both_workers_serve_each_with_its_own_model(two_workers: Server) -> None:
    """Sessions reach two processes, and both have loaded the engine for themselves."""
    sound, reference = clip("phrase_3s")
    seen: dict[int | None, Recording] = {}
    for _ in range(10):
        rounds = [worker_of(two_workers, Native(RATE, language="ru"), sound) for _ in range(3)]
        seen |= {worker: recording for recording, worker in await asyncio.gather(*rounds)}
        if len(seen) == 2:
            break
    assert set(seen) == {worker.pid for worker in two_workers.workers()}
    for recording in seen.values():
        assert score(recording.snapshots, reference).wer < 0.35, recording.committed
    for worker in two_workers.workers():
        assert "libctranslate2" in mapped_files(worker)
        assert private_mb(worker) > 120


def test_the_master_holds_no_model_and_no_cuda(two_workers: Server) -> None:
    """It only imports settings and the app: a model or a CUDA context made before the fork would break every worker."""
    master = psutil.Process(two_workers.pid)
    mapped = mapped_files(master)
    for library in ("ctranslate2", "libtorch", "libcuda", "libcublas", "libcudart", "onnxruntime", "model.bin"):
        assert library not in mapped
    assert private_mb(master) < 120
