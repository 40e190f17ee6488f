"""Candidates for misheard hotwords: what sounds alike is found, and nothing else is touched."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.core.hypothesis import Word, normalize
from whisperlivekit.engine.hotwords import (
    _CHANGE,
    _GAP,
    MARGIN,
    MAX_CANDIDATES,
    MAX_DISTANCE,
    MAX_PROBABILITY,
    SHORTEST,
    SPAN,
    Candidate,
    _codes,
    _Index,
    choose,
    find_candidates,
    forms_of,
    sound_of,
)

UNSURE = 0.5


def words_of(text: str, probability: float = UNSURE) -> list[Word]:
    return [
        Word(f" {part}", place * 1_000, place * 1_000 + 900, probability) for place, part in enumerate(text.split())
    ]


def corrected(hotword: str, text: str) -> list[str]:
    """The text with each candidate in its place."""
    words = words_of(text)
    return [
        "".join(
            [*(word.text for word in words[: one.first]), one.text, *(word.text for word in words[one.last :])]
        ).strip()
        for one in find_candidates((hotword,), words)
    ]


@pytest.mark.parametrize(
    ("hotword", "heard", "said"),
    [
        ("Сбербанк", "в зберобанке.", "в Сбербанке."),
        ("Сбербанк", "до сбир банка, потом", "до Сбербанка, потом"),
        ("Тинькофф Банк", "из тенькоф банка", "из Тинькофф Банка"),
        ("Красная площадь", "на красной площиди!", "на Красной площади!"),
        ("Чайковский", "музыка чей ковского", "музыка Чайковского"),
        ("Казань", "были вказани", "были в Казани"),
        ("Казань", "видеалказань", "видеал Казань"),
        ("Королёв", "у «каралева»", "у «Королёва»"),
        ("Иванова", "сказала ивановай", "сказала Ивановой"),
        ("YouTube", "на ютубе", "на YouTube"),
        ("Kubernetes", "кубернетис упал", "Kubernetes упал"),
        ("WhatsApp", "вотсап", "WhatsApp"),
        ("счёт", "Щот закрыт", "Счёт закрыт"),
    ],
)
def test_what_sounds_like_a_hotword_is_found(hotword: str, heard: str, said: str) -> None:
    """In another case, in two words, joined to a preposition, in Cyrillic; punctuation and a capital stay."""
    assert said in corrected(hotword, heard)


@pytest.mark.parametrize("hotword", ["Сбербанк", "Тинькофф Банк", "Королёв", "Мария", "МКАД"])
def test_a_hotword_that_is_right_stays(hotword: str) -> None:
    """In every form, whatever the capitals, with ``е`` for ``ё``: the other forms sound almost alike."""
    for form in forms_of(hotword):
        assert corrected(hotword, f"раз {form.lower().replace('ё', 'е')}, два") == []


def test_sure_words_are_not_questioned() -> None:
    """A stream that the decoder is sure of costs nothing."""
    assert find_candidates(("Сбербанк",), words_of("збербанк", MAX_PROBABILITY + 0.01)) == []
    assert find_candidates(("Сбербанк",), words_of("збербанк", MAX_PROBABILITY)) != []


def test_a_hotword_does_not_cross_the_end_of_a_sentence() -> None:
    """The decoder heard a pause there."""
    assert corrected("Тинькофф Банк", "тенькоф банка") != []
    assert corrected("Тинькофф Банк", "тенькоф. Банка") == []


@pytest.mark.parametrize(("hotword", "heard"), [("Катя", "эстакада"), ("Рига", "интриги")])
def test_the_end_of_a_word_is_no_hotword(hotword: str, heard: str) -> None:
    """Unless a preposition is left, or at least four letters in front of exactly the sound of the hotword."""
    assert corrected(hotword, heard) == []


@pytest.mark.parametrize("hotword", ["", " ", "и", "…", "<|ru|>", "日本語テキスト", "ё" * 64, "а " * 32])
def test_any_text_may_be_a_hotword(hotword: str) -> None:
    """A client chooses it. One that has too few sounds is never found."""
    assert all(len(sound_of(hotword)) >= 3 for _ in find_candidates((hotword,), words_of("и раз, два. 日本")))


letters = st.text("абвгдеёжзиклмнопрстуфхчшья", min_size=1, max_size=8)
any_word = letters | st.sampled_from(["-", "…", "«раз»", "«Раз»,", "два!", "2", "GPS", "İstanbul", "сбербанка"])
hypotheses = st.lists(
    st.builds(
        lambda text, probability: Word(f" {text}", 0, 1, probability), any_word, st.sampled_from([0.3, 0.8, 0.95])
    ),
    max_size=12,
)
hotword_lists = st.lists(letters | st.sampled_from(["Сбербанк", "YouTube", "Красная площадь", "İ"]), max_size=5)


@given(hotword_lists, hypotheses)
def test_candidates_are_well_formed(hotwords: list[str], words: list[Word]) -> None:
    """Few, the best first, each in the place of one to three words, one of which is unsure, and with their ending."""
    found = find_candidates(tuple(hotwords), words)
    assert len(found) <= MAX_CANDIDATES
    assert all(one.distance <= other.distance <= MAX_DISTANCE for one, other in pairwise(found))
    for one in found:
        span = words[one.first : one.last]
        assert 0 <= one.first < one.last <= len(words)
        assert len(span) <= SPAN
        assert min(word.probability for word in span) <= MAX_PROBABILITY
        assert one.text.startswith(" ")
        ending = span[-1].text[-1]
        assert ending.isalnum() or one.text.endswith(ending)
        assert any(normalize(one.text).endswith(normalize(form)) for hotword in hotwords for form in forms_of(hotword))


REDUCED = {"о": "а", "е": "и", "д": "т", "з": "с", "в": "ф"}


@given(st.text("абвгдежзиклмнопрстуфхчш", min_size=4, max_size=12), st.data())
def test_one_confused_letter_is_no_obstacle(hotword: str, data: st.DataObject) -> None:
    """An unstressed vowel, or a consonant that lost its voice, in any hotword of four letters or more."""
    places = [place for place, letter in enumerate(hotword) if letter in REDUCED]
    if not places or len(sound_of(hotword)) < 4:
        return
    place = data.draw(st.sampled_from(places))
    heard = hotword[:place] + REDUCED[hotword[place]] + hotword[place + 1 :]
    if normalize(heard) in {normalize(form) for form in forms_of(hotword)}:
        return
    assert any(normalize(text) == hotword for text in corrected(hotword, heard))


def edit_distance(heard: list[int], said: list[int]) -> float:
    """The textbook's, letter by letter."""
    rows = [list(np.cumsum([0.0, *_GAP[said]]))]
    for letter in heard:
        row = [rows[-1][0] + _GAP[letter]]
        for place, other in enumerate(said):
            row.append(
                min(rows[-1][place] + _CHANGE[letter][other], rows[-1][place + 1] + _GAP[letter], row[-1] + _GAP[other])
            )
        rows.append(row)
    return float(rows[-1][-1])


