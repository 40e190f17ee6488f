"""Deepgram's ``/v1/listen`` on real sockets, with a scripted engine."""

import asyncio
import io
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import numpy as np
import pytest
import soundfile
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.audio.test_stream_container import record
from tests.server.scripted import LOUD, QUIET, Server, limits, scripted_server
from whisperlivekit.engine.scripted import ScriptedEngine

RAW: dict[str, Any] = {"encoding": "linear16", "sample_rate": 16_000}
CLOSE = '{"type":"CloseStream"}'


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with scripted_server(idle_timeout=60) as running:
        yield running


def listen(server: Server, query: dict[str, Any] | None = None, **options: Any) -> ClientConnection:
    address = f"ws://127.0.0.1:{server.port}/v1/listen?{urlencode(RAW if query is None else query)}"
    socket: ClientConnection = connect(address, compression=None, max_size=None, **options)
    return socket


def told(socket: ClientConnection) -> list[dict[str, Any]]:
    """All messages up to the close frame, whatever its code."""
    messages: list[dict[str, Any]] = []
    try:
        while True:
            messages.append(json.loads(socket.recv(timeout=10)))
    except ConnectionClosed:
        return messages


def said(messages: list[dict[str, Any]]) -> str:
    """The final text."""
    finals = [message for message in messages if message["type"] == "Results" and message["is_final"]]
    return " ".join(final["channel"]["alternatives"][0]["transcript"] for final in finals).strip()


def test_a_stream(server: Server) -> None:
    """Final text, then Metadata with the totals and the id that the handshake's answer named, then close 1000."""
    with listen(server, RAW | {"interim_results": "true"}) as socket:
        assert socket.response is not None
        request_id = socket.response.headers["dg-request-id"]
        for at in range(0, len(LOUD), 1_001):
            socket.send(LOUD[at : at + 1_001])
        socket.send(LOUD[:6_400])
        socket.send(CLOSE)
        messages = told(socket)
    assert socket.close_code == 1000
    assert said(messages) == "раз два три"
    assert any(not message["is_final"] for message in messages[:-1])
    last = messages[-1]
    assert (last["type"], last["request_id"], last["duration"], last["channels"]) == ("Metadata", request_id, 1.2, 1)
    assert len({message["metadata"]["request_id"] for message in messages[:-1]} | {request_id}) == 1


@pytest.mark.parametrize("kind", ["webm", "ogg", "mp4", "wav"])
def test_pieces_of_a_media_file(server: Server, kind: str) -> None:
    """Without an encoding; the last words are in the rest that is decoded at the end."""
    with listen(server, {"language": "ru"}) as socket:
        for piece in record(kind, 1.3):
            socket.send(piece)
        socket.send('{"type":"KeepAlive"}')
        socket.send(CLOSE)
        messages = told(socket)
    assert socket.close_code == 1000
    assert said(messages).startswith("раз два три")
    assert messages[-1]["duration"] == pytest.approx(1.3, abs=0.07)


def test_two_channels(server: Server) -> None:
    """Each channel has its own text, in raw audio and in a media file."""
    left = np.frombuffer(LOUD + QUIET, "<i2")
    both = np.stack([np.zeros_like(left), left], axis=1)
    file = io.BytesIO()
    soundfile.write(file, both, 16_000, format="WAV")
    for query, data in ((RAW, both.tobytes()), ({}, file.getvalue())):
        with listen(server, query | {"channels": 2, "multichannel": "true"}) as socket:
            for at in range(0, len(data), 30_001):
                socket.send(data[at : at + 30_001])
            socket.send(CLOSE)
            messages = told(socket)
        assert socket.close_code == 1000
        results = [message for message in messages if message["type"] == "Results"]
        assert {tuple(result["channel_index"]) for result in results} == {(1, 2)}
        assert said(messages) == "раз два три"
        assert messages[-1]["channels"] == 2


def test_finalize_is_answered_at_once(server: Server) -> None:
    """With the text so far, and with an empty result when there is none; the stream goes on."""
    with listen(server) as socket:
        socket.send('{"type":"Finalize"}')
        first = json.loads(socket.recv(timeout=5))
        assert (said([first]), first["from_finalize"]) == ("", True)
        socket.send(LOUD)
        socket.send('{"type":"Finalize"}')
        second = json.loads(socket.recv(timeout=5))
        assert (said([second]), second["from_finalize"]) == ("раз два", True)
        socket.send(CLOSE)
        assert told(socket)[-1]["type"] == "Metadata"


def test_a_keep_alive_keeps_a_stream(server: Server) -> None:
    """Without audio and without KeepAlive a stream ends, with an error in Deepgram's form."""
    with limits(server, idle_s=0.4), listen(server) as socket:
        for _ in range(4):
            time.sleep(0.2)
            socket.send('{"type":"KeepAlive"}')
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.01)
        [error] = told(socket)
    assert (error["type"], error["variant"]) == ("Error", "timed_out")
    assert socket.close_code == 1008


