"""OpenAI's transcription answers."""

import json

import pytest

from whisperlivekit.core.hypothesis import Word
from whisperlivekit.errors import BadAudio, ModelUnavailable
from whisperlivekit.wire.openai_rest import RESPONSE_FORMATS, Transcription, error_body

WORDS = (Word(" Добрый", 0, 8_000, 0.91234), Word(" день.", 8_000, 16_000, 0.8), Word(" Да", 64_000, 68_800, 0.7))
RESULT = Transcription(WORDS, 80_000, "ru", 1_600)


def test_json_has_the_text_only() -> None:
    """The default format of the API."""
    assert json.loads(RESPONSE_FORMATS["json"][1](RESULT)) == {"text": "Добрый день. Да"}


def test_verbose_json_has_every_word_in_one_segment() -> None:
    """Segments and words tell the same text; times are seconds, the language its English name."""
    told = json.loads(RESPONSE_FORMATS["verbose_json"][1](RESULT))
    assert (told["task"], told["language"], told["duration"], told["gap_s"]) == ("transcribe", "russian", 5.0, 0.1)
    assert [segment["id"] for segment in told["segments"]] == [0, 1]
    assert "".join(segment["text"] for segment in told["segments"]).strip() == told["text"] == "Добрый день. Да"
    assert told["words"][0] == {"word": "Добрый", "start": 0.0, "end": 0.5, "probability": 0.912}
    assert told["segments"][1] | {"text": ""} == {"id": 1, "start": 4.0, "end": 4.3, "text": ""}


def test_text_and_subtitles() -> None:
    """Plain text ends with a line break; the subtitle formats are those of wire/subtitles.py."""
    assert RESPONSE_FORMATS["text"][1](RESULT) == "Добрый день. Да\n"
    assert "00:00:04,000 --> 00:00:04,300" in RESPONSE_FORMATS["srt"][1](RESULT)
    assert RESPONSE_FORMATS["vtt"][1](RESULT).startswith("WEBVTT\n")


@pytest.mark.parametrize("name", RESPONSE_FORMATS)
def test_silence_is_an_empty_answer(name: str) -> None:
    """No words are no error, in every format; an unknown language stays unknown."""
    media_type, write = RESPONSE_FORMATS[name]
    told = write(Transcription((), 16_000, None))
    assert "/" in media_type
    if media_type == "application/json":
        assert json.loads(told)["text"] == ""
        assert json.loads(told).get("language") is None


def test_errors_have_openais_shape() -> None:
    """Whose fault it is stands in the type, what it is in the code."""
    assert error_body(BadAudio("the file is empty"), "1f") == {
        "error": {
            "message": "the file is empty",
            "type": "invalid_request_error",
            "param": None,
            "code": "bad_audio",
            "session": "1f",
        }
    }
    assert error_body(ModelUnavailable("gone"), "1f")["error"]["type"] == "server_error"