@given(st.lists(letters, max_size=4), letters)
def test_distances_are_edit_distances(hotwords: list[str], heard: str) -> None:
    """Of every end of what was heard, to all forms at once: as if each pair were compared letter by letter."""
    index, sound = _Index(tuple(hotwords)), sound_of(heard)
    found = {(length, form): distance for length, form, distance in index.similar(sound)}
    for length, (number, form) in product(range(SHORTEST - 1, len(sound) + 1), enumerate(index.forms)):
        said = _codes(sound_of(form))
        expected = edit_distance(_codes(sound[len(sound) - length :]), said) / len(said)
        if expected < MAX_DISTANCE - 0.001:
            assert found[length, number] == pytest.approx(expected, abs=0.001)
        elif expected > MAX_DISTANCE + 0.001:
            assert (length, number) not in found


spans = st.tuples(st.integers(0, 8), st.integers(1, SPAN)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(st.tuples(spans, st.floats(-2 * MARGIN, MARGIN)), max_size=8))
def test_chosen_candidates_do_not_overlap(tried: list[tuple[tuple[int, int], float]]) -> None:
    """From the last to the first; none loses more than the margin, and whatever is left out is worse than its rival."""
    candidates = [Candidate(first, last, f" {number}", 0.0) for number, ((first, last), _) in enumerate(tried)]
    gain_of = {one.text: gain for one, (_, gain) in zip(candidates, tried, strict=True)}
    chosen = choose(candidates, [gain for _, gain in tried])
    assert all(later.first >= earlier.last for later, earlier in pairwise(chosen))
    assert all(gain_of[one.text] >= -MARGIN for one in chosen)
    for one in candidates:
        rivals = [other for other in chosen if one.first < other.last and other.first < one.last]
        assert one in chosen or gain_of[one.text] < -MARGIN or max(gain_of[r.text] for r in rivals) >= gain_of[one.text]


@pytest.mark.parametrize(
    ("hotword", "forms"),
    [
        ("Сбербанк", ["Сбербанка", "Сбербанку", "Сбербанком", "Сбербанке"]),
        ("Казань", ["Казани", "Казанью"]),
        ("Мария", ["Марии", "Марию", "Марией"]),
        ("Ольга", ["Ольги", "Ольге", "Ольгу", "Ольгой"]),
        ("Достоевский", ["Достоевского", "Достоевскому", "Достоевским", "Достоевском"]),
        ("Пушкин", ["Пушкина", "Пушкину", "Пушкиным", "Пушкине"]),
        ("Иванова", ["Ивановой", "Иванову"]),
        ("Красная площадь", ["Красной площади", "Красную площадь", "Красной площадью"]),
        ("Лев Толстой", ["Лев Толстого", "Лев Толстому"]),
        ("Череповец", ["Череповца", "Череповцу"]),
    ],
)
def test_a_hotword_is_declined(hotword: str, forms: list[str]) -> None:
    """The client gives one form."""
    assert forms_of(hotword)[0] == hotword
    assert set(forms) <= set(forms_of(hotword))


@pytest.mark.parametrize("hotword", ["Баку", "YouTube", "Отто 5", "Сочи"])
def test_a_hotword_that_is_not_declined_has_one_form(hotword: str) -> None:
    """Latin, digits, and Russian endings that do not change."""
    assert forms_of(hotword) == (hotword,)
