"""What every Recognizer promises a session: the scripted engine and the real one, by the same tests."""

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.conftest import ROOT
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, Word
from whisperlivekit.engine.batcher import Engine
from whisperlivekit.engine.scripted import ScriptedEngine
from whisperlivekit.engine.whisper import EngineConfig

T = TypeVar("T")


class Subject:
    """An engine on the event loop that it was loaded in."""

    def __init__(self, engine: Engine | ScriptedEngine, runner: asyncio.Runner) -> None:
        self.engine = engine
        self._runner = runner

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(coroutine)

    def decode(self, request: DecodeRequest) -> Hypothesis:
        return self.run(self.engine.transcribe(request))

    def decode_together(self, *requests: DecodeRequest) -> list[Hypothesis]:
        async def together() -> list[Hypothesis]:
            return list(await asyncio.gather(*(self.engine.transcribe(request) for request in requests)))

        return self.run(together())

    def feed(self, chunks: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """The speech probabilities of one stream."""

        async def feed() -> NDArray[np.float32]:
            detector = self.engine.detector()
            return np.concatenate([await detector.feed(chunk) for chunk in chunks])

        return self.run(feed())


@pytest.fixture(scope="module", params=["scripted", pytest.param("real", marks=pytest.mark.model)])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    with asyncio.Runner() as runner:
        engine: Engine | ScriptedEngine
        if request.param == "scripted":
            engine = ScriptedEngine()
        else:
            base_model: Path = request.getfixturevalue("base_model")
            engine = Engine(
                EngineConfig(base_model, "cpu", threads=2, silero_dir=request.getfixturevalue("silero_dir"))
            )
        runner.run(engine.load())
        yield Subject(engine, runner)
        engine.close()


@pytest.fixture(scope="module")
def phrase() -> NDArray[np.float32]:
    """Six seconds with six words."""
    audio: NDArray[np.float32] = soundfile.read(ROOT / "tests" / "data" / "phrase_3s.flac", dtype="float32")[0]
    return audio


def text(words: tuple[Word, ...]) -> str:
    return "".join(word.text for word in words)


START = 32_000


@pytest.fixture
def whole(phrase: NDArray[np.float32]) -> DecodeRequest:
    return DecodeRequest(17, phrase, START, "ru")


@pytest.mark.parametrize("final", [False, True])
def test_words_are_in_order_and_inside_the_audio(subject: Subject, whole: DecodeRequest, final: bool) -> None:
    """In samples of the stream, not of the window; with a probability; with the space that belongs before them."""
    hypothesis = subject.decode(replace(whole, final=final))
    assert hypothesis.request_id == 17
    assert hypothesis.language == "ru"
    assert len(hypothesis.words) >= 5
    previous = START
    for word in hypothesis.words:
        assert previous <= word.start < word.end <= START + len(whole.samples)
        assert 0 < word.probability <= 1
        assert word.text.startswith(" ")
        assert word.text.strip() == word.text[1:] != ""
        previous = word.start


def test_the_prefix_is_continued_not_repeated(subject: Subject, whole: DecodeRequest) -> None:
    """However much of the text is known: the rest comes, with the times that it had."""
    words = subject.decode(whole).words
    for known in (1, 3):
        rest = subject.decode(replace(whole, prefix=text(words[:known]))).words
        assert text(rest) == text(words[known:])
        assert all(abs(one.end - other.end) <= 3_200 for one, other in zip(rest, words[known:], strict=True))


def test_when_all_is_known_nothing_comes(subject: Subject, whole: DecodeRequest) -> None:
    """No invented word, no repeated one."""
    words = subject.decode(whole).words
    assert subject.decode(replace(whole, prefix=text(words), final=True)).words == ()


def test_times_move_with_the_window(subject: Subject, whole: DecodeRequest) -> None:
    """The same audio later in the stream: the same words, later."""
    moved = replace(whole, start=START + 160_000)
    expected = [(word.text, word.start + 160_000, word.end + 160_000) for word in subject.decode(whole).words]
    assert [(word.text, word.start, word.end) for word in subject.decode(moved).words] == expected


@pytest.mark.parametrize("samples", [0, 1, 159, 1_000])
@pytest.mark.parametrize("final", [False, True])
def test_short_windows_work(subject: Subject, whole: DecodeRequest, samples: int, final: bool) -> None:
    """Audio too short for a word has none."""
    assert subject.decode(replace(whole, samples=whole.samples[:samples], final=final)).words == ()


def test_a_language_that_was_not_asked_for_is_told(subject: Subject, whole: DecodeRequest) -> None:
    """The session asks for it from then on."""
    assert subject.decode(replace(whole, language=None)).language == "ru"


def test_a_batch_is_its_requests(subject: Subject, whole: DecodeRequest) -> None:
    """Neighbours with another prefix, prompt or finality do not change what a request says."""
    words = subject.decode(whole).words
    requests = [whole, replace(whole, id=18, prefix=text(words[:2])), replace(whole, id=19, final=True)]
    together = subject.decode_together(*requests)
    assert [hypothesis.request_id for hypothesis in together] == [17, 18, 19]
    assert [text(hypothesis.words) for hypothesis in together] == [
        text(subject.decode(request).words) for request in requests
    ]


def test_a_longer_neighbour_changes_little(subject: Subject, whole: DecodeRequest) -> None:
    """Windows of a batch are padded to one length, which may cost a letter but no word."""
    short = replace(whole, id=18, samples=whole.samples[25_600:], start=START + 25_600)
    _, beside = subject.decode_together(whole, short)
    alone = subject.decode(short)
    assert len(beside.words) == len(alone.words)
    assert SequenceMatcher(None, text(beside.words).lower(), text(alone.words).lower()).ratio() > 0.8


def test_every_whole_window_has_a_probability(subject: Subject, phrase: NDArray[np.float32]) -> None:
    """Whole or in pieces: the detector gives one for each 512 samples, the same ones, between 0 and 1."""
    cuts = [0, 1, 100, 511, 512, 513, 2_000, 2_000, 10_000, len(phrase) - 1]
    whole = subject.feed([phrase])
    assert len(whole) == len(phrase) // 512
    assert whole.min() >= 0
    assert whole.max() <= 1
    np.testing.assert_array_equal(subject.feed(np.split(phrase, cuts)), whole)
