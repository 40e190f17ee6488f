"""Whisper on CTranslate2: the parts that are pure, and the real model where only it can tell."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.conftest import ROOT
from whisperlivekit.core.hypothesis import DecodeRequest
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.engine import whisper
from whisperlivekit.engine.whisper import SHORTEST, EngineConfig, WhisperModel


@pytest.fixture(scope="module")
def model(base_model: Path) -> WhisperModel:
    return WhisperModel(EngineConfig(base_model, "cpu", threads=2))


@pytest.fixture(scope="module")
def phrase() -> NDArray[np.float32]:
    audio: NDArray[np.float32] = soundfile.read(ROOT / "tests" / "data" / "phrase_3s.flac", dtype="float32")[0]
    return audio


def text(model: WhisperModel, request: DecodeRequest) -> str:
    (hypothesis,) = model.decode([request])
    return "".join(word.text for word in hypothesis.words)


@pytest.mark.model
def test_a_phrase_with_its_words_and_times(model: WhisperModel, phrase: NDArray[np.float32]) -> None:
    """Letter by letter, greedy and with beams; each word ends where it does in the transcript beside the clip."""
    for final in (False, True):
        (hypothesis,) = model.decode([DecodeRequest(5, phrase, 0, "ru", final=final)])
        assert "".join(word.text for word in hypothesis.words) == " Извините, но голосовой ящик абонента переполнен."
        ends = [word.end / SAMPLE_RATE for word in hypothesis.words]
        for end, expected in zip(ends[:-1], (1.44, 1.74, 2.34, 2.8, 3.32), strict=True):
            assert abs(end - expected) < 0.4
        assert not hypothesis.looped


@pytest.mark.model
def test_the_language_is_heard(model: WhisperModel, phrase: NDArray[np.float32]) -> None:
    """Where none is asked for."""
    (hypothesis,) = model.decode([DecodeRequest(1, phrase, 0, None)])
    assert hypothesis.language == "ru"


@pytest.mark.model
@pytest.mark.parametrize("samples", [0, 1, SHORTEST - 1])
def test_nothing_is_heard_in_next_to_nothing(model: WhisperModel, phrase: NDArray[np.float32], samples: int) -> None:
    """In an empty window the decoder would hear a subtitle's editor; its neighbours in the batch are not harmed."""
    short = DecodeRequest(1, phrase[:samples], 0, None, prefix=" раз", final=True)
    assert model.decode([short])[0].words == ()
    known = replace(short, language="ru")
    (nothing, something) = model.decode([known, DecodeRequest(2, phrase, 0, "ru", final=True)])
    assert nothing.words == ()
    assert len(something.words) == 6


@pytest.mark.model
def test_an_endless_prompt_and_prefix_are_survived(model: WhisperModel, phrase: NDArray[np.float32]) -> None:
    """A client decides both: neither may take the model down, or a neighbour's words."""
    prompt = DecodeRequest(1, phrase, 0, "ru", prompt="Голосовая почта. " * 100, hotwords=("Кеннеди",) * 100)
    prefix = DecodeRequest(2, phrase, 0, "ru", prefix=" слово" * 300)
    hypotheses = model.decode([prompt]) + model.decode([prefix, DecodeRequest(3, phrase, 0, "ru")])
    assert [hypothesis.request_id for hypothesis in hypotheses] == [1, 2, 3]
    for hypothesis in (hypotheses[0], hypotheses[2]):
        assert hypothesis.words[-1].text.startswith(" переполнен")


