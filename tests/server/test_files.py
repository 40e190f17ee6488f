"""A file is admitted, transcribed and given up like a stream."""

import struct
import threading
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from tests.server.scripted import Server, limits, scripted_server
from tests.server.test_rest import post, streamed, wav
from whisperlivekit.engine.scripted import ScriptedEngine
from whisperlivekit.errors import ModelUnavailable
from whisperlivekit.server import files


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with scripted_server() as running:
        yield running


def test_a_full_server_rejects_a_file() -> None:
    """A file takes the place of a stream: 503 with Retry-After."""
    with scripted_server(max_sessions=1) as server, server.connect() as socket:
        socket.send('{"type":"start"}')
        socket.recv()
        response = post(server)
        assert response.status_code == 503
        assert response.headers["retry-after"] == "5"
        assert response.json()["error"]["code"] == "server_full"


def test_an_engine_that_fails_is_a_503() -> None:
    """The model fails while it transcribes a file."""
    engine = ScriptedEngine()
    with scripted_server(engine) as server:
        engine.error = ModelUnavailable("the model does not serve any more")
        response = post(server)
        assert response.status_code == 503
        assert response.json()["error"] == {
            "message": "the model does not serve any more",
            "type": "server_error",
            "param": None,
            "code": "model_unavailable",
            "session": response.headers["x-request-id"],
        }


def test_a_client_that_hangs_up_is_not_served() -> None:
    """Nobody reads the response: the work is cancelled and its place is free."""
    with scripted_server(ScriptedEngine(delay_s=0.2)) as server:
        client = httpx.Client()
        failed = threading.Event()

        def ask() -> None:
            try:
                client.post(
                    f"{server.url}/v1/audio/transcriptions",
                    files={"file": ("a.wav", wav(120))},
                    timeout=httpx.Timeout(0.6),
                )
            except httpx.TransportError:
                failed.set()

        asking = threading.Thread(target=ask)
        asking.start()
        server.wait_until("the file is being served", lambda: server.service.streams == 1)
        asking.join(10)
        client.close()
        assert failed.is_set()
        server.wait_until("the work is cancelled", lambda: server.service.streams == 0, within_s=3)
        assert server.service.admission.open_streams == 0


def wav_of_64_bits() -> bytes:
    """A WAV file of 64-bit integers. PyAV raises ValueError for such frames if they are converted by its own method."""
    data = bytes(8 * 1_600)
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, 1, 16_000, 128_000, 8, 64)
    return head + struct.pack("<4sI", b"data", len(data)) + data


def test_a_file_of_64_bit_samples_is_transcribed(server: Server) -> None:
    """It once left the request waiting for ever; now it is answered, and its place is free again."""
    response = post(server, wav_of_64_bits())
    assert response.status_code == 200
    server.wait_until("the place is free", lambda: server.service.admission.open_streams == 0)
    assert server.service.streams == 0


@pytest.mark.parametrize("error", [ValueError("a library's own"), MemoryError(), EOFError()])
def test_whatever_is_raised_while_a_file_is_read_ends_the_request(
    server: Server, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 500 without details; the place is free again and the server goes on."""

    def failing(_: object) -> Iterator[np.ndarray]:
        yield np.zeros(16_000, np.float32)
        raise error

    monkeypatch.setattr(files, "decode", failing)
    response = post(server)
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert "library" not in response.text
    server.wait_until("the place is free", lambda: server.service.admission.open_streams == 0)
    server.check_alive()


def test_a_file_is_no_longer_than_the_longest_session(server: Server) -> None:
    """Its audio counts: 413 as soon as more was read than WLK_MAX_SESSION_HOURS allows."""
    with limits(server, session_s=1.5):
        response = post(server, wav(2))
        assert (response.status_code, response.json()["error"]["code"]) == (413, "message_too_big")
        assert "WLK_MAX_SESSION_HOURS" in response.json()["error"]["message"]
        assert post(server, wav(1)).status_code == 200
    assert server.service.admission.open_streams == 0


def test_a_transcription_takes_no_longer_than_the_longest_session() -> None:
    """The time counts too, whatever the reason: 408, and the place is free again."""
    with scripted_server(ScriptedEngine(delay_s=30)) as server, limits(server, session_s=2.0):
        response = post(server, wav(1))
        assert (response.status_code, response.json()["error"]["code"]) == (408, "timed_out")
        assert server.service.admission.open_streams == server.service.streams == 0


def test_a_rejected_file_is_counted_and_a_failed_one_is_closed_with_its_code() -> None:
    """As for streams: what was never admitted is a rejection, what was admitted ends with a code."""
    with scripted_server(max_sessions=1) as server:
        post(server, response_format="xml")
        post(server, b"no audio")
        post(server)
        told = httpx.get(f"{server.url}/metrics").text.splitlines()
    for line in (
        'whisperlivekit_sessions_refused_total{code="bad_message"} 1.0',
        'whisperlivekit_sessions_opened_total{protocol="openai_rest"} 2.0',
        'whisperlivekit_sessions_closed_total{code="bad_audio"} 1.0',
        'whisperlivekit_sessions_closed_total{code="ok"} 1.0',
        "whisperlivekit_audio_seconds_total 2.0",
        "whisperlivekit_words_total 5.0",
        "whisperlivekit_session_audio_seconds_count 1.0",
        "whisperlivekit_commit_latency_seconds_count 0.0",
    ):
        assert line in told


def test_a_client_that_leaves_a_stream_is_not_served() -> None:
    """The work is cancelled and its place is free."""
    with scripted_server(ScriptedEngine(delay_s=0.1)) as server:
        with streamed(server, 240) as response:
            next(response.iter_text())
        server.wait_until("the work is cancelled", lambda: server.service.streams == 0, within_s=3)
        assert server.service.admission.open_streams == 0
        told = httpx.get(f"{server.url}/metrics").text
        assert 'whisperlivekit_sessions_closed_total{code="disconnected"} 1.0' in told
