"""The real speech detector."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.conftest import ROOT
from whisperlivekit.core.units import SAMPLE_RATE, WINDOW
from whisperlivekit.engine.models import SILERO_FILE
from whisperlivekit.engine.silero import SileroDetector, SileroModel

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def model(silero_dir: Path) -> Iterator[SileroModel]:
    model = SileroModel(silero_dir)
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
    """Most of a phrase counts as speech; silence and faint noise do not."""
    speech = probabilities(model, [phrase])
    assert np.mean(speech > 0.5) > 0.5
    noise = np.random.default_rng(0).normal(0, 0.005, 5 * SAMPLE_RATE).astype(np.float32)
    assert probabilities(model, [np.zeros(5 * SAMPLE_RATE, np.float32)]).max() < 0.3
    assert probabilities(model, [noise]).max() < 0.5


def test_chunks_do_not_matter(model: SileroModel, phrase: NDArray[np.float32]) -> None:
    """Whole, in pieces of odd lengths, sample by sample at a boundary: the probabilities are the same."""
    whole = probabilities(model, [phrase])
    assert len(whole) == len(phrase) // WINDOW
    assert whole.min() >= 0
    assert whole.max() <= 1
    cuts = np.random.default_rng(1).integers(0, len(phrase), 60)
    np.testing.assert_allclose(probabilities(model, np.split(phrase, np.sort(cuts))), whole, atol=1e-4)
    around = np.split(phrase, [*range(WINDOW - 2, WINDOW + 3), 3 * WINDOW])
    np.testing.assert_allclose(probabilities(model, around), whole, atol=1e-4)


def test_sessions_do_not_share_state(model: SileroModel, phrase: NDArray[np.float32]) -> None:
    """Two streams in turns give the same probabilities as each alone."""

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
    np.testing.assert_allclose(mine, probabilities(model, [phrase]), atol=1e-4)
    assert np.abs(mine - other).max() > 0.1


def test_it_agrees_with_the_original(model: SileroModel, phrase: NDArray[np.float32]) -> None:
    """The probabilities are those of the package silero-vad on torch, recorded in tests/data."""
    expected = json.loads((ROOT / "tests/data/phrase_3s.speech.json").read_text())
    np.testing.assert_allclose(probabilities(model, [phrase]), expected, atol=1e-3)


def test_a_broken_file_is_an_error(tmp_path: Path) -> None:
    """Whatever got past the digest: the load fails and says which file it was."""
    (tmp_path / SILERO_FILE).write_bytes(b"broken")
    with pytest.raises(Exception, match=SILERO_FILE):
        SileroModel(tmp_path)


def test_other_threads_are_not_started(silero_dir: Path) -> None:
    """The model works in the calling thread: a pool of its own would compete with the decoder for the cores."""
    before = threads()
    model = SileroModel(silero_dir)
    model._run(np.zeros((3, 576), np.float32), model.initial_state())
    assert threads() == before
    model.close()


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))
