"""More load than the server can take: it refuses new streams, serves the open ones, and bounds its memory."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from benchmarks.client import Native, Recording, StreamFailed, play
from benchmarks.serving import Server, running_server
from benchmarks.speech import read_speech
from tests.server.scripted import LOUD, QUIET, scripted_server, told
from tests.speech import DATA, assert_says, clip
from whisperlivekit.core.commands import Start
from whisperlivekit.core.hypothesis import Hypothesis, Word
from whisperlivekit.core.session import Session, SessionConfig
from whisperlivekit.core.units import SAMPLE_RATE, WINDOW
from whisperlivekit.engine.scripted import ScriptedEngine
from whisperlivekit.session import admission
from whisperlivekit.session.pace import SAMPLE
from whisperlivekit.session.runner import MAX_WAITING_S

LIMIT = 2
SOUND, WORDS = read_speech(DATA / "prompts_24s.flac", 9)
"""One sentence of 16 words."""


@pytest.fixture(scope="module")
def small(base_model: Path) -> Iterator[Server]:
    """Gunicorn with one worker that takes ``LIMIT`` streams."""
    with running_server(1, WLK_MAX_SESSIONS=str(LIMIT)) as running:
        yield running


def check_served(recording: Recording) -> None:
    """The words are right, and the first ones are committed while the sentence is still spoken."""
    assert_says(recording.committed, " ".join(word.text for word in WORDS))
    assert next(shot.t for shot in recording.snapshots if shot.committed) < SOUND.seconds


@pytest.mark.anyio
@pytest.mark.model
@pytest.mark.slow
async def test_twice_as_many_as_fit(small: Server) -> None:
    """Of four streams two are served and two are refused before the WebSocket is accepted, with when to try again.

    A page that asks for the reason and a load balancer that asks ``/ready`` get the same answer.
    """
    refusals: list[str] = []
    served: list[Recording] = []

    async def speak(number: int) -> None:
        await asyncio.sleep(0.2 * number)
        try:
            served.append(await play(small.ws_url, Native(SOUND.rate, language="ru"), SOUND))
        except StreamFailed as refused:
            refusals.append(refused.code)

    async def ask() -> list[httpx.Response]:
        await asyncio.sleep(3)
        with pytest.raises(InvalidStatus) as refused:
            await connect(small.ws_url)
        response = refused.value.response
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 0
        assert json.loads(response.body or b"")["code"] == "server_full"
        async with httpx.AsyncClient() as client:
            return [await client.get(f"{small.url}{path}") for path in ("/ws", "/ready")]

    asking = asyncio.create_task(ask())
    await asyncio.gather(*(speak(number) for number in range(2 * LIMIT)))
    why, ready = await asking
    assert len(served) == LIMIT
    assert refusals == ["503"] * LIMIT
    for recording in served:
        check_served(recording)
    for answer in (why, ready):
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert f"{LIMIT} of {LIMIT} streams are in use" in answer.json()["message"]
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{small.url}/ready")).status_code == 200, "the streams are over"


@pytest.mark.anyio
@pytest.mark.model
@pytest.mark.slow
async def test_a_file_does_not_hold_up_a_live_stream(small: Server) -> None:
    """While files are transcribed one after the other, a live stream is served, and the files are transcribed."""
    content = (DATA / "prompts_24s.flac").read_bytes()
    over = asyncio.Event()
    texts: list[str] = []

    async def upload() -> None:
        async with httpx.AsyncClient(timeout=120) as client:
            while not over.is_set():
                answer = await client.post(
                    f"{small.url}/v1/audio/transcriptions", files={"file": ("a.flac", content)}, data={"language": "ru"}
                )
                assert answer.status_code == 200, answer.text
                texts.append(answer.json()["text"])

    uploading = asyncio.create_task(upload())
    recording = await play(small.ws_url, Native(SOUND.rate, language="ru"), SOUND)
    over.set()
    await uploading
    check_served(recording)
    assert texts
    for text in texts:
        assert_says(text, clip("prompts_24s").text)


def test_a_burst_of_audio_is_slowed_by_back_pressure() -> None:
    """Of 70 s of audio sent at once the server reads only as much as it may hold, and transcribes all of it."""
    with scripted_server(ScriptedEngine(delay_s=0.03)) as server, server.connect() as socket:
        socket.send('{"type":"start"}')
        for _ in range(70):
            socket.send(LOUD)
        socket.send('{"type":"stop"}')
        events = told(socket)
    progress = [event for event in events if event["type"] == "progress"]
    assert len(progress) > 30
    held = max(event["received_s"] - event["kept_from"] / SAMPLE_RATE for event in progress)
    # What may wait, the window that is being decoded, and one message of a second.
    assert held <= MAX_WAITING_S + SessionConfig().max_window_s + 1
    assert events[-1]["audio_s"] == 70
    assert events[-1]["words"] == 70 / 0.4


def test_a_stream_without_speech_costs_no_decode() -> None:
    """Neither a stream of silence nor one without audio sends a request to the model."""
    engine = ScriptedEngine()
    with scripted_server(engine) as server, server.connect() as silent, server.connect() as mute:
        for socket in (silent, mute):
            socket.send('{"type":"start"}')
        for _ in range(40):
            silent.send(QUIET)
        for socket in (silent, mute):
            socket.send('{"type":"stop"}')
            assert told(socket)[-1]["type"] == "done"
    assert engine.requests == []


def test_streams_are_refused_by_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a configured limit a worker measures that its model is slow, refuses the next stream, serves the rest."""
    monkeypatch.setattr(admission, "ROUND_S", 0.3)
    with scripted_server(ScriptedEngine(delay_s=0.12), cpu_threads=1) as server, server.connect() as first:
        first.send('{"type":"start"}')
        for _ in range(SAMPLE + 2):
            first.send(LOUD[:16_000] + QUIET)
        with server.connect() as second:
            second.send('{"type":"start"}')
            server.wait_until("two are the most", lambda: server.service.admission.capacity == 2, within_s=60)
            with pytest.raises(InvalidStatus) as refused:
                server.connect()
            assert refused.value.response.status_code == 503
            assert "2 of 2 streams are in use" in json.loads(refused.value.response.body or b"")["message"]
            for socket in (first, second):
                socket.send('{"type":"stop"}')
                assert told(socket)[-1]["type"] == "done"


