"""The comparison with other servers: WhisperLive's protocol, the figures over all recordings, and starting a server."""

import argparse
import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile
from websockets.asyncio.server import ServerConnection, serve

from benchmarks.client import Recording, Sound, StreamFailed
from benchmarks.rivals import Session, as_shown, play_live, read_played, read_rival, running, summarise, tables
from benchmarks.scoring import Snapshot, TimedWord
from benchmarks.serving import ServerFailed, free_port
from benchmarks.speech import Speech

pytestmark = pytest.mark.anyio

SOUND = Sound(np.arange(-8000, 8000, dtype=np.int16), 16_000)
"""One second."""


@pytest.fixture
def anyio_backend() -> str:
    """The loop that the client is written for."""
    return "asyncio"


@asynccontextmanager
async def server(handler: Callable[[ServerConnection], Awaitable[None]]) -> AsyncIterator[str]:
    async with serve(handler, "127.0.0.1", 0) as running_here:
        yield f"ws://127.0.0.1:{next(iter(running_here.sockets)).getsockname()[1]}"


def segment(start_s: float, text: str, *, completed: bool) -> dict[str, Any]:
    """A segment of one second as WhisperLive 0.10.0 sends it."""
    return {"start": f"{start_s:.3f}", "end": f"{start_s + 1:.3f}", "text": text, "completed": completed}


async def ready(connection: ServerConnection) -> dict[str, Any]:
    """Receive the options, answer that the model is loaded, and return the options."""
    options: dict[str, Any] = json.loads(await connection.recv())
    await connection.send(json.dumps({"uid": options["uid"], "message": "SERVER_READY", "backend": "faster_whisper"}))
    return options


async def test_a_stream_to_whisper_live_is_played_and_ended_as_its_own_client_does() -> None:
    """Options in the first message, audio as 32-bit floats, and the end mark once no new text has come for a while."""
    heard: dict[str, Any] = {}

    async def handler(connection: ServerConnection) -> None:
        heard["options"] = await ready(connection)
        audio = b""
        while (message := await connection.recv()) != b"END_OF_AUDIO":
            assert isinstance(message, bytes)
            audio += message
        heard["audio"] = np.frombuffer(audio, "<f4")

    async with server(handler) as url:
        recording = await play_live(url, SOUND, quiet_s=0.3)
    assert heard["options"]["language"] == "ru"
    assert heard["options"]["use_vad"] is True
    np.testing.assert_array_equal(heard["audio"] * 32768, SOUND.samples)
    assert recording.snapshots == []


async def test_completed_segments_count_once_and_the_last_open_one_is_final_at_the_end() -> None:
    """Completed segments come again in each message. The open one is final from its last change, not from the end."""

    async def handler(connection: ServerConnection) -> None:
        uid = (await ready(connection))["uid"]
        done = segment(0, " Раз.", completed=True)
        updates = [
            [segment(0, " Рас", completed=False)],
            [done, segment(1, " два", completed=False)],
            [done, segment(1, " Два", completed=False)],
            [done, segment(1, " Два", completed=False)],
        ]
        async for message in connection:
            if message == b"END_OF_AUDIO":
                return
            if updates:
                await connection.send(json.dumps({"uid": uid, "segments": updates.pop(0)}))

    async with server(handler) as url:
        recording = await play_live(url, SOUND, quiet_s=0.3)
    texts = [(snapshot.committed, snapshot.partial) for snapshot in recording.snapshots]
    assert texts == [("", " Рас"), ("Раз.", " два"), ("Раз. Два", "")]
    assert recording.committed == "Раз. Два"
    # The third message came with the third piece of audio; the stream ended 0.3 s after the audio.
    assert recording.snapshots[-1].t < 0.9
    assert recording.finished_s == SOUND.seconds


async def test_the_end_waits_for_texts_that_come_late() -> None:
    """A text 0.4 s after the audio restarts the wait, so the one 0.4 s later is not lost."""

    async def handler(connection: ServerConnection) -> None:
        uid = (await ready(connection))["uid"]
        received = 0
        while received < len(SOUND.samples) * 4:
            received += len(await connection.recv())
        for text in ("раз", "раз два"):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.4):
                    await connection.recv()
            await connection.send(json.dumps({"uid": uid, "segments": [segment(0, text, completed=False)]}))
        assert await connection.recv() == b"END_OF_AUDIO"

    async with server(handler) as url:
        recording = await play_live(url, SOUND, quiet_s=0.6)
    assert recording.committed == "раз два"
    assert recording.finished_s == recording.snapshots[-1].t > SOUND.seconds + 0.7


@pytest.mark.parametrize("status", ["WAIT", "ERROR"])
async def test_a_refused_stream_fails(status: str) -> None:
    """WhisperLive says that it is full, or that it cannot load the model."""

    async def handler(connection: ServerConnection) -> None:
        uid = json.loads(await connection.recv())["uid"]
        await connection.send(json.dumps({"uid": uid, "status": status, "message": 3}))
        await connection.wait_closed()

    async with server(handler) as url:
        with pytest.raises(StreamFailed, match=status):
            await play_live(url, SOUND)


