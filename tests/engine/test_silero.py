"""The real speech detector."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.conftest import ROOT
from whisperlivekit.core.units import SAMPLE_RATE, WINDOW
from whisperlivekit.engine.silero import SileroDetector, SileroModel

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def model() -> Iterator[SileroModel]:
    model = SileroModel()
    yield model
    model.close()


@pytest.fixture(scope="module")
def phrase() -> NDArray[np.float32]:
    """One phrase, with silence before and after it."""
    audio: NDArray[np.float32] = soundfile.read(Path(ROOT / "tests/data/phrase_3s.flac"), dtype="float32")[0]
    return audio


def probabilities(model: SileroModel, chunks: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    async def feed() -> NDArray[np.float32]:
        detector = SileroDetector(model)
        return np.concatenate([await detector.feed(chunk) for chunk in chunks])

    return asyncio.run(feed())


def test_speech_is_told_from_silence(model: SileroModel, phrase: NDArray[np.float32]) -> None:
    """Most of a phrase is speech; silence and faint noise are not."""
    speech = probabilities(model, [phrase])
    assert np.mean(speech > 0.5) > 0.5
    noise = np.random.default_rng(0).normal(0, 0.005, 5 * SAMPLE_RATE).astype(np.float32)
    assert probabilities(model, [np.zeros(5 * SAMPLE_RATE, np.float32)]).max() < 0.3
    assert probabilities(model, [noise]).max() < 0.5


def test_chunks_do_not_matter(model: SileroModel, phrase: NDArray[np.float32]) -> None:
    """Whole, in odd pieces, sample by sample at a boundary: the same probabilities, one for each whole window."""
    whole = probabilities(model, [phrase])
    assert len(whole) == len(phrase) // WINDOW
    assert whole.min() >= 0
    assert whole.max() <= 1
    cuts = np.random.default_rng(1).integers(0, len(phrase), 60)
    np.testing.assert_array_equal(probabilities(model, np.split(phrase, np.sort(cuts))), whole)
    around = np.split(phrase, [*range(WINDOW - 2, WINDOW + 3), 3 * WINDOW])
    np.testing.assert_array_equal(probabilities(model, around), whole)


def test_sessions_do_not_hear_each_other(model: SileroModel, phrase: NDArray[np.float32]) -> None:
    """Two streams in turns give what each gives alone: the state is theirs."""

    async def both() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        one, other = SileroDetector(model), SileroDetector(model)
        answers: tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]] = ([], [])
        for begin in range(0, len(phrase), 1_600):
            chunk = phrase[begin : begin + 1_600]
            results = await asyncio.gather(one.feed(chunk), other.feed(-0.1 * chunk[::-1]))
            for answer, result in zip(answers, results, strict=True):
                answer.append(result)
        return np.concatenate(answers[0]), np.concatenate(answers[1])

    mine, other = asyncio.run(both())
    np.testing.assert_array_equal(mine, probabilities(model, [phrase]))
    assert not np.array_equal(mine, other)


def test_it_agrees_with_the_packaged_wrapper(model: SileroModel, phrase: NDArray[np.float32]) -> None:
    """Context and state are handed to the network as its makers do."""
    import torch
    from silero_vad import load_silero_vad

    reference = load_silero_vad()
    windows = phrase[: len(phrase) // WINDOW * WINDOW].reshape(-1, WINDOW)
    with torch.inference_mode():
        expected = [reference(torch.from_numpy(window.copy()), SAMPLE_RATE).item() for window in windows]
    np.testing.assert_allclose(probabilities(model, [phrase]), expected, atol=1e-5)
