"""OpenAI's HTTP API."""

import io
import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from tests.server.scripted import LOUD, Server, scripted_server
from tests.server.test_upload import upload_head
from whisperlivekit.core.hypothesis import DecodeRequest
from whisperlivekit.engine.scripted import ScriptedEngine
from whisperlivekit.errors import ModelUnavailable


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with scripted_server() as running:
        yield running


def wav(seconds: int = 2) -> bytes:
    buffer = io.BytesIO()
    samples = np.tile(np.frombuffer(LOUD, "<i2"), seconds)
    soundfile.write(buffer, samples, 16_000, format="WAV")
    return buffer.getvalue()


Fields = dict[str, str | list[str]]


def post(
    server: Server, content: bytes | None = None, path: str = "transcriptions", **fields: str | list[str]
) -> httpx.Response:
    return send(server, fields, content, path)


def send(server: Server, fields: Fields, content: bytes | None = None, path: str = "transcriptions") -> httpx.Response:
    """A list is sent as clients of OpenAI send it: a field whose name ends in brackets, once for each entry."""
    files = {"file": ("speech.wav", wav() if content is None else content)}
    data = {f"{name}[]" if isinstance(value, list) else name: value for name, value in fields.items()}
    return httpx.post(f"{server.url}/v1/audio/{path}", files=files, data=data, timeout=20)


def streamed(server: Server, seconds: int) -> AbstractContextManager[httpx.Response]:
    """The answer to a file of this length, which is read while it comes."""
    files = {"file": ("speech.wav", wav(seconds))}
    address = f"{server.url}/v1/audio/transcriptions"
    return httpx.stream("POST", address, files=files, data={"stream": "true"}, timeout=20)


def last_request(server: Server) -> DecodeRequest:
    engine = server.service._engine
    assert isinstance(engine, ScriptedEngine)
    return engine.requests[-1]


def test_json_is_the_default(server: Server) -> None:
    """The text, as OpenAI's clients expect it; the fields that choose a model are accepted."""
    response = post(server, model="whisper-1", temperature="0", language="ru")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "text": "раз два три четыре пять",
        "languages": [{"code": "ru"}],
        "usage": {"type": "duration", "seconds": 2},
    }


def test_all_formats(server: Server) -> None:
    """text, srt, vtt and verbose_json say the same words with their times."""
    assert post(server, response_format="text").text == "раз два три четыре пять\n"
    srt = post(server, response_format="srt")
    assert srt.text.startswith("1\n00:00:00,000 --> 00:00:02,000\nраз два три четыре пять\n")
    vtt = post(server, response_format="vtt")
    assert vtt.text.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nраз два")
    assert vtt.headers["content-type"].startswith("text/vtt")
    both = ["segment", "word"]
    verbose = post(server, response_format="verbose_json", timestamp_granularities=both).json()
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
    assert still.json()["language"] == ""


def test_verbose_json_has_segments_unless_words_are_asked_for(server: Server) -> None:
    """As OpenAI's; some clients send the field's name without brackets."""
    default = post(server, response_format="verbose_json").json()
    words = post(server, response_format="verbose_json", timestamp_granularities=["word"]).json()
    bare: Fields = {"response_format": "verbose_json", "timestamp_granularities": "word"}
    assert "segments" in default
    assert "words" not in default
    for told in (words, send(server, bare).json()):
        assert "segments" not in told
        assert len(told["words"]) == 5


def stereo_wav() -> bytes:
    """Two speakers: one in the first second, the other in the third."""
    buffer = io.BytesIO()
    loud, quiet = np.frombuffer(LOUD, "<i2"), np.zeros(16_000, np.int16)
    both = np.stack([np.concatenate([loud, quiet, quiet]), np.concatenate([quiet, quiet, loud])], axis=1)
    soundfile.write(buffer, both, 16_000, format="WAV")
    return buffer.getvalue()


def test_a_stereo_file_is_a_dialogue(server: Server) -> None:
    """In every format, with the words of each channel under its speaker, in the order of time."""

    def said(**fields: Any) -> httpx.Response:
        return post(server, stereo_wav(), multichannel="true", **fields)

    lines = said(response_format="text").text.splitlines()
    assert [line[:3] for line in lines] == ["1: ", "2: "]
    assert lines[0].startswith("1: раз два")
    said_first, said_second = (len(line.split()) - 1 for line in lines)
    assert said().json()["text"] == "\n".join(lines)
    srt = said(response_format="srt").text
    assert srt.startswith(
        f"1\n00:00:00,000 --> 00:00:0{said_first * 0.4:.3f}\n{lines[0]}\n\n2\n00:00:0".replace(".", ",")
    )
    assert f"\n{lines[1]}\n" in srt
    assert f"\n{lines[1]}\n" in said(response_format="vtt").text
    told = said(response_format="verbose_json", timestamp_granularities=["segment", "word"]).json()
    assert [segment["channel"] for segment in told["segments"]] == [0, 1]
    assert [segment["id"] for segment in told["segments"]] == [0, 1]
    assert [word["channel"] for word in told["words"]] == [0] * said_first + [1] * said_second
    assert told["duration"] == 3.0
    assert said(stream="true").json()["text"] == "\n".join(lines), "a dialogue is not streamed"


