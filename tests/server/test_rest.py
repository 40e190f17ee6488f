"""Files over HTTP."""

import io
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, get_args

import httpx
import numpy as np
import pytest
import soundfile

from tests.server.scripted import LOUD, Server, limits, scripted_server
from tests.server.test_upload import upload_head
from whisperlivekit.engine.scripted import ScriptedEngine
from whisperlivekit.errors import ModelUnavailable
from whisperlivekit.server import rest
from whisperlivekit.wire.openai_rest import RESPONSE_FORMATS


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with scripted_server() as running:
        yield running


def wav(seconds: int = 2) -> bytes:
    buffer = io.BytesIO()
    samples = np.tile(np.frombuffer(LOUD, "<i2"), seconds)
    soundfile.write(buffer, samples, 16_000, format="WAV")
    return buffer.getvalue()


def post(server: Server, content: bytes | None = None, **fields: str) -> httpx.Response:
    files = {"file": ("speech.wav", wav() if content is None else content)}
    return httpx.post(f"{server.url}/v1/audio/transcriptions", files=files, data=fields, timeout=20)


def test_json_is_the_default(server: Server) -> None:
    """The text, as OpenAI's clients expect it; the fields that choose a model are accepted."""
    response = post(server, model="whisper-1", temperature="0", language="ru")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"text": "раз два три четыре пять"}


def test_all_formats(server: Server) -> None:
    """text, srt, vtt and verbose_json say the same words with their times."""
    assert post(server, response_format="text").text == "раз два три четыре пять\n"
    srt = post(server, response_format="srt")
    assert srt.text.startswith("1\n00:00:00,000 --> 00:00:02,000\nраз два три четыре пять\n")
    vtt = post(server, response_format="vtt")
    assert vtt.text.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nраз два")
    assert vtt.headers["content-type"].startswith("text/vtt")
    verbose = post(server, response_format="verbose_json").json()
    assert verbose["language"] == "russian"
    assert verbose["duration"] == 2.0
    assert verbose["text"] == "раз два три четыре пять"
    assert [word["word"] for word in verbose["words"]] == verbose["text"].split()
    assert verbose["words"][1] == {"word": "два", "start": 0.4, "end": 0.8, "probability": 0.9}
    assert "".join(segment["text"] for segment in verbose["segments"]).strip() == verbose["text"]


def test_a_detected_language_is_reported(server: Server) -> None:
    """And none if the file holds no speech."""
    heard = post(server, language="auto", response_format="verbose_json")
    assert heard.json()["language"] == "russian"
    silence = io.BytesIO()
    soundfile.write(silence, np.zeros(16_000, np.int16), 16_000, format="WAV")
    still = post(server, silence.getvalue(), language="auto", response_format="verbose_json")
    assert still.json()["language"] is None


@pytest.mark.parametrize(
    ("content", "fields", "status_and_code", "found"),
    [
        (b"no audio", {}, (415, "bad_audio"), "not a media file"),
        (b"", {}, (415, "bad_audio"), "empty"),
        (None, {"response_format": "xml"}, (400, "bad_message"), "expected one of json, text, srt, vtt, verbose_json"),
        (None, {"language": "russian"}, (415, "unsupported_format"), 'did you mean "ru"'),
        (None, {"promt": "x"}, (400, "bad_message"), "promt is an unknown field"),
        (None, {"prompt": "x" * 1001}, (400, "bad_message"), "prompt is text of 1001 characters"),
    ],
)
def test_bad_requests(
    server: Server, content: bytes | None, fields: dict[str, str], status_and_code: tuple[int, str], found: str
) -> None:
    """What is wrong, in the shape that OpenAI's clients read."""
    response = post(server, content, **fields)
    error: dict[str, Any] = response.json()["error"]
    assert (response.status_code, error["code"]) == status_and_code
    assert error["type"] == "invalid_request_error"
    assert found in error["message"]
    assert server.service.streams == server.service.admission.open_streams == 0


@pytest.mark.parametrize(
    "request_of",
    [
        {"data": {"model": "x"}},
        {"content": b"--", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        {"content": b"{}", "headers": {"content-type": "application/json"}},
        {"content": b"", "headers": {"content-type": "multipart/form-data"}},
    ],
)
def test_a_body_that_is_no_form_with_a_file(server: Server, request_of: dict[str, Any]) -> None:
    """Any other body is a 400 with a reason."""
    response = httpx.post(f"{server.url}/v1/audio/transcriptions", **request_of)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "bad_message"


def test_a_key_is_asked_for() -> None:
    """As on the WebSocket: 401 without the key."""
    key = "0123456789abcdef"
    with scripted_server(api_keys=key) as server:
        assert post(server).status_code == 401
        files = {"file": ("speech.wav", wav())}
        headers = {"Authorization": f"Bearer {key}"}
        address = f"{server.url}/v1/audio/transcriptions"
        assert httpx.post(address, files=files, headers=headers, timeout=20).status_code == 200


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

    monkeypatch.setattr(rest, "decode", failing)
    response = post(server)
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
    assert "library" not in response.text
    server.wait_until("the place is free", lambda: server.service.admission.open_streams == 0)
    server.check_alive()


def test_uploads_without_a_body_take_no_place() -> None:
    """Clients that send headers only leave every place to streams and to complete files."""
    with scripted_server(max_sessions=4) as server, ExitStack() as waiting:
        for _ in range(5):
            waiting.enter_context(upload_head(server))
        time.sleep(0.3)
        assert httpx.get(f"{server.url}/ready").status_code == 200
        server.check_alive()
        assert post(server).status_code == 200


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


def test_the_formats_are_those_that_can_be_written() -> None:
    """The field's type and the writers list the same names."""
    assert set(get_args(rest.ResponseFormat)) == set(RESPONSE_FORMATS)
