"""More than the server can hold: it says no in time, those inside keep their service, and nobody holds its memory."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from benchmarks.client import Native, Recording, StreamFailed, play, read_sound
from benchmarks.scoring import score
from benchmarks.serving import Server, running_server
from benchmarks.speech import read_reference
from tests.server.scripted import LOUD, QUIET, scripted_server, told
from whisperlivekit.core.commands import Start
from whisperlivekit.core.hypothesis import Hypothesis, Word
from whisperlivekit.core.session import Session, SessionConfig
from whisperlivekit.core.units import SAMPLE_RATE, WINDOW
from whisperlivekit.engine.scripted import ScriptedEngine
from whisperlivekit.session import admission
from whisperlivekit.session.pace import SAMPLE
from whisperlivekit.session.runner import MAX_WAITING_S

DATA = Path(__file__).parents[1] / "data"
LIMIT = 2


@pytest.fixture
def anyio_backend() -> str:
    """The loop that the client is written for."""
    return "asyncio"


@pytest.fixture(scope="module")
def small(base_model: Path) -> Iterator[Server]:
    """Gunicorn with one worker that takes two."""
    with running_server(1, WLK_MAX_SESSIONS=str(LIMIT)) as running:
        yield running


def check_served(recording: Recording) -> None:
    """Right, and soon: what somebody gets who is alone."""
    figures = score(recording.snapshots, read_reference(DATA / "prompts_24s.json"))
    assert figures.wer < 0.28, recording.committed
    assert figures.commit_p95_s is not None
    assert figures.commit_p95_s < 3


@pytest.mark.anyio
@pytest.mark.model
@pytest.mark.slow
async def test_twice_as_many_as_fit(small: Server) -> None:
    """Of four speakers two are served as if they were alone; two read before anything is accepted that it is full, and
    when to come again, as does a page that asks why, and a load balancer.
    """
    sound = read_sound(DATA / "prompts_24s.flac")
    refusals: list[str] = []
    served: list[Recording] = []

    async def speak(number: int) -> None:
        await asyncio.sleep(0.2 * number)
        try:
            served.append(await play(small.ws_url, Native(sound.rate, language="ru"), sound))
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
        assert f"this server takes {LIMIT}" in answer.json()["message"]
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{small.url}/ready")).status_code == 200, "there is room again"


@pytest.mark.anyio
@pytest.mark.model
@pytest.mark.slow
async def test_a_file_does_not_disturb_a_speaker(small: Server) -> None:
    """While files are transcribed one after the other, live speech comes as soon as ever; the files get done."""
    sound = read_sound(DATA / "prompts_24s.flac")
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
    recording = await play(small.ws_url, Native(sound.rate, language="ru"), sound)
    over.set()
    await uploading
    check_served(recording)
    assert all(len(text.split()) > 20 for text in texts)


def test_a_burst_is_slowed_and_not_kept() -> None:
    """70 s of audio at once: the server takes it as it works it off, loses nothing of it, and never holds much more
    than it may.
    """
    with scripted_server(ScriptedEngine(delay_s=0.03)) as server, server.connect() as socket:
        socket.send('{"type":"start"}')
        for _ in range(70):
            socket.send(LOUD)
        socket.send('{"type":"stop"}')
        events = told(socket)
    progress = [event for event in events if event["type"] == "progress"]
    assert len(progress) > 30
    held = max(event["received_s"] - event["kept_from"] / SAMPLE_RATE for event in progress)
    # What may wait, the window that is being decoded, and one piece.
    assert held <= MAX_WAITING_S + SessionConfig().max_window_s + 1
    assert events[-1]["audio_s"] == 70
    assert events[-1]["words"] == 70 / 0.4


def test_who_says_nothing_costs_no_decode() -> None:
    """Neither a stream of silence nor one without audio asks the model for anything."""
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


def test_speakers_are_refused_by_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit set, a worker whose model is slow finds out, refuses the next one, and serves those inside."""
    monkeypatch.setattr(admission, "ROUND_S", 0.1)
    with scripted_server(ScriptedEngine(delay_s=0.04)) as server, server.connect() as first:
        first.send('{"type":"start"}')
        for _ in range(SAMPLE + 2):
            first.send(LOUD[:16_000] + QUIET)
        with server.connect() as second:
            second.send('{"type":"start"}')
            server.wait_until("the model is known", lambda: server.service.admission.capacity == 2, within_s=30)
            with pytest.raises(InvalidStatus) as refused:
                server.connect()
            assert refused.value.response.status_code == 503
            assert "2 of 2 streams are in use" in json.loads(refused.value.response.body or b"")["message"]
            for socket in (first, second):
                socket.send('{"type":"stop"}')
                assert told(socket)[-1]["type"] == "done"


def decoded_at(turnaround_s: float, seconds: float, session: Session) -> list[float]:
    """Somebody speaks without a pause, and every answer takes so long: how much new audio each decode takes."""
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
            assert end == base + now + WINDOW, "a decode takes all the audio there is"
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
    """The slower the answers, the fewer decodes, each of them of all new audio: the lag does not grow."""
    session = Session(SessionConfig(step_s=0.5), Start())
    quick = decoded_at(0.1, 12, session)
    slow = decoded_at(1.5, 12, session)
    again = decoded_at(0.1, 12, session)
    window = WINDOW / SAMPLE_RATE
    assert all(0.5 <= step <= 0.5 + 2 * window for step in quick + again[1:])
    assert all(1.5 <= step <= 1.5 + 2 * window for step in slow[1:])
