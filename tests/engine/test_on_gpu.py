"""The model on an NVIDIA GPU: what no machine without one can tell."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.conftest import ROOT
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, normalize
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.engine.whisper import MAX_BATCH, MIN_PARALLEL, EngineConfig, WhisperModel
from whisperlivekit.observe.gpu import Gpu, NoGpu, visible_gpus

pytestmark = [pytest.mark.gpu, pytest.mark.model]

WORDS = ["извините", "но", "голосовой", "ящик", "абонента", "переполнен"]


@pytest.fixture(scope="module")
def gpus() -> tuple[Gpu, ...]:
    try:
        return visible_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"))
    except NoGpu as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def phrase() -> NDArray[np.float32]:
    audio: NDArray[np.float32] = soundfile.read(ROOT / "tests" / "data" / "phrase_3s.flac", dtype="float32")[0]
    return audio


def words(hypothesis: Hypothesis) -> list[str]:
    return [normalize(word.text) for word in hypothesis.words]


@pytest.mark.parametrize("compute_type", ["float16", "int8_float16", "bfloat16"])
def test_every_type_hears_the_phrase(
    gpus: tuple[Gpu, ...], base_model: Path, phrase: NDArray[np.float32], compute_type: str
) -> None:
    """The same words as on a CPU, whatever the numbers are made of."""
    needed = (8, 0) if compute_type == "bfloat16" else (7, 0)
    if (gpus[0].capability or needed) < needed:
        pytest.skip(f"{gpus[0].name} has no {compute_type}")
    model = WhisperModel(EngineConfig(base_model, "cuda", compute_type=compute_type))
    for final in (False, True):
        (hypothesis,) = model.decode([DecodeRequest(1, phrase, 0, "ru", final=final)])
        assert words(hypothesis) == WORDS


def test_a_batch_gives_what_each_gives_alone(
    gpus: tuple[Gpu, ...], base_model: Path, phrase: NDArray[np.float32]
) -> None:
    """The largest batch, of windows of different lengths, with prefixes that are read in one pass."""
    model = WhisperModel(EngineConfig(base_model, "cuda", compute_type="float16"))
    requests = [
        DecodeRequest(
            number, phrase[: len(phrase) - number * SAMPLE_RATE // 20], 0, "ru", prefix=" Извините, но голосовой"
        )
        for number in range(MAX_BATCH["cuda"])
    ]
    assert all(len(model._tokens(request, "ru").prefix) > MIN_PARALLEL for request in requests)
    together = model.decode(requests)
    assert [words(found) for found in together] == [words(model.decode([request])[0]) for request in requests]
    assert words(together[0]) == WORDS[3:]


def test_the_second_gpu_is_used(gpus: tuple[Gpu, ...], base_model: Path, phrase: NDArray[np.float32]) -> None:
    """Workers are dealt out over the GPUs by this index."""
    if len(gpus) < 2:
        pytest.skip("there is only one GPU")
    model = WhisperModel(EngineConfig(base_model, "cuda", device_index=1, compute_type="float16"))
    (hypothesis,) = model.decode([DecodeRequest(1, phrase, 0, "ru", final=True)])
    assert words(hypothesis) == WORDS
