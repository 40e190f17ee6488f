"""The model on an NVIDIA GPU: what can only be tested on a machine with one."""

import os
from pathlib import Path

import pytest

from tests.speech import assert_says, clip, says, text_of
from whisperlivekit.core.hypothesis import DecodeRequest
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.engine.whisper import MAX_BATCH, MIN_PARALLEL, EngineConfig, WhisperModel
from whisperlivekit.observe.gpu import Gpu, NoGpu, visible_gpus

pytestmark = [pytest.mark.gpu, pytest.mark.model]

PHRASE = clip("phrase_3s")


@pytest.fixture(scope="module")
def gpus() -> tuple[Gpu, ...]:
    try:
        return visible_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"))
    except NoGpu as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("compute_type", ["float16", "int8_float16", "bfloat16"])
def test_every_compute_type_gives_the_words(gpus: tuple[Gpu, ...], base_model: Path, compute_type: str) -> None:
    """Partial and final decodes."""
    needed = (8, 0) if compute_type == "bfloat16" else (7, 0)
    if (gpus[0].capability or needed) < needed:
        pytest.skip(f"{gpus[0].name} has no {compute_type}")
    model = WhisperModel(EngineConfig(base_model, "cuda", compute_type=compute_type))
    for final in (False, True):
        (hypothesis,) = model.decode([DecodeRequest(1, PHRASE.samples, 0, "ru", final=final)])
        assert_says(text_of(hypothesis), PHRASE.text)


def test_a_batch_gives_what_each_request_gives_alone(gpus: tuple[Gpu, ...], base_model: Path) -> None:
    """The largest batch, with windows of different lengths and prefixes that are read in one pass."""
    model = WhisperModel(EngineConfig(base_model, "cuda", compute_type="float16"))
    requests = [
        DecodeRequest(
            number,
            PHRASE.samples[: len(PHRASE.samples) - number * SAMPLE_RATE // 20],
            0,
            "ru",
            prefix=" Извините, но голосовой",
        )
        for number in range(MAX_BATCH["cuda"])
    ]
    assert all(len(model._tokenizers.request(request, "ru").forced) > MIN_PARALLEL for request in requests)
    together = model.decode(requests)
    for request, hypothesis in zip(requests, together, strict=True):
        assert hypothesis.request_id == request.id
        assert says(text_of(hypothesis), text_of(model.decode([request])[0]))
    assert_says(text_of(together[0]), "ящик абонента переполнен")


def test_the_second_gpu_is_used(gpus: tuple[Gpu, ...], base_model: Path) -> None:
    """Workers are distributed over the GPUs by this index."""
    if len(gpus) < 2:
        pytest.skip("there is only one GPU")
    model = WhisperModel(EngineConfig(base_model, "cuda", device_index=1, compute_type="float16"))
    (hypothesis,) = model.decode([DecodeRequest(1, PHRASE.samples, 0, "ru", final=True)])
    assert_says(text_of(hypothesis), PHRASE.text)
