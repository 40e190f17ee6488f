"""No word is lost when workers die, drain or fail, when the service restarts, and when the network breaks.

All tests but the last use a scripted engine, whose transcript is known: no word may differ from it.
"""

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.client import Native, Recording, play
from benchmarks.faults import KINDS, changes, difference, plan, run_with_faults
from benchmarks.proxy import proxy_to
from benchmarks.scoring import count_retracted
from benchmarks.serving import Server, free_port, running_server
from benchmarks.speech import read_speech
from tests.e2e.scripted_app import SCRIPT, SLOW_S, said, speech
from tests.server.scripted import scripted_server
from tests.speech import DATA, assert_says
from whisperlivekit.engine.scripted import ScriptedEngine
from whisperlivekit.server.launch import GUNICORN_CONF

pytestmark = [pytest.mark.anyio, pytest.mark.model, pytest.mark.slow]

SCRIPTED = ("-m", "gunicorn", "--config", str(GUNICORN_CONF), "tests.e2e.scripted_app:build()")


@contextmanager
def scripted(folder: Path, workers: int = 2, port: int | None = None) -> Iterator[Server]:
    with running_server(
        workers,
        port=port,
        command=SCRIPTED,
        SCRIPTED_TROUBLE=str(folder),
        WLK_GUNICORN_MAX_REQUESTS="0",
        WLK_MAX_SESSIONS="8",
    ) as running:
        yield running


@pytest.fixture(scope="module")
def trouble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trouble")


@pytest.fixture(scope="module")
def workers(base_model: Path, trouble: Path) -> Iterator[Server]:
    """Two workers with the scripted engine, shared by tests after which two workers serve again."""
    with scripted(trouble) as running:
        yield running


def assert_whole(recording: Recording, runs: int) -> None:
    assert recording.committed == said(runs), changes(recording.committed, said(runs))
    assert count_retracted(recording.snapshots) == 0
    assert recording.of_type("gap") == []
    assert recording.of_type("done")[-1]["gap_s"] == 0
    # The words of the scripted engine depend on the position, which it does not know of a paragraph's later utterances.
    # So this counts refined words, and tests/core/test_refine.py compares their texts.
    if paragraphs := recording.of_type("refined"):
        committed = [word for event in recording.of_type("committed") for word in event["words"]]
        assert sum(paragraph["replaces"] for paragraph in paragraphs) == len(committed)
        ends = [paragraph["end"] for paragraph in paragraphs]
        assert ends == sorted(ends)


OPTIONS = pytest.mark.parametrize(
    "options", [{}, {"refine": True}, {"commit": "utterance", "refine": True}], ids=["live", "refined", "by utterance"]
)


@OPTIONS
async def test_every_kind_of_fault_leaves_the_transcript_whole(workers: Server, options: dict[str, Any]) -> None:
    """In one stream, at random moments: SIGKILL and SIGTERM to its worker, SIGHUP to the master, a connection reset."""
    sound = speech(4)
    planned = plan(random.Random(2), sound.seconds, 4, KINDS)
    recording, faults = await run_with_faults(workers, sound, planned, pace=4, start=options)
    assert sorted(fault.kind for fault in faults) == sorted(KINDS)
    assert len(recording.losses) >= 3
    assert bool(recording.of_type("refined")) == ("refine" in options)
    assert_whole(recording, 4)


async def test_a_half_open_connection_is_found_and_replaced(workers: Server) -> None:
    """Packets stop arriving but no end closes: the client's ping times out, and it sends the audio since then again."""
    recording, faults = await run_with_faults(workers, speech(1), [(3.0, "silence")], pace=1.5, ping_s=0.5)
    assert [fault.kind for fault in faults] == ["silence"]
    assert recording.losses
    assert_whole(recording, 1)


async def test_a_reload_waits_for_the_new_workers(workers: Server, trouble: Path) -> None:
    """On SIGHUP the old workers serve until a new one has loaded its model, so that no stream waits for the load.

    A load takes ``SLOW_S``. The stream may be moved twice: from one old worker to the other and then to a new one.
    """
    slow = trouble / "slow"
    slow.touch()
    try:
        recording, [fault] = await run_with_faults(workers, speech(2), [(3.0, "hup")], pace=2)
    finally:
        slow.unlink()
    times_s, codes = zip(*recording.losses, strict=True)
    assert len(codes) <= 2
    assert set(codes) == {"shutting_down"}
    assert times_s[0] - fault.at_s > SLOW_S * 0.9
    assert fault.resume_s is not None
    assert fault.at_s + fault.resume_s - times_s[-1] < SLOW_S * 0.9, "the stream waited for a model to load"
    assert_whole(recording, 2)


async def test_a_worker_whose_model_fails_is_replaced(workers: Server, trouble: Path) -> None:
    """As when CUDA runs out of memory: the worker exits, Gunicorn starts another, and the client resumes elsewhere."""
    before = {worker.pid for worker in workers.workers()}

    async def fail() -> None:
        await asyncio.sleep(1.5)
        (trouble / "oom").touch()

    failing = asyncio.create_task(fail())
    recording = await play(workers.ws_url, Native(16_000), speech(2), pace=4, reconnections=10)
    assert failing.done()
    assert [code for _, code in recording.losses] == ["model_unavailable"]
    assert_whole(recording, 2)
    deadline = time.monotonic() + 60
    while len(after := {worker.pid for worker in workers.workers()}) < 2 or after == before:
        assert time.monotonic() < deadline, "the worker is not replaced"
        await asyncio.sleep(0.1)
    assert len(before & after) == 1
    assert "the model failed while serving" in workers.log_text()


