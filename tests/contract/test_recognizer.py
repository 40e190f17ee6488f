"""What every Recognizer promises a session: the same tests for the scripted engine and the real one."""

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.speech import assert_continues, assert_says, clip, says, sentences, text_of
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis
from whisperlivekit.engine.batcher import Engine
from whisperlivekit.engine.scripted import ScriptedEngine
from whisperlivekit.engine.whisper import EngineConfig

T = TypeVar("T")

MAX_BATCH = 4


class BatchSizes:
    """An observer that keeps the size of every batch."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def observe_wait(self, seconds: float) -> None:
        pass

    def observe_batch(self, size: int, looped: int, stages_s: dict[str, float]) -> None:
        self.sizes.append(size)

    def observe_failure(self, reason: str) -> None:
        raise AssertionError(reason)


class Subject:
    """An engine on the event loop that it was loaded in."""

    def __init__(self, engine: Engine | ScriptedEngine, runner: asyncio.Runner) -> None:
        self.engine = engine
        self._runner = runner
        self._batches = BatchSizes()
        engine.observer = self._batches

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(coroutine)

    def decode(self, request: DecodeRequest) -> Hypothesis:
        return self.run(self.engine.transcribe(request))

    def decode_together(self, *requests: DecodeRequest) -> list[Hypothesis]:
        """Decode requests that arrive at the same moment. At least three must be of one kind.

        The real engine must then batch: its thread may take the first request before the others are queued, but these
        are all queued long before that decode ends. The scripted engine has no batches.
        """

        async def together() -> list[Hypothesis]:
            return list(await asyncio.gather(*(self.engine.transcribe(request) for request in requests)))

        before = len(self._batches.sizes)
        hypotheses = self.run(together())
        sizes = self._batches.sizes[before:]
        assert sum(sizes) == len(requests)
        assert isinstance(self.engine, ScriptedEngine) or 2 <= max(sizes) <= MAX_BATCH, f"no batch: {sizes}"
        return hypotheses

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
            silero_dir: Path = request.getfixturevalue("silero_dir")
            engine = Engine(EngineConfig(base_model, "cpu", max_batch=MAX_BATCH, silero_dir=silero_dir))
        runner.run(engine.load())
        yield Subject(engine, runner)
        engine.close()


PHRASE = clip("phrase_3s").samples
START = 32_000
KNOWN = " Извините, но голосовой"
"""The beginning of the phrase: long enough that the real engine reads it in one pass."""


@pytest.fixture
def whole() -> DecodeRequest:
    """A phrase of six words in 5.4 s."""
    return DecodeRequest(17, PHRASE, START, "ru")


@pytest.mark.parametrize("final", [False, True])
def test_words_are_in_order_and_inside_the_audio(subject: Subject, whole: DecodeRequest, final: bool) -> None:
    """Positions count from the beginning of the stream. Each word has a probability and the space before it."""
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
    """However many words are in the prefix, the words after it follow, with about the times they had without it."""
    words = subject.decode(whole).words
    for known in (1, 3):
        rest = subject.decode(replace(whole, prefix=text_of(words[:known]))).words
        assert_continues(text_of(rest), text_of(words[known:]))
        # The same audio, so that even a word of which a letter changed keeps its place, unless one was split.
        if len(rest) == len(words) - known:
            assert all(abs(one.end - other.end) <= 6_400 for one, other in zip(rest, words[known:-1], strict=False))


def test_when_all_is_known_nothing_comes(subject: Subject, whole: DecodeRequest) -> None:
    """Where the prefix holds every word, none is invented or repeated."""
    words = subject.decode(whole).words
    assert_says(text_of(subject.decode(replace(whole, prefix=text_of(words), final=True))), "")


def test_times_move_with_the_window(subject: Subject, whole: DecodeRequest) -> None:
    """The same audio later in the stream gives the same words that much later."""
    moved = replace(whole, start=START + 160_000)
    here, there = subject.decode(whole).words, subject.decode(moved).words
    assert says(text_of(there), text_of(here))
    assert [(word.start, word.end) for word in there] == [(word.start + 160_000, word.end + 160_000) for word in here]


@pytest.mark.parametrize("samples", [0, 1, 159, 1_000])
@pytest.mark.parametrize("final", [False, True])
def test_short_windows_work(subject: Subject, whole: DecodeRequest, samples: int, final: bool) -> None:
    """Audio too short for a word has none."""
    assert subject.decode(replace(whole, samples=whole.samples[:samples], final=final)).words == ()


def test_the_detected_language_is_in_the_answer(subject: Subject, whole: DecodeRequest) -> None:
    """Where the request names none: the session asks for the detected one from then on."""
    assert subject.decode(replace(whole, language=None)).language == "ru"


def alike(subject: Subject, requests: list[DecodeRequest]) -> None:
    """Decode the requests together and each one alone: a request says the same both times."""
    together = subject.decode_together(*requests)
    assert [hypothesis.request_id for hypothesis in together] == [request.id for request in requests]
    for request, hypothesis in zip(requests, together, strict=True):
        alone = subject.decode(request)
        assert alone.words
        assert_says(text_of(hypothesis), text_of(alone))


def test_requests_of_a_batch_do_not_mix(subject: Subject) -> None:
    """Sentences of 2 to 10 s that arrive together, several of which share a batch, keep their own words.

    They are of different lengths, so rows of the batch are padded.
    """
    requests = [DecodeRequest(number, each.samples, START, "ru") for number, each in enumerate(sentences())]
    alike(subject, requests)


def test_a_neighbour_of_another_kind_changes_nothing(subject: Subject, whole: DecodeRequest) -> None:
    """Requests with another prefix, prompt or finality arrive at the same time as three plain ones."""
    changes: list[dict[str, Any]] = [
        {}, {}, {}, {"prefix": " Извините,"}, {"prefix": KNOWN}, {"prompt": "Голосовая почта."}, {"final": True},
    ]  # fmt: skip
    alike(subject, [replace(whole, id=number, **change) for number, change in enumerate(changes)])


def test_prefixes_of_different_lengths_share_a_batch(subject: Subject, whole: DecodeRequest) -> None:
    """Each row of the batch continues its own prefix."""
    prefixes = (KNOWN, f"{KNOWN} ящик", f"{KNOWN} ящик абонента")
    alike(subject, [replace(whole, id=number, prefix=prefix) for number, prefix in enumerate(prefixes)])


def test_every_whole_window_has_a_probability(subject: Subject) -> None:
    """The detector gives one for each 512 samples, between 0 and 1, and the same ones however the audio is cut."""
    cuts = [0, 1, 100, 511, 512, 513, 2_000, 2_000, 10_000, len(PHRASE) - 1]
    whole = subject.feed([PHRASE])
    assert len(whole) == len(PHRASE) // 512
    assert whole.min() >= 0
    assert whole.max() <= 1
    np.testing.assert_array_equal(subject.feed(np.split(PHRASE, cuts)), whole)
