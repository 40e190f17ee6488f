"""The client against small servers on real sockets: what it records, and how it resumes a stream."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from benchmarks.client import Native, Sound, StreamFailed, WhisperLiveKit, play, read_sound

pytestmark = pytest.mark.anyio

SOUND = Sound(np.arange(16_000, dtype=np.int16), 16_000)


@pytest.fixture
def anyio_backend() -> str:
    """The loop that the client is written for."""
    return "asyncio"


@asynccontextmanager
async def listening(handler: Callable[[ServerConnection], Awaitable[None]]) -> AsyncIterator[str]:
    """Runs a server on a free port and gives its URL."""
    async with serve(handler, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/ws"


def event(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields})


READY = event("ready", session="s1")


def committed(text: str, start: float, end: float, kept_from: int) -> str:
    word = {"text": text.strip(), "start": start, "end": end, "probability": 0.9}
    return event("committed", text=text, words=[word], start=start, end=end, kept_from=kept_from)


async def receive_audio(socket: ServerConnection, at_least: int | None = None) -> bytes:
    """Audio until ``stop`` or until there are ``at_least`` bytes."""
    audio = b""
    while at_least is None or len(audio) < at_least:
        message = await socket.recv()
        if isinstance(message, str):
            assert json.loads(message) == {"type": "stop"}
            return audio
        audio += message
    return audio


async def test_every_sample_arrives_and_every_change_is_recorded() -> None:
    """In a whole session the audio arrives complete, each change of the text is a snapshot, and ``done`` ends it."""
    received = []

    async def handler(socket: ServerConnection) -> None:
        received.append(json.loads(await socket.recv()))
        await socket.send(READY)
        received.append(await receive_audio(socket))
        await socket.send(event("partial", text=" ра", start=0, end=0.2))
        await socket.send(event("progress", received_s=1, settled_s=0, lag_s=1, kept_from=0))
        await socket.send(committed(" раз", 0, 0.3, 4800))
        await socket.send(event("done", words=1))

    async with listening(handler) as url:
        recording = await play(url, Native(16_000, language="ru"), SOUND, pace=None)
    start, audio = received
    assert start == {"type": "start", "encoding": "pcm_s16le", "sample_rate": 16_000, "language": "ru"}
    assert np.array_equal(np.frombuffer(audio, "<i2"), SOUND.samples)
    assert [(shot.committed, shot.partial) for shot in recording.snapshots] == [("", " ра"), (" раз", "")]
    assert recording.finished_s > 0


async def test_audio_is_not_sent_before_it_would_have_been_spoken() -> None:
    """At pace 4 a second of audio takes at least a quarter of a second."""

    async def handler(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(READY)
        await receive_audio(socket)
        await socket.send(event("done"))

    async with listening(handler) as url:
        recording = await play(url, Native(16_000), SOUND, pace=4)
    assert recording.finished_s >= 0.25


async def test_a_late_chunk_does_not_delay_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks that became due while the program was busy are sent at once, without the wait before each of them."""
    waits: list[float] = []
    sleep = asyncio.sleep

    async def counted(delay_s: float) -> None:
        waits.append(delay_s)
        await sleep(delay_s)

    async def handler(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(READY)
        await receive_audio(socket, at_least=8000)
        time.sleep(0.3)  # noqa: ASYNC251 (blocks the client too, which runs on the same loop)
        await receive_audio(socket)
        await socket.send(event("done"))

    monkeypatch.setattr(asyncio, "sleep", counted)
    async with listening(handler) as url:
        await play(url, Native(16_000), SOUND, chunk_s=0.04)
    # 25 chunks, of which at least 7 became due in 0.3 s; the two waits of 20 s are those of websockets' pings.
    assert 1 <= len([wait for wait in waits if wait < 1]) <= 25 - 6


async def test_a_lost_stream_goes_on_where_the_server_said() -> None:
    """The second connection gets the session, the words that end after ``kept_from``, and the audio from there on."""
    starts = []
    audios = []
    ports: list[int] = []

    async def handler(socket: ServerConnection) -> None:
        starts.append(json.loads(await socket.recv()))
        await socket.send(READY)
        if len(starts) == 1:
            audios.append(await receive_audio(socket, at_least=20_000))
            await socket.send(committed(" раз", 0, 0.2, 0))
            await socket.send(committed(" два", 0.2, 0.4, 4000))
            await socket.close(1012)
        else:
            audios.append(await receive_audio(socket))
            await socket.send(committed(" три", 0.4, 0.9, 16_000))
            await socket.send(event("done"))

    async with listening(handler) as url:
        recording = await play(url, Native(16_000), SOUND, pace=4, reconnections=1, on_connection=ports.append)
    assert starts[1]["resume"] == {
        "session": "s1",
        "position": 4000,
        "words": [{"text": " два", "start": 0.2, "end": 0.4, "probability": 0.9}],
    }
    assert np.array_equal(np.frombuffer(audios[1], "<i2"), SOUND.samples[4000:])
    assert recording.committed == " раз два три"
    assert len(set(ports)) == 2


async def test_an_error_event_ends_the_stream_with_its_code() -> None:
    """The exception has the code of the protocol."""

    async def handler(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(event("error", code="server_full", message="8 sessions, expected at most 8", session="x"))

    async with listening(handler) as url:
        with pytest.raises(StreamFailed, match="server_full"):
            await play(url, Native(16_000), SOUND, pace=None)


async def test_a_lost_connection_is_an_error_without_reconnections() -> None:
    """The exception has the close code."""

    async def handler(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(READY)
        await socket.close(1011)

    async with listening(handler) as url:
        with pytest.raises(StreamFailed, match="1011"):
            await play(url, Native(16_000), SOUND, pace=None)


async def test_a_server_that_sends_nothing_times_out() -> None:
    """The time is counted from the last audio or the last message."""

    async def handler(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(READY)
        await receive_audio(socket)
        await socket.wait_closed()

    async with listening(handler) as url:
        with pytest.raises(StreamFailed, match="timed_out"):
            await play(url, Native(16_000), SOUND, pace=None, patience_s=0.2)


def test_kept_from_may_not_go_back() -> None:
    """The protocol promises that audio before ``kept_from`` is never needed again."""
    dialect = Native(16_000)
    dialect.receive({"type": "progress", "kept_from": 100})
    with pytest.raises(StreamFailed, match="kept_from is 99, expected at least 100"):
        dialect.receive({"type": "progress", "kept_from": 99})


async def test_whisperlivekit_text_is_lines_and_buffer() -> None:
    """Lines are committed text, lines of silence are ignored, the buffer is partial, an empty frame ends the stream."""

    async def handler(socket: ServerConnection) -> None:
        await socket.send(event("config", useAudioWorklet=True, mode="full"))
        while await socket.recv():
            pass
        lines = [{"speaker": 1, "text": "раз"}, {"speaker": -2, "text": None}, {"speaker": 1, "text": " два"}]
        await socket.send(json.dumps({"status": "active_transcription", "lines": lines, "buffer_transcription": "три"}))
        await socket.send(event("ready_to_stop"))

    async with listening(handler) as url:
        recording = await play(url, WhisperLiveKit(), SOUND, pace=None)
    assert (recording.committed, recording.snapshots[-1].partial) == ("раз два", " три")


def test_a_sound_is_mixed_down_and_keeps_its_rate(tmp_path: Path) -> None:
    """A stereo file at 8 kHz is one channel at 8 kHz."""
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.array([[100, 300], [-200, 0]], np.int16), 8000, subtype="PCM_16")
    sound = read_sound(path)
    assert (sound.samples.tolist(), sound.rate) == ([200, -100], 8000)


async def test_two_streams_play_at_the_same_time() -> None:
    """Sessions of one program do not wait for each other: each is finished only after both have sent audio."""
    both = asyncio.Barrier(2)

    async def handler(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(READY)
        await receive_audio(socket, at_least=8000)
        await both.wait()
        await receive_audio(socket)
        await socket.send(event("done"))

    async with listening(handler) as url:
        recordings = await asyncio.gather(*(play(url, Native(16_000), SOUND, pace=4, patience_s=20) for _ in range(2)))
    assert [len(recording.of_type("done")) for recording in recordings] == [1, 1]


async def test_a_stream_moves_on_from_a_worker_that_shuts_down() -> None:
    """``shutting_down``, then a refusal while no worker is ready: the client tries again and keeps the text."""
    connections = 0

    def refuse(_: ServerConnection, __: Request) -> Response | None:
        nonlocal connections
        connections += 1
        return Response(503, "Service Unavailable", Headers()) if connections == 2 else None

    async def handler(socket: ServerConnection) -> None:
        start = json.loads(await socket.recv())
        await socket.send(READY)
        if "resume" not in start:
            await receive_audio(socket, at_least=3_000)
            await socket.send(event("draining"))
            await socket.send(committed(" раз", 0, 0.1, 1600))
            await socket.send(event("error", code="shutting_down", message="going", session="x"))
            await socket.close(1012)
            return
        await receive_audio(socket)
        await socket.send(committed(" два", 0.2, 0.3, 4800))
        await socket.send(event("done"))

    async with serve(handler, "127.0.0.1", 0, process_request=refuse) as server:
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/ws"
        recording = await play(url, Native(16_000), SOUND, pace=2, reconnections=1)
    assert recording.committed == " раз два"
    assert [code for _, code in recording.losses] == ["shutting_down"]
    assert connections == 3


async def test_errors_that_are_the_client_s_fault_are_not_tried_again() -> None:
    """The same stream would fail again."""
    connections = 0

    async def handler(socket: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        await socket.recv()
        await socket.send(READY)
        await socket.send(event("error", code="bad_audio", message="odd", session="x"))

    async with listening(handler) as url:
        with pytest.raises(StreamFailed, match="bad_audio"):
            await play(url, Native(16_000), SOUND, pace=None, reconnections=5)
    assert connections == 1


async def test_attempts_end_after_the_outage_limit() -> None:
    """A server that stays away ends the stream with an error."""

    async def handler(socket: ServerConnection) -> None:
        await socket.wait_closed()

    async with listening(handler) as url:
        pass
    with pytest.raises(StreamFailed, match="no_server"):
        await play(url, Native(16_000), SOUND, reconnections=5, outage_s=0.1)


async def test_audio_that_the_client_no_longer_has_is_a_gap() -> None:
    """The client keeps ``backlog_s`` of audio. Older audio is reported as a gap and the stream continues after it."""
    starts = []

    async def handler(socket: ServerConnection) -> None:
        starts.append(json.loads(await socket.recv()))
        await socket.send(READY)
        if len(starts) == 1:
            await receive_audio(socket, at_least=24_000)
            await socket.send(committed(" раз", 0, 0.1, 0))
            await socket.close(1012)
        else:
            await receive_audio(socket)
            await socket.send(event("done"))

    async with listening(handler) as url:
        recording = await play(url, Native(16_000), SOUND, reconnections=1, backlog_s=0.3)
    [gap] = recording.of_type("gap")
    assert gap["reason"] == "resume_lost"
    assert gap["start"] == 0.1
    assert gap["end"] >= 0.4
    assert starts[1]["resume"]["position"] == gap["kept_from"] == round(gap["end"] * 16_000)
    assert starts[1]["resume"]["words"] == []


def test_a_word_that_ends_at_the_resume_position_is_not_sent_again() -> None:
    """Its end is rounded to milliseconds and may seem to lie 0.5 ms after the position."""
    dialect = Native(16_000)
    dialect.receive(json.loads(READY))
    dialect.receive(json.loads(committed(" раз", 0, 0.772, 0)))
    dialect.receive({"type": "progress", "kept_from": 12_345})
    assert json.loads(str(dialect.opening()[0]))["resume"]["words"] == []


def test_a_refined_stream_resumes_with_the_words_that_were_not_refined() -> None:
    """Whatever their times are: the server counts them. Words of audio that is lost are left out."""
    dialect = Native(16_000, refine=True)
    dialect.receive(json.loads(READY))
    for text, start, end in ((" раз", 0, 0.5), (" два", 1, 1.5), (" три", 2, 2.5)):
        dialect.receive(json.loads(committed(text, start, end, 0)) | {"live_from": round(end * 16_000)})
    dialect.receive(
        {"type": "refined", "text": " раз", "words": [], "replaces": 1, "kept_from": 9_000, "live_from": 40_000}
    )
    resume = json.loads(str(dialect.opening()[0]))["resume"]
    assert (resume["position"], resume["live_from"]) == (9_000, 40_000)
    assert [word["text"] for word in resume["words"]] == [" два", " три"]
    dialect.skip_to(1.75)
    resume = json.loads(str(dialect.opening()[0]))["resume"]
    assert (resume["position"], [word["text"] for word in resume["words"]]) == (28_000, [" три"])
    with pytest.raises(StreamFailed, match="2 words refined, expected 1"):
        dialect.receive({"type": "refined", "text": "", "words": [], "replaces": 2, "kept_from": 28_000})