@pytest.mark.model
@pytest.mark.parametrize("task", ["<|startoftranscript|>", "<|notimestamps|>", "<|endoftext|>", "<|0.00|>", "<|ru|>"])
def test_task_tokens_in_a_client_s_text_are_no_text(
    model: WhisperModel, phrase: NDArray[np.float32], task: str
) -> None:
    """In a prompt, a hotword, a short and a long prefix, or context: one of them once took the whole process down."""
    long = " Извините, но голосовой"
    said = " Извините, но голосовой ящик абонента переполнен."
    for final in (False, True):
        requests = [
            DecodeRequest(1, phrase, 0, "ru", prompt=f"{task} раз два", final=final),
            DecodeRequest(2, phrase, 0, "ru", hotwords=(task, "ящик"), final=final),
            DecodeRequest(3, phrase, 0, "ru", prefix=task, final=final),
            DecodeRequest(4, phrase, 0, "ru", prefix=f"{task}{long}{task}", final=final),
            DecodeRequest(5, phrase, 0, "ru", context_text=task, final=final),
        ]
        for request in requests:
            (hypothesis,) = model.decode([request])
            assert "".join(word.text for word in hypothesis.words) == said.removeprefix(long if request.id == 4 else "")


@pytest.mark.model
def test_context_is_heard_but_not_told(model: WhisperModel, phrase: NDArray[np.float32]) -> None:
    """The words of the context come neither again nor with times before the window."""
    cut = round(1.55 * SAMPLE_RATE)
    request = DecodeRequest(
        1, phrase[cut:], 100_000, "ru", context=phrase[:cut], context_text=" Извините,", prefix="", final=True
    )
    (hypothesis,) = model.decode([request])
    assert "".join(word.text for word in hypothesis.words) == " но голосовой ящик абонента переполнен."
    assert all(100_000 <= word.end <= 100_000 + len(request.samples) for word in hypothesis.words)


@pytest.mark.model
@pytest.mark.parametrize("number", ["float16", "bfloat16"])
def test_a_gpu_s_numbers_are_read(model: WhisperModel, phrase: NDArray[np.float32], number: str) -> None:
    """Encoder output in half precision, which a CPU's encoder never gives: numpy itself knows no bfloat16."""

    class Half:
        def encode(self, features: Any, *, to_cpu: bool) -> Any:
            return model._model.encode(features, to_cpu=to_cpu).to(getattr(model._ctranslate2.DataType, number))

    half = model.lane()
    half._model = Half()
    np.testing.assert_allclose(half._encode_bare(phrase, 0.0), model._encode_bare(phrase, 0.0), rtol=0.01, atol=0.01)


@pytest.mark.model
@pytest.mark.parametrize("call", ["generate", "align", "detect_language"])
def test_no_window_is_encoded_twice(
    model: WhisperModel, phrase: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """CTranslate2 takes an input whose second dimension equals the number of mel bands for features, and encodes it. A
    window of 80 encoder frames, 128 with large-v3, must not reach it. With less silence a window of 1 s has 80 frames.
    """
    monkeypatch.setattr(whisper, "PADDING_S", 0.1)
    shapes: dict[str, list[int]] = {"generate": [], "align": [], "detect_language": []}

    class Spy:
        def __getattr__(self, name: str) -> Any:
            def spied(encoded: Any, *arguments: Any, **options: Any) -> Any:
                shapes[name].append(encoded.shape[1])
                return getattr(model._model, name)(encoded, *arguments, **options)

            return spied if name in shapes else getattr(model._model, name)

    lane = model.lane()
    lane._model = Spy()
    for tail in range(23, 28):
        monkeypatch.setattr(whisper, "TAIL_FRAMES", tail)
        lane.decode([DecodeRequest(1, phrase[8_000:24_000], 0, None)])
    assert shapes[call] == [78, 79, 81, 81, 82]


@pytest.mark.model
def test_the_windows_of_a_model_with_128_mel_bands(model: WhisperModel) -> None:
    """With large-v3, windows of 0.56 s have as many encoder frames as mel bands: they get one frame of silence more."""
    lane = model.lane()
    lane._n_mels = 128
    lengths = [lane._encode([np.zeros(samples, np.float32)]).shape[1] for samples in (8_959, 8_960, 9_279, 9_280)]
    assert lengths == [127, 129, 129, 129]