async def test_a_decode_that_fails_once_is_retried(workers: Server, trouble: Path) -> None:
    """One failed decode costs neither the connection nor a word."""

    async def fail() -> None:
        await asyncio.sleep(1)
        (trouble / "bad").touch()

    failing = asyncio.create_task(fail())
    recording = await play(workers.ws_url, Native(16_000), speech(1), pace=4)
    assert failing.done()
    assert not (trouble / "bad").exists()
    assert_whole(recording, 1)


async def test_a_restart_under_four_streams_costs_no_word(base_model: Path, trouble: Path) -> None:
    """SIGTERM to the service, as systemd sends it, and a start on the same port: all four streams resume."""
    port = free_port()
    with ExitStack() as services:
        first = services.enter_context(scripted(trouble, port=port))
        connected = asyncio.Semaphore(0)
        streams = [
            asyncio.create_task(
                play(
                    first.ws_url,
                    Native(16_000),
                    speech(2 + number % 2),
                    pace=3,
                    reconnections=10,
                    outage_s=60,
                    on_connection=lambda _: connected.release(),
                )
            )
            for number in range(4)
        ]
        for _ in streams:
            await connected.acquire()
        # In the middle of the first stretch of speech. A stream that ends inside a pause is decoded with the silence up
        # to there, where the scripted engine has words.
        await asyncio.sleep(1.0)
        os.kill(first.pid, signal.SIGTERM)
        await asyncio.to_thread(_wait_for_end, first.pid)
        assert "SIGKILL" not in first.log_text(), "a worker did not end within the graceful timeout"
        services.enter_context(scripted(trouble, port=port))
        recordings = await asyncio.gather(*streams)
    # On a machine under load a connection may break before its last message has arrived. It resumes all the same.
    ends = [recording.losses[0][1] for recording in recordings]
    assert "shutting_down" in ends
    assert set(ends) <= {"shutting_down", "1006"}
    for number, recording in enumerate(recordings):
        assert_whole(recording, 2 + number % 2)


def _wait_for_end(pid: int) -> None:
    process = psutil.Process(pid)
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.05)


# ----------------------------------------------------------------------------------------------------- bad networks


async def test_delays_of_seconds_cost_no_word() -> None:
    """One frame in twenty is held back for up to two seconds, with all frames behind it."""
    with scripted_server(ScriptedEngine(SCRIPT)) as server:
        async with proxy_to(server.port, delayed=0.05, delay_s=2, seed=1) as proxy:
            url = f"ws://127.0.0.1:{proxy.port}/ws"
            recording = await play(url, Native(16_000), speech(2), pace=4)
    assert recording.losses == []
    assert_whole(recording, 2)


@OPTIONS
async def test_a_network_that_is_cut_again_and_again_costs_no_word(options: dict[str, Any]) -> None:
    """A proxy closes each connection after 1.5 s."""
    with scripted_server(ScriptedEngine(SCRIPT)) as server:
        async with proxy_to(server.port, cut_every_s=1.5) as proxy:
            url = f"ws://127.0.0.1:{proxy.port}/ws"
            recording = await play(url, Native(16_000, **options), speech(3), pace=4, reconnections=100)
        server.wait_until("nothing is left", lambda: server.service.streams == 0)
    assert len(recording.losses) >= 3
    assert_whole(recording, 3)


async def test_a_reader_that_pauses_costs_no_word() -> None:
    """The client sends but reads nothing for a while: the events arrive afterwards, in order."""
    with scripted_server(ScriptedEngine(SCRIPT)) as server:
        dialect = Sleepy(16_000)
        recording = await play(server.ws_url, dialect, speech(1), pace=None)
        assert dialect.slept
    assert_whole(recording, 1)


class Sleepy(Native):
    """A client that blocks for 1.5 s at its first committed word."""

    slept = False

    def receive(self, message: dict[str, object]) -> None:
        super().receive(message)
        if message["type"] == "committed" and not self.slept:
            self.slept = True
            time.sleep(1.5)


# ------------------------------------------------------------------------------------------------------ the real model


async def test_faults_with_the_real_model_cost_no_words(base_model: Path) -> None:
    """The connection is cut and the worker is killed: the text is the transcript, and nothing committed is retracted.

    The model hears some audio again where the stream resumes, so that one word may be missing or be there twice: it may
    write a word in two. The tests with the scripted engine allow none.
    """
    sound, words = read_speech(DATA / "prompts_24s.flac", 14)
    transcript = " ".join(word.text for word in words)
    with running_server(2, WLK_CPU_THREADS="1", WLK_GUNICORN_MAX_REQUESTS="0", WLK_MAX_SESSIONS="8") as server:
        recording, faults = await run_with_faults(server, sound, [(4.1, "cut"), (7.3, "kill")], pace=1.5)
    assert [fault.kind for fault in faults] == ["cut", "kill"]
    assert len(recording.losses) >= 2
    assert_says(recording.committed, transcript)
    found = difference(recording.committed, transcript)
    assert found.lost <= 1, changes(recording.committed, transcript)
    assert found.doubled <= 1, changes(recording.committed, transcript)
    assert count_retracted(recording.snapshots) == 0
    assert recording.of_type("gap") == []
