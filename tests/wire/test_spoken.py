"""Text as it is spoken: what a script on a telephone line compares."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.core.hypothesis import Word
from whisperlivekit.errors import UnsupportedFormat
from whisperlivekit.wire.spoken import TextForm, spoken, spoken_text, whole_words


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Да, конечно!", "да конечно"),
        ("Кто-то — «Максим» (Ещё раз)...", "кто-то максим ещё раз"),
        ("Мне 25 лет.", "мне двадцать пять лет"),
        ("0", "ноль"),
        ("007", "ноль ноль семь"),
        ("1000 рублей", "тысяча рублей"),
        ("1200", "тысяча двести"),
        ("21000", "двадцать одна тысяча"),
        ("100 000 рублей", "сто тысяч рублей"),
        ("12 500", "двенадцать тысяч пятьсот"),
        ("1 000 000.", "один миллион"),
        ("в 10:30", "в десять тридцать"),
        ("12.05.2024", "двенадцать ноль пять две тысячи двадцать четыре"),
        ("8-800-555-35-35", "восемь восемьсот пятьсот пятьдесят пять тридцать пять тридцать пять"),
        ("8 800 555 35 35", "восемь восемьсот пятьсот пятьдесят пять тридцать пять тридцать пять"),
        ("8 916 123 45 67", "восемь девятьсот шестнадцать сто двадцать три сорок пять шестьдесят семь"),
        ("89161234567", "восемь девять один шесть один два три четыре пять шесть семь"),
        ("+7 495", "плюс семь четыреста девяносто пять"),
        ("1%", "один процент"),
        ("22%, 12% и 50 %", "двадцать два процента двенадцать процентов и пятьдесят"),
        ("$5 и 3₽", "пять долларов и три рубля"),
        ("квартира №5", "квартира номер пять"),
        ("1-й, 2-я, 3-го и 4-ый", "первый вторая третьего и четвёртый"),
        ("90-е годы", "девяностые годы"),
        ("2-е место", "второе место"),
        ("5-ти, 3-х", "пяти трёх"),
        ("2-комнатная", "два комнатная"),
        ("ТУ-154", "ту сто пятьдесят четыре"),
        ("1,5", "один пять"),
        ("А4 5G", "а четыре пять g"),
        ("...", ""),
        ("", ""),
    ],
)
def test_russian_text_as_it_is_spoken(written: str, expected: str) -> None:
    """Lower case, no punctuation, numbers as words in the nominative; written endings decide the form."""
    assert spoken_text(written, "ru") == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [("В 10:30, 25%.", "в 10:30 25 процентов"), ("8-800-555", "8-800-555"), ("1,5%", "1,5 процентов"), ("1-й", "1-й")],
)
def test_digits_stay_if_they_are_wanted(written: str, expected: str) -> None:
    """A number keeps its marks; all else is as with words."""
    assert spoken_text(written, "ru", numbers=False) == expected


@pytest.mark.parametrize("language", ["en", "xx", None])
def test_other_languages_keep_their_digits(language: str | None) -> None:
    """Case and punctuation go as in Russian."""
    assert spoken_text("Room 125, 10%!", language) == "room 125 10"


@given(number=st.integers(0, 10**40))
def test_any_number_has_words(number: int) -> None:
    """No digit is left."""
    assert not any(letter.isdigit() for letter in spoken_text(f"{number}", "ru"))


_texts = st.text(st.sampled_from("аяЁ19 0-.,%№$+'\"—« \t\u00a0日ـि²Ⅳ") | st.characters(), max_size=30)
_words = st.lists(
    st.builds(Word, _texts, st.integers(0, 100), st.integers(100, 200), st.floats(0, 1)), max_size=8
)  # fmt: skip


@given(words=_words, language=st.sampled_from(["ru", "en", None]), numbers=st.booleans())
def test_any_words(words: list[Word], language: str | None, numbers: bool) -> None:
    """Whatever the model writes, the words hold no space and no quotation mark, and stay in their word's time."""
    found = spoken(words, language, numbers=numbers)
    assert all(word.text and word.text == "".join(word.text.split()) and '"' not in word.text for word in found)
    assert all(0 <= word.start <= word.end <= 200 and 0 <= word.probability <= 1 for word in found)
    assert all(not word.text[0].isspace() for word in whole_words(words))


def test_parts_of_a_word_share_its_time() -> None:
    """By their length, without gaps; a word that the model cut at a hyphen is one."""
    words = [
        Word(" как", 0, 100, 0.9),
        Word("-то", 100, 150, 0.5),
        Word(" 25", 200, 320, 0.8),
        Word(".", 320, 320, 0.1),
    ]
    assert spoken(words, "ru") == [
        Word("как-то", 0, 150, 0.5),
        Word("двадцать", 200, 280, 0.1),
        Word("пять", 280, 320, 0.1),
    ]


def test_thousands_are_one_word() -> None:
    """Groups of digits that the model writes apart are one number, with the time of both."""
    words = [Word(" 100", 0, 50, 0.9), Word(" 000", 50, 100, 0.8), Word(" рублей.", 100, 200, 0.7)]
    assert [(word.text, word.start, word.end) for word in spoken(words, "ru")] == [
        ("сто", 0, 37),
        ("тысяч", 37, 100),
        ("рублей", 100, 200),
    ]


def test_written_text_stays_as_it_is() -> None:
    """Case, punctuation and digits."""
    form = TextForm.from_options({"text": "written"})
    assert form.text(" Мне 25 лет. ", "ru") == "Мне 25 лет."
    assert [word.text for word in form.words([Word(" Мне", 0, 1, 1), Word(" 25.", 1, 2, 1)], "ru")] == ["Мне", "25."]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"text": "spoken"}, "text is 'spoken', expected plain or written"),
        ({"numbers": "roman"}, "numbers is 'roman', expected words or digits"),
        ({"text": "written", "numbers": "words"}, "numbers is words with text=written"),
    ],
)
def test_unknown_forms_are_refused(options: dict[str, str], found: str) -> None:
    """The error says what is allowed."""
    with pytest.raises(UnsupportedFormat, match=found):
        TextForm.from_options(options)
