"""Which part of a hypothesis was probably not said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.core.evidence import (
    LOOP_COPIES,
    MAX_NO_SPEECH,
    MIN_LISTED_PROBABILITY,
    MIN_PROBABILITY,
    count_spoken,
    is_speech,
)
from whisperlivekit.core.hypothesis import Word, normalize
from whisperlivekit.core.units import SAMPLE_RATE


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
        "To be continued...",
        "Subscribe to the channel!",
        "Thanks for watching!",
        "The end.",
        "I'll be back soon.",
    ],
)
def test_typical_hallucinations_are_dropped(text: str) -> None:
    """Phrases that Whisper outputs for silence are dropped unless it is sure of them: people do say such things."""
    assert not is_speech(hypothesis(text, MIN_LISTED_PROBABILITY - 0.05), 0.0)
    assert not is_speech(hypothesis(text, 0.95), MAX_NO_SPEECH + 0.05)
    assert is_speech(hypothesis(text, 0.95), 0.1)


@pytest.mark.parametrize(
    "text",
    [
        "Добрый день",
        "Продолжение следует за началом",
        "Нам нужны субтитры",
        "Всем привет",
        "Thank you",
        "The end of it",
    ],
)
def test_plain_speech_is_not_dropped_for_its_words(text: str) -> None:
    """A phrase that only begins like a hallucination, or has a word of one, is kept."""
    assert is_speech(hypothesis(text, 0.5), 0.1)


def test_improbable_words_over_no_speech_are_dropped() -> None:
    """Low word probability or a high probability of no speech alone is not enough: quiet voices cause either."""
    assert not is_speech(hypothesis("а вот", MIN_PROBABILITY - 0.1), MAX_NO_SPEECH + 0.1)
    assert is_speech(hypothesis("а вот", MIN_PROBABILITY - 0.1), MAX_NO_SPEECH - 0.1)
    assert is_speech(hypothesis("а вот", MIN_PROBABILITY + 0.1), MAX_NO_SPEECH + 0.1)


@given(st.text(max_size=40), st.floats(MIN_LISTED_PROBABILITY, 1), st.floats(0, MAX_NO_SPEECH))
def test_words_that_the_model_is_sure_of_are_never_dropped(text: str, probability: float, no_speech: float) -> None:
    """Whatever the words are."""
    assert is_speech(hypothesis(text, probability), no_speech)


def test_an_empty_hypothesis_is_not_dropped() -> None:
    """It has nothing to drop."""
    assert is_speech([], 1.0)


# ---- loops, echoes and credits


def spoken(text: str, word_s: float = 0.4, probability: float = 0.9) -> list[Word]:
    """Words one after the other, each ``word_s`` long."""
    length = round(word_s * SAMPLE_RATE)
    return [
        Word(f" {word}", index * length, (index + 1) * length, probability) for index, word in enumerate(text.split())
    ]


def kept(before: str, words: list[Word], *, final: bool = False) -> str:
    count = count_spoken([normalize(word) for word in before.split()], words, final=final)
    return "".join(word.text for word in words[:count]).strip()


@pytest.mark.parametrize("before", ["Пляжу! Пляжу!", "да, Пляжу! Пляжу! Пляжу!", "Пляжу"])
def test_a_loop_is_seen_across_decodes(before: str) -> None:
    """Each decode adds copies to those in its prefix. In babble, «Пляжу!» once replaced 20 s of speech this way."""
    assert kept(before, spoken("Пляжу! Пляжу!")) == ""


def test_a_loop_of_a_hypothesis_is_cut_to_its_first_copy() -> None:
    """Copies may differ in punctuation, which hides them from a comparison of tokens."""
    assert kept("", spoken("Здесь, здесь, здесь.")) == "Здесь,"
    assert kept("добрый", spoken("день. Нажмите один, нажмите один. Нажмите один")) == "день. Нажмите один,"


@given(
    st.lists(st.sampled_from("абвг"), max_size=8),
    st.lists(st.sampled_from("деёж"), min_size=1, max_size=10, unique=True),
)
def test_what_people_say_twice_stays(before: list[str], unit: list[str]) -> None:
    """Two copies are kept if the second one takes the time of speech, also if the first one is in the prefix."""
    assert kept("", spoken(" ".join([*unit, *unit]))) == " ".join([*unit, *unit])
    assert kept(" ".join([*before, *unit]), spoken(" ".join(unit))) == " ".join(unit)


@pytest.mark.parametrize(
    ("before", "said", "echo"),
    [("", "Прицать чё?", "Прицать чё?"), ("", "в режим", "в режим"), ("двадцать пять", "", "двадцать пять")],
)
def test_what_is_said_twice_in_the_time_of_once_is_an_echo(before: str, said: str, echo: str) -> None:
    """Alignment gives the second copy almost no time: it is cut."""
    first = spoken(said)
    end = first[-1].end if first else 0
    second = [Word(f" {word}", end, end, 0.98) for word in echo.split()]
    assert kept(before, [*first, *second]) == said


@pytest.mark.parametrize("final", [False, True])
def test_credits_in_the_middle_of_an_utterance_are_cut(final: bool) -> None:
    """Seen: noise after a sentence became «Субтитры Редактор субтитров А.Синецкая», then 7 s more of credits."""
    words = [
        *spoken("для выхода из меню"),
        *spoken("Редактор субтитров А .Синецкая Корректор А .Егорова", probability=0.7),
    ]
    assert kept("нажмите решетку", words, final=final) == "для выхода из меню"
    sure = [*spoken("наш"), *spoken("редактор субтитров уволился")]
    assert kept("", sure, final=final) == "наш редактор субтитров уволился"


def test_a_word_that_may_begin_credits_waits() -> None:
    """It waits until the utterance ends, or until the next word shows that it begins none."""
    assert kept("включите", spoken("мне субтитры", probability=0.6)) == "мне"
    assert kept("включите", spoken("мне субтитры", probability=0.6), final=True) == "мне субтитры"
    assert kept("включите", spoken("мне субтитры пожалуйста", probability=0.6)) == "мне субтитры пожалуйста"


@given(
    st.lists(st.sampled_from("абв"), max_size=6),
    st.lists(st.sampled_from(["а", "б", "Субтитры", "Редактор", "субтитров", "—"]), max_size=12),
    st.floats(0, 1),
    st.floats(0, 1),
    st.booleans(),
)
def test_only_the_end_is_ever_cut(
    before: list[str], words: list[str], word_s: float, probability: float, final: bool
) -> None:
    """Words are only cut from the end, and what is left does not end with a loop."""
    said = spoken(" ".join(words), word_s, probability)
    count = count_spoken(before, said, final=final)
    assert 0 <= count <= len(said)
    left = [*before, *(normalize(word.text) for word in said[:count])]
    assert count == 0 or left[-LOOP_COPIES:] != [left[-1]] * LOOP_COPIES
