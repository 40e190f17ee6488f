"""Text as it is spoken: lower case, no punctuation, numbers as words. Scripts on telephone lines compare such text.

Numbers become words in Russian; in other languages digits stay. A number becomes a cardinal in the nominative: what its
case was is not written ("в 2024 году"). Endings that are written are kept: "1-го" is "первого". A number with other
marks inside is read by its parts: "10:30" is "десять тридцать", "1,5" is "один пять".
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from unicodedata import category

from num2words import num2words

from whisperlivekit.core.hypothesis import Word
from whisperlivekit.errors import UnsupportedFormat

LONGEST_NUMBER = 9
"""In digits. A longer run of digits is a telephone number or an identifier: it is read digit by digit."""

_JOINED = "\N{NO-BREAK SPACE}"

_THOUSANDS = re.compile(r"(?<!\S)(?<![0-9] )[1-9][0-9]{0,2}(?: [0-9]{3})+(?![0-9,.:/-]*[0-9]| [0-9])")
"""Groups of three digits that are one number: "100 000". In "800 555 35 35" they are not."""

_NUMBER = re.compile(r"([№+$€₽]?)([0-9]+)(?:-([а-яё]{1,3})(?!\w))?([%$€₽°]?)")
"""A sign in front, digits, a Russian ending, a sign behind."""

_SIGNS_BEFORE = {"№": "номер", "+": "плюс"}

_SIGNS_AFTER = {
    "%": ("процент", "процента", "процентов"),
    "₽": ("рубль", "рубля", "рублей"),
    "$": ("доллар", "доллара", "долларов"),
    "€": ("евро", "евро", "евро"),
    "°": ("градус", "градуса", "градусов"),
}
"""The forms after 1, after 2 to 4, and after other numbers."""

_ORDINALS: dict[str, dict[str, object]] = {
    "й": {},
    "я": {"gender": "f"},
    "е": {"gender": "n"},
    "го": {"case": "g"},
    "му": {"case": "d"},
    "м": {"case": "p"},
    "ю": {"case": "a", "gender": "f"},
    "х": {"case": "g", "plural": True},
}
"""Written ending -> form of the ordinal, in num2words' words. It may be written with the vowel before it ("1-ый")."""

_BETWEEN_LETTERS = "-'’"
_BETWEEN_DIGITS = "-.,:/"


@dataclass(frozen=True, slots=True)
class TextForm:
    """The form in which a client wants its text."""

    plain: bool = True
    """As it is spoken; False: as the model writes it."""
    numbers: bool = True
    """Numbers as words, in plain text."""

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> "TextForm":
        """The form that ``text`` (plain, written) and ``numbers`` (words, digits) ask for.

        Raises:
            UnsupportedFormat: one of them has another value, or they contradict each other.
        """
        text, numbers = options.get("text", "plain"), options.get("numbers")
        if text not in {"plain", "written"}:
            raise UnsupportedFormat(f"text is {text[:40]!r}, expected plain or written")
        if numbers not in {None, "words", "digits"}:
            raise UnsupportedFormat(f"numbers is {(numbers or '')[:40]!r}, expected words or digits")
        if text == "written" and numbers == "words":
            raise UnsupportedFormat("numbers is words with text=written, expected digits: written text has digits")
        return cls(text == "plain", numbers != "digits")

    def words(self, words: Sequence[Word], language: str | None) -> list[Word]:
        """The words in this form, without spaces. language: see ``spoken``."""
        return spoken(words, language, numbers=self.numbers) if self.plain else whole_words(words)

    def text(self, text: str, language: str | None) -> str:
        """A text in this form."""
        return spoken_text(text, language, numbers=self.numbers) if self.plain else text.strip()


def spoken(words: Sequence[Word], language: str | None, *, numbers: bool = True) -> list[Word]:
    """The words as they are spoken, without spaces. The words of a number share its time by their length.

    language: the code of the words' language; None if it is not known. numbers: False: digits stay.
    """
    return [
        part
        for word in _joined_thousands(whole_words(words))
        for part in _shared(word, _speak(word.text, language, numbers=numbers))
    ]


def spoken_text(text: str, language: str | None, *, numbers: bool = True) -> str:
    """``spoken`` for a text without times."""
    words = [Word(f" {part}", 0, 0, 1.0) for part in text.split()]
    return " ".join(word.text for word in spoken(words, language, numbers=numbers))


