"""OpenAI's answers for files, and their streams of events."""

import json
import math
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.core.hypothesis import Task, Word
from whisperlivekit.errors import BadAudio, ModelUnavailable
from whisperlivekit.wire.openai_rest import (
    ErrorBody,
    Granularity,
    Passage,
    ResponseFormat,
    TextStream,
    Transcription,
    TranscriptionBody,
    TranscriptionSegment,
    error_body,
    write,
)

WORDS = (Word(" Добрый", 0, 8_000, 0.91234), Word(" день.", 8_000, 16_000, 0.8), Word(" Да", 64_000, 68_800, 0.7))
RESULT = Transcription((Passage(WORDS[:2], 0.01), Passage(WORDS[2:], 0.25)), 80_000, "ru", 1_600)
SILENCE = Transcription((), 16_000, None)
FORMATS: tuple[ResponseFormat, ...] = get_args(ResponseFormat)
BOTH: tuple[Granularity, ...] = get_args(Granularity)


def verbose(result: Transcription, *granularities: Granularity) -> Any:
    return json.loads(write(result, "verbose_json", granularities)[1])


def test_json_has_the_text_and_what_it_costs() -> None:
    """The default format of the API, with its letters unescaped, and the language; seconds are rounded up."""
    content = write(RESULT, "json")[1]
    assert json.loads(content) == {
        "text": "Добрый день. Да",
        "languages": [{"code": "ru"}],
        "usage": {"type": "duration", "seconds": 5},
    }
    assert "Добрый" in content
    assert json.loads(write(Transcription((), 16_001, "ru"), "json")[1])["usage"]["seconds"] == 2


def test_verbose_json_has_every_word_in_one_segment() -> None:
    """Segments and words hold the same text; times are seconds, the language is its English name."""
    told = verbose(RESULT, *BOTH)
    assert (told["task"], told["language"], told["duration"], told["gap_s"]) == ("transcribe", "russian", 5.0, 0.1)
    assert [segment["id"] for segment in told["segments"]] == [0, 1]
    assert "".join(segment["text"] for segment in told["segments"]).strip() == told["text"] == "Добрый день. Да"
    assert told["words"][0] == {"word": "Добрый", "start": 0.0, "end": 0.5, "probability": 0.912}


def test_a_segment_has_every_field_that_openais_clients_require() -> None:
    """Its passage gives where it was decoded and whether that is speech, its words how sure the decoder was."""
    told = verbose(RESULT)["segments"][1]
    assert told == {
        "id": 1,
        "seek": 400,
        "start": 4.0,
        "end": 4.3,
        "text": " Да",
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": round(math.log(0.7), 4),
        "compression_ratio": told["compression_ratio"],
        "no_speech_prob": 0.25,
    }
    assert set(told) == set(TranscriptionSegment.model_fields) - {"channel"}


def test_a_text_that_repeats_itself_can_be_compressed() -> None:
    """Whisper's own measure: more than 2.4 means that the decoder went on repeating itself."""
    loop = tuple(Word(" да", at, at + 1, 0.9) for at in range(20))
    told = verbose(Transcription((Passage(loop),), 100, "ru"))["segments"][0]["compression_ratio"]
    assert told > 2.4 > verbose(RESULT)["segments"][0]["compression_ratio"]


@pytest.mark.parametrize(
    ("asked", "present"), [((), {"segments"}), (("segment",), {"segments"}), (("word",), {"words"}), (BOTH, None)]
)
def test_granularities_choose_what_has_times(asked: tuple[Granularity, ...], present: set[str] | None) -> None:
    """OpenAI's default is segments. The other fields are always there, also for a silent file."""
    present = {"segments", "words"} if present is None else present
    for result in (RESULT, SILENCE):
        assert {"segments", "words"} & set(verbose(result, *asked)) == present
        assert set(verbose(result, *asked)) >= set(TranscriptionBody.model_fields) - {"segments", "words"}


def test_a_translation_is_english() -> None:
    """Whatever was spoken: ``language`` is that of the text, ``languages`` that of the speech."""
    told = verbose(Transcription((), 16_000, "ru", task="translate"))
    assert (told["task"], told["language"], told["languages"]) == ("translate", "english", [{"code": "ru"}])


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