def test_what_is_no_media_file(server: Server) -> None:
    """Raw audio without its encoding is told at once what is missing."""
    with listen(server, {}) as socket:
        socket.send(QUIET)
        [error] = told(socket)
    assert "raw audio needs its encoding and its sample rate" in error["description"]
    assert socket.close_code == 1007
    server.check_alive()


def test_wrong_options_are_rejected(server: Server) -> None:
    """With an HTTP status, Deepgram's body and the header that its clients log."""
    with pytest.raises(InvalidStatus) as caught:
        listen(server, RAW | {"language": "клингонский"})
    response = caught.value.response
    assert response.status_code == 415
    body = json.loads(response.body or b"")
    assert body["err_code"] == "unsupported_format"
    assert "клингонский" in body["err_msg"]
    assert body["request_id"] == response.headers["dg-request-id"]
    assert response.headers["dg-error"].startswith('language is "???????????", expected')


@pytest.mark.parametrize("asked", ["\r\nSet-Cookie: a=b", "\0", "\ud7ff", "\x7f"])
def test_a_header_cannot_be_smuggled(server: Server, asked: str) -> None:
    """What a client sent is quoted in a header only as far as it is plain text."""
    with pytest.raises(InvalidStatus) as caught:
        listen(server, RAW | {"language": asked})
    assert caught.value.response.status_code == 415
    assert "set-cookie" not in caught.value.response.headers
    response = posted(server, SPOKEN, {"language": asked})
    assert (response.status_code, "set-cookie" in response.headers) == (415, False)


def test_keys() -> None:
    """Deepgram's scheme for keys is Token; in browsers the key is a subprotocol after token."""
    key = "0123456789abcdef0123"
    with scripted_server(api_keys=key) as server:
        ways: tuple[dict[str, Any], ...] = (
            {"additional_headers": {"Authorization": f"Token {key}"}},
            {"subprotocols": ["token", key]},
        )
        for options in ways:
            with listen(server, **options) as socket:
                socket.send(CLOSE)
                assert told(socket)[-1]["type"] == "Metadata"
                assert socket.subprotocol == ("token" if "subprotocols" in options else None)
        with pytest.raises(InvalidStatus) as caught:
            listen(server, additional_headers={"Authorization": "Token wrong"})
        assert caught.value.response.status_code == 401


def test_a_draining_worker_lets_the_speaker_finish() -> None:
    """At the next pause the stream ends with all its words, then with close 1012."""
    with scripted_server(ScriptedEngine(delay_s=0.1)) as server, listen(server) as socket:
        socket.send(LOUD)
        server.wait_until("it is live", lambda: server.service.streams == 1)
        time.sleep(0.2)  # The audio has been read.
        loop = next(iter(server.uvicorn.servers)).get_loop()
        drained = asyncio.run_coroutine_threadsafe(server.service.drain(20.0), loop)
        time.sleep(0.3)
        socket.send(LOUD[:6_400])
        socket.send(QUIET)
        messages = told(socket)
        drained.result(10)
    assert said(messages) == "раз два три"
    assert {message["type"] for message in messages} == {"Results"}
    assert socket.close_code == 1012


# ------------------------------------------------------------------------------------------------------------ files


def posted(server: Server, data: bytes, query: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{server.url}/v1/listen",
        params=query or {},
        content=data,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        timeout=20,
    )


SPOKEN = (LOUD * 2)[: int(1.2 * 32_000)]


def test_a_media_file(server: Server) -> None:
    """The transcript with its words, and the totals; punctuation only where it is asked for."""
    file = b"".join(record("ogg", 1.2))
    response = posted(
        server, file, {"smart_format": "true", "language": "ru", "model": "nova-3"}, content_type="audio/ogg"
    )
    assert response.status_code == 200, response.text
    body = response.json()
    [alternative] = body["results"]["channels"][0]["alternatives"]
    assert alternative["transcript"] == "раз два три"
    assert [word["punctuated_word"] for word in alternative["words"]] == ["раз", "два", "три"]
    assert body["metadata"]["request_id"] == response.headers["dg-request-id"] == response.headers["x-request-id"]
    assert body["metadata"]["duration"] == pytest.approx(1.2, abs=0.05)
    [model] = body["metadata"]["models"]
    assert body["metadata"]["model_info"][model]["name"] == "base"
    assert "utterances" not in body["results"]
    assert "detected_language" not in body["results"]["channels"][0]