async def test_a_stream_that_the_server_ends_early_fails() -> None:
    """It must not pass for a short transcript."""

    async def handler(connection: ServerConnection) -> None:
        await ready(connection)
        await connection.recv()

    async with server(handler) as url:
        with pytest.raises(StreamFailed, match="before the end"):
            await play_live(url, SOUND)


def session(*snapshots: Snapshot, finished_s: float, cpu_s: float) -> Session:
    return Session(Recording(snapshots=list(snapshots), finished_s=finished_s), cpu_s)


def test_the_figures_are_those_of_all_recordings_together() -> None:
    """Latencies of all words, WER by group and in total, the cost of all audio, and the lag of each recording."""
    words = tuple(TimedWord(text, end_s) for text, end_s in (("раз", 0.2), ("два", 0.4), ("пять", 0.8)))
    played = [(Speech(Path(f"{group}.flac"), words, group=group), SOUND) for group in ("read", "phone")]
    first = session(
        Snapshot(0.5, "", "раз"),
        Snapshot(0.6, "", "рас"),
        Snapshot(1.0, "раз два", ""),
        Snapshot(1.2, "раз два 5", ""),
        finished_s=1.2,
        cpu_s=0.5,
    )
    second = session(Snapshot(0.9, "раз", " два"), Snapshot(1.4, "рад два", ""), finished_s=1.5, cpu_s=0.3)
    found = summarise(played, [first, second], 100.0)
    # 1.0 - 0.2, 1.0 - 0.4, 1.2 - 0.8 and 1.4 - 0.4. The last word is shown at 0.9, the first already at 0.5.
    assert (found["commit_p50_s"], found["settled_p50_s"], found["partial_p50_s"]) == (0.7, 0.55, 0.45)
    assert [(row["group"], row["wer"], row["wer_raw"]) for row in found["groups"]] == [
        ("read", 0.0, 0.3333), ("phone", 0.6667, 0.6667), ("all", 0.3333, 0.5),
    ]  # fmt: skip
    assert (found["wer"], found["wer_raw"], found["retracted"]) == (0.333, 0.5, 1)
    assert (found["end_lag_median_s"], found["end_lag_worst_s"]) == (0.35, 0.5)
    assert (found["cpu_s_per_audio_s"], found["peak_rss_mb"]) == (0.4, 100.0)
    text = tables({"this": found, "other": found})
    assert "| other | 0.333 | 0.500 | 0.700 |" in text
    assert "| phone | 3 | 0.667 (" in text


def test_a_settled_word_may_be_shown_as_partial() -> None:
    """What is shown is the committed and the partial text together."""
    assert as_shown([Snapshot(1.0, "раз", " два")]) == [Snapshot(1.0, "раз два", "")]


def test_recordings_are_cut_and_converted_to_the_rate_that_every_server_takes(tmp_path: Path) -> None:
    """8 kHz becomes 16 kHz; the words and clips after the cut are left out."""
    soundfile.write(tmp_path / "a.wav", np.zeros(20 * 8000, np.int16), 8000, subtype="PCM_16")
    words = [["раз", 1.0], ["два", 2.0], ["пять", 18.0]]
    (tmp_path / "a.json").write_text(json.dumps(words), encoding="utf-8")
    clips = [{"start": 0, "end": 2.1, "text": "раз два"}, {"start": 17, "end": 19, "text": "пять"}]
    (tmp_path / "a.clips.json").write_text(json.dumps(clips), encoding="utf-8")
    [(speech, sound)] = read_played([f"read={tmp_path}/a.wav"], 6.0)
    assert sound.rate == 16_000
    assert sound.seconds == pytest.approx(2.3)
    assert [word.text for word in speech.words] == ["раз", "два"]
    assert len(speech.clips) == 1


@pytest.mark.parametrize("text", ["other", "whisper-live", "this=python", "whisperlivekit=/no/python"])
def test_an_unknown_server_is_refused(text: str) -> None:
    """The message says what is allowed, or which file does not exist."""
    with pytest.raises(argparse.ArgumentTypeError, match="expected"):
        read_rival(text)


LISTENS = """
import socket, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(60)
"""


def test_a_started_server_ends_with_all_its_processes() -> None:
    """It listens inside the block, and nothing of it is left afterwards."""
    port = free_port()
    with running([sys.executable, "-c", LISTENS, str(port)], port) as pid:
        with socket.create_connection(("127.0.0.1", port)):
            tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        assert len(tree) == 2
    _, left = psutil.wait_procs(tree, timeout=5)
    assert left == []


def test_a_server_that_does_not_start_shows_its_output() -> None:
    """The end of its output is in the message."""
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with pytest.raises(ServerFailed, match="no such model"), running(command, free_port()):
        pytest.fail("it did not start")
