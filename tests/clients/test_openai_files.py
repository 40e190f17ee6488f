"""OpenAI's Python client from PyPI, unmodified, transcribes and translates files with this server."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from benchmarks.scoring import normalise
from benchmarks.serving import Server
from tests.clients.conftest import RunClient
from tests.speech import DATA, assert_says, clip
from whisperlivekit.core.units import SAMPLE_RATE

pytestmark = [pytest.mark.model, pytest.mark.slow]

SHORT, LONG = clip("telephone_8k"), clip("prompts_24s")


@pytest.fixture(scope="module")
def told(server: Server, run_client: RunClient, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the client got of 10 s of speech, in every way that it can ask, and of a stream of 34 s."""
    long = tmp_path_factory.mktemp("speech") / "long.flac"
    soundfile.write(long, np.concatenate([LONG.samples, SHORT.samples]), SAMPLE_RATE)
    return run_client("openai", "openai_files", f"{server.url}/v1", str(DATA / "telephone_8k.wav"), str(long))


def test_every_format_has_what_was_said(told: Any) -> None:
    """json, text, srt, vtt and verbose_json, with the options that the client has for them, have the same words."""
    assert_says(told["json"]["text"], SHORT.text)
    assert told["json"]["usage"] == {"type": "duration", "seconds": 12.0}
    assert told["json"]["languages"] == [{"code": "ru"}]
    assert_says(told["keywords"], SHORT.text)
    verbose = told["verbose_json"]
    assert (verbose["language"], verbose["text"]) == ("russian", told["text"].strip())
    assert_says(verbose["text"], SHORT.text)
    for written in (told["srt"], told["vtt"]):
        lines = [line for line in written.splitlines() if line and "-->" not in line and not line.isdigit()]
        assert " ".join(lines).removeprefix("WEBVTT ") == verbose["text"]


def test_segments_and_words_have_their_times(told: Any) -> None:
    """Segments have every field of the client's own type, with values that can be right; words have their times."""
    assert told["segments_are_typed"]
    segments = told["verbose_json"]["segments"]
    assert len(segments) >= 2
    for segment in segments:
        assert None not in segment.values()
        assert segment["start"] < segment["end"] <= 10.5
        assert -2 < segment["avg_logprob"] < 0
        assert 0 <= segment["no_speech_prob"] < 0.9
    assert told["verbose_json"]["words"] is None
    words = [(" ".join(normalise(text)), start, end) for text, start, end in told["words"]]
    assert_says(" ".join(text for text, _, _ in words), SHORT.text)
    ends = [end for _, _, end in words]
    assert ends == sorted(ends)
    assert abs(ends[-1] - SHORT.words[-1].end_s) < 1.0


def test_text_streams_while_the_file_is_transcribed(told: Any) -> None:
    """As the client's own events, which add up to the text; with its asynchronous half too."""
    *deltas, (done, last) = told["stream"]
    assert done == "TranscriptionTextDoneEvent"
    assert {name for name, _ in deltas} == {"TranscriptionTextDeltaEvent"}
    assert len(deltas) > 1
    assert "".join(event["delta"] for _, event in deltas) == last["text"]
    assert_says(last["text"], f"{LONG.text} {SHORT.text}")
    assert_says(told["async_stream"], SHORT.text)


def test_speech_is_translated(told: Any) -> None:
    """Into English. How well base does it differs between processors: half of the words that matter are enough."""
    text = told["translation"]
    assert all(letter.isascii() for letter in text)
    expected = ("line", "connect", "number", "exist", "please", "try", "again")
    assert sum(word in text.lower() for word in expected) >= len(expected) / 2, text
    assert told["translation_verbose"]["language"] == "english"
    assert told["translation_verbose"]["text"] == text


def test_the_model_is_listed(told: Any) -> None:
    """As a model with the fields of the client's type."""
    assert told["models"] == ["base"]
    model = told["model"]
    assert (model["id"], model["object"], model["owned_by"]) == ("base", "model", "whisperlivekit")
    assert model["created"] > 0


def test_errors_are_the_clients_own(told: Any) -> None:
    """With the status and the code of the server."""
    assert told["refused"] == [415, "unsupported_format", "invalid_request_error"]


def test_livekit_hears_utterances(server: Server, run_client: RunClient, tmp_path: Path) -> None:
    """Its class for agents, with the answers to an older and to a newer model, from which it takes the language."""
    phrase = clip("phrase_3s")
    path = tmp_path / "phrase.s16le"
    path.write_bytes((phrase.samples * 32_767).astype("<i2").tobytes())
    found = run_client("realtime", "livekit_files", f"{server.url}/v1", str(path))
    for text, language in found.values():
        assert_says(text, phrase.text)
        assert language == "ru"
