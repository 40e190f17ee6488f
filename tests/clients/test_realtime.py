"""OpenAI's Realtime API with the clients that people have: openai's own, LiveKit's and Pipecat's, unmodified."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from benchmarks.client import read_sound
from benchmarks.dialects import protocol
from benchmarks.serving import Server
from benchmarks.speech import read_speech
from tests.clients.conftest import RunClient
from tests.server.scripted import Server as ScriptedServer
from tests.server.scripted import scripted_server
from tests.speech import DATA, assert_says, clip
from whisperlivekit.server.service import State

pytestmark = [pytest.mark.model, pytest.mark.slow]

CLIENT = "realtime"
"""One environment for all three."""

RATE = 24_000

TRANSCRIPTION = "conversation.item.input_audio_transcription"


@pytest.fixture
def phrase(tmp_path: Path) -> str:
    """3 s of speech at 24 kHz."""
    path = tmp_path / "phrase.s16le"
    path.write_bytes(protocol("realtime").sound(read_sound(DATA / "phrase_3s.flac")).samples.tobytes())
    return str(path)


def test_openai_hears_utterances(server: Server, run_client: RunClient, tmp_path: Path) -> None:
    """Two prompts are items of their own, with their events in order and the text of their deltas."""
    sound, words = read_speech(DATA / "prompts_24s.flac", 14)
    path = tmp_path / "prompts.s16le"
    path.write_bytes(protocol("realtime").sound(sound).samples.tobytes())
    found = run_client(CLIENT, "realtime_openai", f"{server.url}/v1", str(path), "server_vad")
    assert_says(" ".join(found["transcripts"]), " ".join(word.text for word in words))
    assert len(found["transcripts"]) > 1
    assert [text for text in found["transcripts"] if text] == found["deltas"]
    assert found["usage"]["type"] == "duration"
    assert 1 < found["usage"]["seconds"] < sound.seconds
    assert found["session"]["type"] == "transcription"
    kinds = [kind for kind, _ in groupby(found["kinds"])]
    assert kinds[:3] == ["session.created", "session.updated", "input_audio_buffer.speech_started"]
    for kind in ("speech_started", "speech_stopped", "committed"):
        assert kinds.count(f"input_audio_buffer.{kind}") == len(found["transcripts"])
    for kind in ("conversation.item.added", "conversation.item.done", f"{TRANSCRIPTION}.completed"):
        assert kinds.count(kind) == len(found["transcripts"])


def test_openai_commits(server: Server, run_client: RunClient, phrase: str) -> None:
    """Without speech detection the words come while they are spoken, and the commit completes them."""
    found = run_client(CLIENT, "realtime_openai", f"{server.url}/v1", phrase, "client")
    [transcript] = found["transcripts"]
    assert_says(transcript, clip("phrase_3s").text)
    assert found["deltas"] == [transcript]
    kinds = found["kinds"]
    assert not [kind for kind in kinds if "speech" in kind]
    assert kinds[-1] == f"{TRANSCRIPTION}.completed"
    assert found["usage"]["seconds"] == pytest.approx(read_sound(DATA / "phrase_3s.flac").seconds, abs=0.1)
    assert found["session"]["audio"]["input"]["turn_detection"] is None


def test_openai_connects_again_when_a_worker_shuts_down(run_client: RunClient, tmp_path: Path) -> None:
    """The close code is one after which openai's client makes another connection; both utterances are transcribed."""
    silence = np.zeros(RATE, np.int16)
    tone = (np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE) * 8_000).astype(np.int16)
    path = tmp_path / "two_tones.s16le"
    path.write_bytes(np.concatenate([silence, tone, silence, silence, silence, tone]).tobytes())
    with scripted_server() as server, ThreadPoolExecutor() as pool:
        running = pool.submit(run_client, CLIENT, "realtime_openai", f"{server.url}/v1", str(path), "server_vad")
        server.wait_until("somebody speaks", lambda: _speaking(server), within_s=30)
        loop = next(iter(server.uvicorn.servers)).get_loop()
        asyncio.run_coroutine_threadsafe(server.service.drain(10.0), loop).result(15)
        server.service._state = State.READY  # The worker that takes its place.
        found = running.result(60)
    assert set(found["close_codes"]) == {1012}
    assert found["kinds"].count("session.created") == 2
    assert len([text for text in found["transcripts"] if text]) == 2
    assert found["transcripts"] == found["deltas"]


def _speaking(server: ScriptedServer) -> bool:
    return bool(server.service._engine and server.service._engine.requests)  # type: ignore[attr-defined]


def test_livekit(server: Server, run_client: RunClient, phrase: str) -> None:
    """LiveKit's STT class gets interim and final text."""
    found = run_client(CLIENT, "realtime_livekit", f"{server.url}/v1", phrase)
    assert_says(" ".join(found["finals"]), clip("phrase_3s").text)
    assert found["interims"]
    assert found["finals"][0].startswith(found["interims"][0])
    assert set(found["languages"]) == {"ru"}


@pytest.mark.parametrize("turns", ["server_vad", "local"])
def test_pipecat(server: Server, run_client: RunClient, phrase: str, turns: str) -> None:
    """Pipecat's service pushes the text into its pipeline, with the server's speech detection or with its own."""
    url = f"{server.url.replace('http', 'ws')}/v1/realtime"
    found = run_client(CLIENT, "realtime_pipecat", url, phrase, turns)
    assert not found["errors"]
    assert_says(" ".join(found["finals"]), clip("phrase_3s").text)
    assert "".join(found["interims"]).strip() in " ".join(found["finals"])
    if turns == "server_vad":
        assert found["started"] == found["stopped"] == len(found["finals"])
