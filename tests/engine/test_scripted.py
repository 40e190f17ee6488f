"""The engine without a model."""

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.core.hypothesis import DecodeRequest
from whisperlivekit.core.units import SAMPLE_RATE, WINDOW
from whisperlivekit.engine.scripted import LOUD, WORD_S, LoudnessDetector, ScriptedEngine
from whisperlivekit.errors import DecodeFailed

WORD = round(WORD_S * SAMPLE_RATE)


def request(start: int, length: int, prefix: str = "") -> DecodeRequest:
    return DecodeRequest(7, np.zeros(length, np.float32), start, "ru", prefix=prefix)


def texts(engine: ScriptedEngine, asked: DecodeRequest) -> list[str]:
    return [word.text for word in asyncio.run(engine.transcribe(asked)).words]


def test_one_word_for_every_stretch_of_the_stream() -> None:
    """The script is repeated, and words have times of the stream."""
    engine = ScriptedEngine(("а", "б", "в"))
    hypothesis = asyncio.run(engine.transcribe(request(0, 4 * WORD)))
    assert [word.text for word in hypothesis.words] == [" а", " б", " в", " а"]
    assert [(word.start, word.end) for word in hypothesis.words] == [(n * WORD, (n + 1) * WORD) for n in range(4)]
    assert (hypothesis.request_id, hypothesis.language) == (7, "ru")


@given(st.integers(0, 50 * WORD), st.integers(0, 20 * WORD), st.integers(0, 5))
def test_the_word_at_a_position_is_the_same_in_every_decode(start: int, length: int, known: int) -> None:
    """Decodes agree wherever the window begins and however long the prefix is."""
    engine = ScriptedEngine()
    whole = asyncio.run(engine.transcribe(request(0, 80 * WORD))).words
    inside = [word for word in whole if start <= word.start and word.end <= start + length]
    prefix = "".join(word.text for word in inside[:known])
    assert list(asyncio.run(engine.transcribe(request(start, length, prefix))).words) == inside[known:]


def test_it_fails_when_told_to() -> None:
    """It fails once, and keeps its requests for the test."""
    engine = ScriptedEngine()
    engine.error = DecodeFailed("a test")
    with pytest.raises(DecodeFailed):
        texts(engine, request(0, WORD))
    assert texts(engine, request(0, WORD)) == [" раз"]
    assert len(engine.requests) == 2


def test_loud_is_speech() -> None:
    """A tone is, silence is not."""
    tone = (2 * LOUD * np.sin(np.arange(WINDOW))).astype(np.float32)
    detector = LoudnessDetector()
    probabilities = asyncio.run(detector.feed(np.concatenate([tone, np.zeros(WINDOW, np.float32), tone])))
    assert probabilities.tolist() == [1.0, 0.0, 1.0]