@pytest.mark.parametrize(
    ("query", "content_type"),
    [
        (RAW, "application/octet-stream"),
        ({}, "audio/l16; rate=16000"),
        ({"sample_rate": "16000"}, "audio/l16"),
        (
            {"encoding": "linear16", "sample_rate": "16000", "detect_language": "true", "utterances": "true"},
            "audio/wav",
        ),
    ],
)
def test_a_file_of_raw_audio(server: Server, query: dict[str, Any], content_type: str) -> None:
    """Its encoding is in the address or in the Content-Type."""
    response = posted(server, SPOKEN, query, content_type=content_type)
    assert response.status_code == 200, response.text
    results = response.json()["results"]
    assert results["channels"][0]["alternatives"][0]["transcript"] == "раз два три"
    if "utterances" in query:
        assert results["channels"][0]["detected_language"] == "ru"
        assert [utterance["transcript"] for utterance in results["utterances"]] == ["раз два три"]


def test_a_file_of_two_speakers(server: Server) -> None:
    """With multichannel each channel has its transcript; the number of channels is the file's, or that of raw audio."""
    left = np.frombuffer(LOUD + QUIET, "<i2")
    both = np.stack([np.zeros_like(left), left], axis=1)
    file = io.BytesIO()
    soundfile.write(file, both, 16_000, format="WAV")
    query = {"multichannel": "true", "utterances": "true"}
    for more, data in (({}, file.getvalue()), (RAW | {"channels": 2}, both.tobytes())):
        body = posted(server, data, query | more).json()
        transcripts = [channel["alternatives"][0]["transcript"] for channel in body["results"]["channels"]]
        assert transcripts == ["", "раз два три"]
        assert body["metadata"]["channels"] == 2
        assert {utterance["channel"] for utterance in body["results"]["utterances"]} == {1}
    mono = posted(server, b"".join(record("ogg", 1.2)), query).json()
    assert len(mono["results"]["channels"]) == 1
    soundfile.write(file := io.BytesIO(), np.zeros((16_000, 6)), 16_000, format="WAV")
    refused = posted(server, file.getvalue(), query)
    assert (refused.status_code, refused.json()["err_msg"]) == (415, "the file has 6 channels, expected 1 or 2")


@pytest.mark.parametrize(("encoding", "code"), [("mulaw", 0x80), ("alaw", 0xAA), ("linear32", None)])
def test_other_encodings_of_a_file(server: Server, encoding: str, code: int | None) -> None:
    """Loud and quiet in each encoding are heard as such."""
    if code is None:
        data = (np.frombuffer(SPOKEN, "<i2") / 32768).astype("<f4").tobytes()
        rate = "16000"
    else:
        data, rate = bytes([code] * 8 + [code ^ 0x80] * 8) * 600, "8000"
    response = posted(server, data, {"encoding": encoding, "sample_rate": rate})
    assert response.json()["results"]["channels"][0]["alternatives"][0]["transcript"] == "раз два три"


@pytest.mark.parametrize(
    ("data", "query", "status", "message"),
    [
        (b'{"url":"http://x"}', {}, 400, "this server opens no addresses"),
        (b"x" * 2_000, {}, 415, "not a media file"),
        (b"", {}, 415, "the file is empty"),
        (b"", RAW, 415, "no audio that can be decoded"),
        (SPOKEN, {"encoding": "mp7"}, 415, "encoding is 'mp7', expected one of"),
        (SPOKEN, {"callback": "http://x"}, 400, "callback is given"),
    ],
)
def test_mistakes_in_a_request(server: Server, data: bytes, query: dict[str, Any], status: int, message: str) -> None:
    """In Deepgram's form, with the id in the log."""
    response = posted(server, data, query, content_type="application/json" if data[:1] == b"{" else "audio/wav")
    assert response.status_code == status, response.text
    body = response.json()
    assert message in body["err_msg"]
    assert body["request_id"] == response.headers["x-request-id"]
    server.check_alive()


def test_a_file_has_the_bounds_of_an_upload(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that is too long is refused, and its bytes are not kept."""
    monkeypatch.setattr("whisperlivekit.server.upload.MAX_BYTES", 10_000)
    response = posted(server, SPOKEN, RAW)
    assert (response.status_code, response.json()["err_code"]) == (413, "message_too_big")

    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield bytes(1_000)

    response = httpx.post(f"{server.url}/v1/listen", params=RAW, content=chunks())
    assert response.status_code == 413
    assert len(server.service.uploads) == 0


def test_a_full_server_takes_no_file() -> None:
    with scripted_server(max_sessions=1) as server, listen(server):
        server.wait_until("it is live", lambda: server.service.streams == 1)
        response = posted(server, SPOKEN, RAW)
    assert (response.status_code, response.json()["err_code"]) == (503, "server_full")
    assert response.headers["retry-after"]