def test_a_stereo_file_is_mixed_unless_a_dialogue_is_asked_for(server: Server) -> None:
    """And one channel is not a dialogue."""
    assert not post(server, stereo_wav(), response_format="text").text.startswith("1: ")
    refused = post(server, multichannel="true")
    assert refused.status_code == 415
    assert refused.json()["error"]["message"] == "the file has 1 channel, expected 2, one for each speaker"


def test_a_stereo_file_takes_two_places() -> None:
    """A server with one place does not take it, and says so at once."""
    with scripted_server(max_sessions=1) as server:
        full = post(server, stereo_wav(), multichannel="true")
        assert (full.status_code, full.json()["error"]["code"]) == (503, "server_full")
        found = "0 of 1 streams are in use, and 2 more were asked for; try again later"
        assert full.json()["error"]["message"] == found
        assert post(server, stereo_wav()).status_code == 200
        assert server.service.admission.open_streams == 0


def test_what_other_services_have_is_ignored(server: Server) -> None:
    """Options of this server's own choosing, fields that it does not know, and models that it does not have."""
    fields: Fields = {
        "model": "gpt-4o-transcribe",
        "temperature": "0.2",
        "include": ["logprobs"],
        "vad_filter": "true",
        "known_speaker_names": ["a", "b"],
        "chunking_strategy[type]": "server_vad",
        "chunking_strategy[threshold]": "0.5",
    }
    response = send(server, fields)
    assert response.json()["text"] == "раз два три четыре пять"


def test_keywords_are_hotwords(server: Server) -> None:
    """In any of the forms in which clients send them, each once."""
    post(server, keywords=["Сбербанк", " Газпром ", ""], hotwords="Яндекс, Сбербанк\nдва слова")
    assert last_request(server).hotwords == ("Сбербанк", "Газпром", "Яндекс", "два слова")
    assert post(server, keywords=[f"слово{number}" for number in range(100)]).status_code == 200
    assert len(last_request(server).hotwords) == 100


def test_only_the_end_of_a_long_prompt_counts(server: Server) -> None:
    """As Whisper does it, instead of an error."""
    post(server, prompt="я" * 5_000 + "конец")
    assert last_request(server).prompt == "я" * 995 + "конец"


@pytest.mark.parametrize(
    ("fields", "language"),
    [
        ({}, "ru"),
        ({"language": "de"}, "de"),
        ({"language": "ru-RU"}, "ru"),
        ({"languages": ["de"]}, "de"),
        ({"languages": ["de", "ru"]}, None),
        ({"languages": ["de", "ru"], "language": "en"}, "en"),
        ({"language": "", "languages": [""]}, "ru"),
    ],
)
def test_one_language_is_used_and_of_several_one_is_detected(
    server: Server, fields: Fields, language: str | None
) -> None:
    """No language: the server's."""
    assert send(server, fields).status_code == 200
    assert last_request(server).language == language


# ---- translations


def test_a_file_is_translated(server: Server) -> None:
    """Its decodes ask for a translation, and the answer says that its text is English."""
    response = post(server, path="translations", response_format="verbose_json", language="ru")
    assert (response.json()["task"], response.json()["language"]) == ("translate", "english")
    assert response.json()["text"] == "раз два три четыре пять"
    assert (last_request(server).task, last_request(server).language) == ("translate", "ru")
    assert post(server).json()["text"]
    assert last_request(server).task == "transcribe"


def test_a_model_that_cannot_translate_says_so() -> None:
    """A transcript in place of a translation would be taken for one."""
    engine = ScriptedEngine()
    engine.translates = False
    with scripted_server(engine) as server:
        response = post(server, path="translations")
        assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_format")
        assert "the model base was not trained for" in response.json()["error"]["message"]
        assert server.service.admission.open_streams == server.service.streams == 0
        assert post(server).status_code == 200
        with server.connect() as socket:
            socket.send('{"type":"start","task":"translate"}')
            assert json.loads(socket.recv())["code"] == "unsupported_format"


# ---- streams of events


def events(text: str) -> list[Any]:
    return [json.loads(block.removeprefix("data: ")) for block in text.split("\n\n") if block]


