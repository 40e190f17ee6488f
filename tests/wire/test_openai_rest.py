"""OpenAI's transcription answers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.core.hypothesis import Word
from whisperlivekit.errors import BadAudio, ModelUnavailable
from whisperlivekit.wire.openai_rest import (
    RESPONSE_FORMATS,
    ErrorBody,
    Transcription,
    TranscriptionBody,
    error_body,
)

WORDS = (Word(" Добрый", 0, 8_000, 0.91234), Word(" день.", 8_000, 16_000, 0.8), Word(" Да", 64_000, 68_800, 0.7))
RESULT = Transcription(WORDS, 80_000, "ru", 1_600)


def written(name: str, result: Transcription) -> str:
    return RESPONSE_FORMATS[name][1](result)


def test_json_has_the_text_only() -> None:
    """The default format of the API, with its letters unescaped."""
    assert json.loads(written("json", RESULT)) == {"text": "Добрый день. Да"}
    assert "Добрый" in written("json", RESULT)


def test_verbose_json_has_every_word_in_one_segment() -> None:
    """Segments and words hold the same text; times are seconds, the language is its English name."""
    told = json.loads(written("verbose_json", RESULT))
    assert (told["task"], told["language"], told["duration"], told["gap_s"]) == ("transcribe", "russian", 5.0, 0.1)
    assert [segment["id"] for segment in told["segments"]] == [0, 1]
    assert "".join(segment["text"] for segment in told["segments"]).strip() == told["text"] == "Добрый день. Да"
    assert told["words"][0] == {"word": "Добрый", "start": 0.0, "end": 0.5, "probability": 0.912}
    assert told["segments"][1] | {"text": ""} == {"id": 1, "start": 4.0, "end": 4.3, "text": ""}


def test_verbose_json_always_has_every_field() -> None:
    """A client may read any field of the schema without asking whether it is there, also for a silent file."""
    told = json.loads(written("verbose_json", Transcription((), 16_000, None)))
    assert set(told) == set(TranscriptionBody.model_fields)


_words = st.lists(
    st.tuples(st.text(min_size=1, max_size=8), st.integers(0, 30_000), st.integers(0, 30_000), st.floats(0, 1)),
    max_size=12,
)


def in_a_row(spans: list[tuple[str, int, int, float]]) -> tuple[Word, ...]:
    """Words in order: a pause, then the word, each of the given length in samples."""
    words, position = [], 0
    for text, pause, length, probability in spans:
        words.append(Word(f" {text}", position + pause, position + pause + length, probability))
        position = words[-1].end
    return tuple(words)


@given(_words.map(in_a_row), st.sampled_from(["json", "verbose_json"]))
def test_every_json_answer_fits_its_schema(words: tuple[Word, ...], name: str) -> None:
    """Whatever was recognised: the answer is valid for the model from which the OpenAPI document is made, and every
    word is in it once, in order.
    """
    result = Transcription(words, 10**7, "ru")
    body = TranscriptionBody.model_validate_json(written(name, result), strict=True)
    assert body.text == result.text
    if name == "verbose_json":
        assert [word.word for word in body.words] == [word.text.strip() for word in words]
        assert "".join(segment.text for segment in body.segments) == "".join(word.text for word in words)


def test_text_and_subtitles() -> None:
    """Plain text ends with a line break; the subtitle formats are those of wire/subtitles.py."""
    assert written("text", RESULT) == "Добрый день. Да\n"
    assert "00:00:04,000 --> 00:00:04,300" in written("srt", RESULT)
    assert written("vtt", RESULT).startswith("WEBVTT\n")


@pytest.mark.parametrize("name", RESPONSE_FORMATS)
def test_silence_is_an_empty_answer(name: str) -> None:
    """A file without words is no error, in every format; an unknown language stays unknown."""
    told = written(name, Transcription((), 16_000, None))
    match RESPONSE_FORMATS[name][0].partition(";")[0]:
        case "application/json":
            assert json.loads(told)["text"] == ""
            assert json.loads(told).get("language") is None
        case "text/vtt":
            assert told == "WEBVTT\n\n"
        case _:
            assert told.strip() == ""


def test_errors_have_openais_shape() -> None:
    """``type`` says whether the client or the server is at fault, ``code`` says what happened."""
    body = error_body(BadAudio("the file is empty"), "1f")
    assert body == {
        "error": {
            "message": "the file is empty",
            "type": "invalid_request_error",
            "param": None,
            "code": "bad_audio",
            "session": "1f",
        }
    }
    assert ErrorBody.model_validate(body, strict=True).model_dump() == body
    assert error_body(ModelUnavailable("gone"), "1f")["error"]["type"] == "server_error"
