"""Token ids of a request's texts."""

from pathlib import Path

import numpy as np
import pytest

from whisperlivekit.core.hypothesis import DecodeRequest
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.engine.tokens import MAX_FORCED_TOKENS, MAX_PROMPT_TOKENS, TOKENS, TOKENS_PER_SECOND, Tokenizers

pytestmark = pytest.mark.model

SILENCE = np.zeros(2 * SAMPLE_RATE, np.float32)
START, PREVIOUS, NO_TIMESTAMPS = 50258, 50361, 50363
"""``<|startoftranscript|>``, ``<|startofprev|>`` and ``<|notimestamps|>`` of the multilingual models up to medium."""


@pytest.fixture(scope="module")
def tokenizers(base_model: Path) -> Tokenizers:
    return Tokenizers(base_model / "tokenizer.json", multilingual=True)


def test_a_request_without_texts(tokenizers: Tokenizers) -> None:
    """Only the task tokens, and a budget by the length of the audio."""
    tokens = tokenizers.request(DecodeRequest(1, SILENCE, 0, "ru"), "ru")
    assert (tokens.prompt[0], tokens.prompt[-1], len(tokens.prompt)) == (START, NO_TIMESTAMPS, 4)
    assert tokens.forced == []
    assert tokens.budget == TOKENS + 2 * TOKENS_PER_SECOND


def test_the_task_is_in_the_prompt(tokenizers: Tokenizers) -> None:
    """``<|translate|>`` in the place of ``<|transcribe|>``, after the language that is spoken."""
    plain, translated = (
        tokenizers.request(DecodeRequest(1, SILENCE, 0, "ru", task=task), "ru").prompt
        for task in ("transcribe", "translate")
    )
    assert plain[2] - translated[2] == 1
    assert [*plain[:2], plain[3]] == [*translated[:2], translated[3]]


def test_the_prompt_comes_first(tokenizers: Tokenizers) -> None:
    """As text before the transcript starts, without the hotwords; the id of the last task token can be replaced."""
    request = DecodeRequest(1, SILENCE, 0, "ru", prompt="Имя.", hotwords=("Иной", "слово"))
    tokens = tokenizers.request(request, "ru", no_timestamps=99_999)
    text = tokens.prompt[1 : tokens.prompt.index(START)]
    assert tokens.prompt[0] == PREVIOUS
    assert tokenizers.language("ru").decode(text) == " Имя."
    assert tokens.prompt[-1] == 99_999


def test_forced_text_is_context_then_prefix(tokenizers: Tokenizers) -> None:
    """The hypothesis continues both."""
    request = DecodeRequest(1, SILENCE, 0, "ru", context_text=" раз два", prefix=" три")
    assert tokenizers.language("ru").decode(tokenizers.request(request, "ru").forced) == " раз два три"


def test_an_endless_prompt_keeps_its_end(tokenizers: Tokenizers) -> None:
    """What was said last says most about what comes next."""
    request = DecodeRequest(1, SILENCE, 0, "ru", prompt="раз " * 1_000 + "конец")
    tokens = tokenizers.request(request, "ru")
    assert len(tokens.prompt) == 1 + MAX_PROMPT_TOKENS + 4
    assert tokenizers.language("ru").decode(tokens.prompt[1:-4]).endswith(" конец")


def test_forced_text_is_bounded(tokenizers: Tokenizers) -> None:
    """Whisper has 448 positions. Some scripts have two tokens a letter, and a client may resume with any text."""
    spoken = DecodeRequest(1, SILENCE, 0, "ka", context_text=" დილა მშვიდობისა" * 20, prefix=" დიახ")
    assert not tokenizers.fits(spoken, "ka")
    assert tokenizers.fits(DecodeRequest(1, SILENCE, 0, "ka", prefix=" დიახ"), "ka")
    tokens = tokenizers.request(spoken, "ka")
    assert len(tokens.forced) == MAX_FORCED_TOKENS


@pytest.mark.parametrize("task", ["<|startoftranscript|>", "<|notimestamps|>", "<|endoftext|>", "<|0.00|>", "<|ru|>"])
def test_task_tokens_in_a_text_are_left_out(tokenizers: Tokenizers, task: str) -> None:
    """A task token in the place of text makes CTranslate2 write outside its memory."""
    request = DecodeRequest(1, SILENCE, 0, "ru", prompt=task, prefix=f" а{task}", context_text=task)
    tokens = tokenizers.request(request, "ru")
    assert max(tokenizers.text(f" а{task}", "ru")) < tokenizers.end_of_text
    assert max(tokens.forced) < tokenizers.end_of_text
    assert max(tokens.prompt[1:-4]) < tokenizers.end_of_text


def test_a_lane_has_tokenizers_of_its_own(tokenizers: Tokenizers) -> None:
    """They are not thread-safe; what they give is the same."""
    lane = tokenizers.lane()
    assert lane.language("ru") is not tokenizers.language("ru")
    request = DecodeRequest(1, SILENCE, 0, "ru", prompt="Имя.", prefix=" раз")
    assert lane.request(request, "ru") == tokenizers.request(request, "ru")