def test_a_stream_of_events_has_the_text_as_it_is_made() -> None:
    """The first text comes while the file is transcribed; all deltas together are the text of the last event."""
    with scripted_server(ScriptedEngine(delay_s=0.1)) as server:
        with streamed(server, 120) as response:
            assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert response.headers["x-accel-buffering"] == "no"
            pieces = response.iter_text()
            told = next(pieces)
            assert server.service.streams == 1
            told += "".join(pieces)
        *deltas, done = events(told)
        assert len(deltas) == 5
        assert {delta["type"] for delta in deltas} == {"transcript.text.delta"}
        assert done == {"type": "transcript.text.done", "text": "".join(delta["delta"] for delta in deltas)}
        assert len(done["text"].split()) > 290  # Paragraphs may be cut in a word.
        server.wait_until("the place is free", lambda: server.service.admission.open_streams == 0)


def test_a_stream_needs_a_format_that_can_be_streamed(server: Server) -> None:
    """With others it is ignored, as OpenAI does where it cannot stream; translations are streamed too."""
    assert events(post(server, stream="True", response_format="text").text)[-1]["text"] == "раз два три четыре пять"
    assert events(post(server, path="translations", stream="1").text)[-1]["type"] == "transcript.text.done"
    assert post(server, stream="true", response_format="srt").text.startswith("1\n00:00:00,000")
    assert "text" in post(server, stream="false").json()


def test_an_error_before_the_first_text_has_its_status() -> None:
    """As without a stream. An error after it is the last event, because the status has been sent."""
    engine = ScriptedEngine(delay_s=0.1)
    with scripted_server(engine) as server:
        assert post(server, b"no audio", stream="true").status_code == 415
        engine.error = ModelUnavailable("the model does not serve any more")
        response = post(server, stream="true")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "model_unavailable")
        with streamed(server, 120) as begun:
            pieces = begun.iter_text()
            told = next(pieces)
            engine.error = ModelUnavailable("the model does not serve any more")
            told += "".join(pieces)
        assert (begun.status_code, events(told)[-1]["error"]["code"]) == (200, "model_unavailable")
        assert server.service.admission.open_streams == server.service.streams == 0


# ---- models


def test_the_server_has_one_model(server: Server) -> None:
    """With every field that OpenAI's clients read; any other name is not found."""
    listed = httpx.get(f"{server.url}/v1/models").json()
    [model] = listed["data"]
    assert (listed["object"], model["id"], model["object"]) == ("list", "base", "model")
    assert set(model) == {"id", "object", "created", "owned_by"}
    assert httpx.get(f"{server.url}/v1/models/base").json() == model
    missing = httpx.get(f"{server.url}/v1/models/whisper-1")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


def test_models_are_told_to_those_with_a_key() -> None:
    """As everything else but the health checks."""
    with scripted_server(api_keys="0123456789abcdef") as server:
        refused = httpx.get(f"{server.url}/v1/models")
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthorized")
        headers = {"Authorization": "Bearer 0123456789abcdef"}
        assert httpx.get(f"{server.url}/v1/models", headers=headers).status_code == 200


# ---- errors


@pytest.mark.parametrize(
    ("content", "fields", "status_and_code", "found"),
    [
        (b"no audio", {}, (415, "bad_audio"), "not a media file"),
        (b"", {}, (415, "bad_audio"), "empty"),
        (None, {"response_format": "xml"}, (400, "bad_message"), "expected one of json, text, srt, vtt, verbose_json"),
        (None, {"language": "russian"}, (415, "unsupported_format"), 'did you mean "ru"'),
        (None, {"stream": "maybe"}, (400, "bad_message"), "stream is 'maybe', expected true or false"),
        (
            None,
            {"timestamp_granularities": ["letter"]},
            (400, "bad_message"),
            "timestamp_granularities[] is 'letter', expected one of segment, word",
        ),
        (None, {"languages": ["ru", "klingon"]}, (415, "unsupported_format"), 'language is "klingon"'),
        (None, {"keywords": ["x" * 65]}, (400, "bad_message"), "found a keyword of 65 characters"),
        (None, {"hotwords": "x," * 10 + ",".join(map(str, range(100)))}, (400, "bad_message"), "found 101 keywords"),
    ],
)
def test_bad_requests(
    server: Server,
    content: bytes | None,
    fields: Fields,
    status_and_code: tuple[int, str],
    found: str,
) -> None:
    """What is wrong, in the shape that OpenAI's clients read."""
    response = send(server, fields, content)
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


def test_uploads_without_a_body_take_no_place() -> None:
    """Clients that send headers only leave every place to streams and to complete files."""
    with scripted_server(max_sessions=4) as server, ExitStack() as waiting:
        for _ in range(5):
            waiting.enter_context(upload_head(server))
        time.sleep(0.3)
        assert httpx.get(f"{server.url}/ready").status_code == 200
        server.check_alive()
        assert post(server).status_code == 200