def decoded_at(turnaround_s: float, seconds: float, session: Session) -> list[float]:
    """Seconds of new audio in each decode of speech without a pause, where every answer takes ``turnaround_s``.

    The clock is simulated.
    """
    taken: list[float] = []
    answer_at = 0.0
    pending: Hypothesis | None = None
    base = session.received
    heard = 0
    for now in range(0, round(seconds * SAMPLE_RATE), WINDOW):
        session.receive_audio(np.full(WINDOW, 0.1, np.float32))
        session.receive_speech(np.ones(1, np.float32))
        if pending is not None and now / SAMPLE_RATE >= answer_at:
            session.receive_hypothesis(pending)
            pending = None
        session.events()
        if pending is None and (request := session.next_decode()) is not None:
            end = request.start + len(request.samples)
            assert end == base + now + WINDOW, "a decode takes all the audio that has arrived"
            taken.append((end - heard) / SAMPLE_RATE)
            heard = end
            answer_at = now / SAMPLE_RATE + turnaround_s
            words = tuple(
                Word(f" w{n}", n * 8_000, (n + 1) * 8_000, 0.9)
                for n in range(-(-request.start // 8_000) + len(request.prefix.split()), end // 8_000)
            )
            pending = Hypothesis(request.id, words, language="ru")
    if pending is not None:
        session.receive_hypothesis(pending)
        session.events()
    return taken[1:]


def test_the_step_grows_with_the_load_and_shrinks_again() -> None:
    """The slower the answers, the fewer the decodes, each with all new audio: the lag does not grow."""
    session = Session(SessionConfig(step_s=0.5), Start())
    quick = decoded_at(0.1, 12, session)
    slow = decoded_at(1.5, 12, session)
    again = decoded_at(0.1, 12, session)
    window = WINDOW / SAMPLE_RATE
    assert all(0.5 <= step <= 0.5 + 2 * window for step in quick + again[1:])
    assert all(1.5 <= step <= 1.5 + 2 * window for step in slow[1:])