@given(
    _words.map(in_a_row),
    st.integers(0, 12),
    st.floats(0, 1),
    st.sampled_from(["json", "verbose_json"]),
    st.sampled_from(get_args(Task)),
)
def test_every_json_answer_fits_its_schema(
    words: tuple[Word, ...], cut: int, no_speech: float, name: ResponseFormat, task: Task
) -> None:
    """Whatever was recognised: the answer is valid for the model from which the OpenAPI document is made, and every
    word is in it once, in order.
    """
    passages = tuple(Passage(part, no_speech) for part in (words[:cut], words[cut:]) if part)
    result = Transcription(passages, 10**7, "ru", task=task)
    body = TranscriptionBody.model_validate_json(write(result, name, BOTH)[1], strict=True)
    assert body.text == result.text
    if name == "verbose_json":
        assert [word.word for word in body.words] == [word.text.strip() for word in words]
        assert "".join(segment.text for segment in body.segments) == "".join(word.text for word in words)


@given(_words.map(in_a_row), _words.map(in_a_row), st.integers(0, 12))
def test_a_dialogue_has_every_word_once_under_its_speaker(
    first: tuple[Word, ...], second: tuple[Word, ...], cut: int
) -> None:
    """Passages of both channels may come in any order; segments and words are told in the order in which they begin."""
    parts = ((first[:cut], 0), (second[:cut], 1), (second[cut:], 1), (first[cut:], 0))
    passages = tuple(Passage(words, 0.1, channel) for words, channel in parts if words)
    result = Transcription(passages, 10**7, "ru", channels=2)
    body = TranscriptionBody.model_validate_json(write(result, "verbose_json", BOTH)[1], strict=True)
    for told in (body.words, body.segments):
        starts = [part.start for part in told]
        assert starts == sorted(starts)
    for channel, words in enumerate((first, second)):
        assert [word.word for word in body.words if word.channel == channel] == [word.text.strip() for word in words]
        text = "".join(segment.text for segment in body.segments if segment.channel == channel)
        assert text == "".join(word.text for word in words)
    assert sorted(word.text for word in result.words) == sorted(word.text for word in first + second)


def test_text_and_subtitles() -> None:
    """Plain text ends with a line break; the subtitle formats are those of wire/subtitles.py."""
    assert write(RESULT, "text")[1] == "Добрый день. Да\n"
    assert "00:00:04,000 --> 00:00:04,300" in write(RESULT, "srt")[1]
    assert write(RESULT, "vtt")[1].startswith("WEBVTT\n")


@pytest.mark.parametrize("name", FORMATS)
def test_silence_is_an_empty_answer(name: ResponseFormat) -> None:
    """A file without words is no error, in every format; an unknown language stays unknown."""
    media_type, told = write(SILENCE, name)
    match media_type.partition(";")[0]:
        case "application/json":
            assert json.loads(told)["text"] == ""
            assert not json.loads(told).get("language")
        case "text/vtt":
            assert told == "WEBVTT\n\n"
        case _:
            assert told.strip() == ""


# ---- streams


def events(sent: str) -> list[Any]:
    """The objects of a stream of events. Each is one line, as clients read them that know no other fields."""
    blocks = sent.split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def test_a_stream_tells_text_as_it_comes() -> None:
    """One delta for each passage, then the whole text."""
    stream = TextStream()
    told = events("".join([stream.delta(" Добрый день."), stream.delta(" Да"), stream.done()]))
    assert told == [
        {"type": "transcript.text.delta", "delta": "Добрый день."},
        {"type": "transcript.text.delta", "delta": " Да"},
        {"type": "transcript.text.done", "text": "Добрый день. Да"},
    ]


@given(st.lists(st.text(st.sampled_from(" \n\x85\u2028ая."), max_size=5), max_size=8))
def test_deltas_add_up_to_the_text_without_stream(pieces: list[str]) -> None:
    """Whatever spaces are in them: the sum of all deltas is the last event's text, which is that of ``json``."""
    stream = TextStream()
    told = events("".join([*(stream.delta(piece) for piece in pieces), stream.done()]))
    deltas = [event["delta"] for event in told[:-1]]
    assert all(deltas)
    words = tuple(Word(piece, at, at + 1, 0.5) for at, piece in enumerate(pieces) if piece)
    assert "".join(deltas) == told[-1]["text"] == Transcription((Passage(words),), 100, "ru").text


def test_an_error_ends_a_stream() -> None:
    """In the form in which OpenAI's clients find it: an object with ``error``."""
    [told] = events(TextStream().error(ModelUnavailable("gone"), "1f"))
    assert told == error_body(ModelUnavailable("gone"), "1f")


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
