"""Whether a whole hypothesis is speech or invention."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.core.evidence import NO_SPEECH, SURE_PHANTOM, SURE_WORD, is_speech
from whisperlivekit.core.hypothesis import Word


def hypothesis(text: str, probability: float) -> list[Word]:
    return [Word(f" {word}", 0, 0, probability) for word in text.split()]


@pytest.mark.parametrize(
    "text",
    [
        "Продолжение следует...",
        "Субтитры сделал DimaTorzok",
        "Субтитры создавал DimaTorzok",
        "Редактор субтитров А.Семкин Корректор А.Егорова",
        "Спасибо за просмотр!",
        "Подписывайтесь на мой канал",
    ],
)
def test_phantoms_are_doubted(text: str) -> None:
    """What Whisper writes over silence is dropped unless it is sure of it: people do say such things."""
    assert not is_speech(hypothesis(text, SURE_PHANTOM - 0.05), 0.0)
    assert not is_speech(hypothesis(text, 0.95), NO_SPEECH + 0.05)
    assert is_speech(hypothesis(text, 0.95), 0.1)


@pytest.mark.parametrize("text", ["Добрый день", "Продолжение следует за началом", "Нам нужны субтитры", "Всем привет"])
def test_plain_speech_is_not_doubted_for_its_words(text: str) -> None:
    """A phrase that only begins like a phantom, or has a word of it."""
    assert is_speech(hypothesis(text, 0.5), 0.1)


def test_improbable_words_over_no_speech_are_invented() -> None:
    """Either alone is not enough: quiet voices have both now and then."""
    assert not is_speech(hypothesis("а вот", SURE_WORD - 0.1), NO_SPEECH + 0.1)
    assert is_speech(hypothesis("а вот", SURE_WORD - 0.1), NO_SPEECH - 0.1)
    assert is_speech(hypothesis("а вот", SURE_WORD + 0.1), NO_SPEECH + 0.1)


@given(st.text(max_size=40), st.floats(SURE_PHANTOM, 1), st.floats(0, NO_SPEECH))
def test_words_that_the_model_is_sure_of_are_never_dropped(text: str, probability: float, no_speech: float) -> None:
    """Whatever they say."""
    assert is_speech(hypothesis(text, probability), no_speech)


def test_nothing_is_not_doubted() -> None:
    """An empty hypothesis has nothing to be dropped."""
    assert is_speech([], 1.0)