def whole_words(words: Sequence[Word]) -> list[Word]:
    """The words as they are written, without spaces: what begins with a mark belongs to the word before it ("-то")."""
    whole: list[Word] = []
    for word in words:
        for number, text in enumerate(word.text.split()):
            attached = whole and number == 0 and not word.text[0].isspace() and not text[0].isalnum()
            found = Word(text, word.start, word.end, word.probability)
            whole.append(merged([whole.pop(), found]) if attached else found)
    return whole


def _joined_thousands(words: Sequence[Word]) -> Iterator[Word]:
    text = " ".join(word.text for word in words)
    rest = iter(words)
    for part in _THOUSANDS.sub(lambda found: found[0].replace(" ", _JOINED), text).split(" ") if words else ():
        yield merged([next(rest) for _ in range(1 + part.count(_JOINED))])


def merged(words: Sequence[Word]) -> Word:
    """One word of several, as sure as the part that is least sure."""
    probability = min(word.probability for word in words)
    return Word("".join(word.text for word in words), words[0].start, words[-1].end, probability)


def _shared(word: Word, texts: Sequence[str]) -> list[Word]:
    """The word's time for several words."""
    letters = sum(map(len, texts))
    edges = [word.start]
    for text in texts:
        edges.append(edges[-1] + (word.end - word.start) * len(text) // letters)
    edges[-1] = word.end
    return [Word(text, start, end, word.probability) for text, (start, end) in zip(texts, pairwise(edges), strict=True)]


def _speak(written: str, language: str | None, *, numbers: bool) -> list[str]:
    text = written.lower()
    if language == "ru":
        text = _NUMBER.sub(lambda found: _speak_number(found, numbers=numbers), text)
    return _without_marks(text).split()


def _speak_number(found: re.Match[str], *, numbers: bool) -> str:
    before, digits, ending, after = found.groups()
    number = f"{digits}-{ending}" if ending else digits
    if numbers:
        number = (_inflected(digits, ending) if ending else None) or f"{_cardinal(digits)} {ending or ''}"
    signs = [_plural(int(digits[-2:]), _SIGNS_AFTER[sign]) for sign in (before, after) if sign in _SIGNS_AFTER]
    # A space only where a word was added: digits that stay keep their marks ("1,5").
    if not (numbers or signs or before):
        return number
    begin = " " if numbers or before else ""
    return begin + " ".join([_SIGNS_BEFORE.get(before, ""), number, *signs]).strip() + " "


def _inflected(digits: str, ending: str) -> str | None:
    """A number whose ending is written: "1-го", "90-е", "5-ти", "3-х". None: the ending is not a number's."""
    number = int(digits)
    if len(digits) > LONGEST_NUMBER or (digits[0] == "0" and number):
        return None
    if ending in {"ти", "и"} or (ending == "х" and number in {2, 3, 4}):
        return _num2words(number, case="g")
    form = _ORDINALS.get(ending, _ORDINALS.get(ending[1:]))
    if form is None:
        return None
    if ending == "е" and number and number % 10 == 0:
        form = {"plural": True}
    return _num2words(number, to="ordinal", **form)


def _cardinal(digits: str) -> str:
    """The number in words; leading zeros, and the digits of a long number, one by one."""
    rest = digits.lstrip("0")
    singles = digits if len(digits) > LONGEST_NUMBER or not rest else digits[: len(digits) - len(rest)]
    parts = [_num2words(int(digit)) for digit in singles]
    if len(singles) < len(digits):
        parts.append(_num2words(int(rest)))
    return " ".join(parts)


def _num2words(number: int, **form: object) -> str:
    said = str(num2words(number, lang="ru", **form))
    # Nobody says the number of a single thousand.
    return said.removeprefix("одна ") if said.startswith("одна тысяча") else said


def _plural(number: int, forms: tuple[str, str, str]) -> str:
    if number % 10 == 1 and number != 11:
        return forms[0]
    return forms[1] if number % 10 in {2, 3, 4} and number not in {12, 13, 14} else forms[2]


def _without_marks(text: str) -> str:
    """The text with spaces for its punctuation and symbols, except where they join letters or digits."""
    around = zip(f" {text}", text, f"{text[1:]} ", strict=False)
    return "".join(char if _stays(before, char, after) else " " for before, char, after in around)


def _stays(before: str, char: str, after: str) -> bool:
    if category(char)[0] not in "PS":
        return True
    if before.isdigit() and after.isdigit():
        return char in _BETWEEN_DIGITS
    return char in _BETWEEN_LETTERS and before.isalnum() and after.isalnum()
