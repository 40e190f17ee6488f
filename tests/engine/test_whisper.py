"""Whisper on CTranslate2: the parts that are pure, and the real model where only it can tell."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.conftest import ROOT
from whisperlivekit.core.hypothesis import DecodeRequest
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.engine.whisper import (
    MAX_LOOP_TOKENS,
    MIN_LOOP_REPEATS,
    SHORTEST,
    EngineConfig,
    WhisperModel,
    cut_loop,
)

tokens = st.integers(0, 5)
"""Few different ones, so that repetitions happen."""


# ---- loops


@given(st.lists(st.integers(), unique=True), st.lists(st.integers(), unique=True, min_size=1, max_size=8))
def test_what_is_said_twice_stays(before: list[int], unit: list[int]) -> None:
    """People do repeat themselves."""
    ids = [token for token in before if token not in unit] + unit * (MIN_LOOP_REPEATS - 1)
    assert cut_loop(ids) == ids


@given(
    st.lists(st.integers(), unique=True),
    st.lists(st.integers(), unique=True, min_size=1, max_size=MAX_LOOP_TOKENS),
    st.integers(MIN_LOOP_REPEATS, 30),
)
def test_a_loop_is_cut_to_its_first_copy(before: list[int], unit: list[int], repeats: int) -> None:
    """However often the decoder repeats itself, it is said once."""
    before = [token for token in before if token not in unit]
    assert cut_loop(before + unit * repeats) == before + unit


@given(
    st.lists(st.integers(), unique=True, min_size=2, max_size=MAX_LOOP_TOKENS),
    st.integers(MIN_LOOP_REPEATS, 30),
    st.data(),
)
def test_a_loop_that_the_budget_cut_in_the_middle_is_cut_too(
    unit: list[int], repeats: int, data: st.DataObject
) -> None:
    """What is left has no three copies of anything."""
    part = unit[: data.draw(st.integers(1, len(unit) - 1))]
    kept = cut_loop(unit * repeats + part)
    assert kept == part + unit[len(part) :] + part


@given(st.lists(tokens, max_size=80))
def test_a_cut_only_takes_from_the_end(ids: list[int]) -> None:
    """Whatever the decoder says: what is kept is its beginning, and not nothing."""
    kept = cut_loop(ids)
    assert kept == ids[: len(kept)]
    assert bool(kept) == bool(ids)


@given(st.lists(tokens, max_size=80))
def test_what_is_cut_is_copies_of_what_is_kept(ids: list[int]) -> None:
    """No word is lost that was said once."""
    kept = cut_loop(ids)
    lost = ids[len(kept) :]
    if lost:
        lengths = [
            n for n in range(1, MAX_LOOP_TOKENS + 1) if len(lost) % n == 0 and lost == kept[-n:] * (len(lost) // n)
        ]
        assert any(len(lost) // length >= MIN_LOOP_REPEATS - 1 for length in lengths)


@given(st.lists(tokens, max_size=30))
def test_long_runs_are_not_taken_for_loops_where_they_end(ids: list[int]) -> None:
    """A repetition in the middle is not the decoder's: it found its way out."""
    assert cut_loop([7, 7, 7, 7, 8, *(token + 10 for token in ids)])[:5] == [7, 7, 7, 7, 8]


# ---- the real model


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
    (nothing, something) = model.decode([short, DecodeRequest(2, phrase, 0, "ru")])
    assert nothing.words == ()
    assert len(something.words) == 6


@pytest.mark.model
def test_an_endless_prompt_and_prefix_are_survived(model: WhisperModel, phrase: NDArray[np.float32]) -> None:
    """A client decides both: neither may take the model down, or a neighbour's words."""
    prompt = DecodeRequest(1, phrase, 0, "ru", prompt="Голосовая почта. " * 100, hotwords=("Кеннеди",) * 100)
    prefix = DecodeRequest(2, phrase, 0, "ru", prefix=" слово" * 300)
    hypotheses = model.decode([prompt, prefix, DecodeRequest(3, phrase, 0, "ru")])
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
        for request, hypothesis in zip(requests, model.decode(requests), strict=True):
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
