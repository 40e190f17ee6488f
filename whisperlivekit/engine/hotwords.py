"""Finds words that may be misheard hotwords: they sound like one, and the decoder was not sure of them. Pure functions.

Whisper base spells a name that it does not know as it hears it: "Сбербанка" may become "сбир банка", and "в Казани"
"вказани". So words are compared by sound. Whether a candidate fits the audio about as well as what was heard, the model
decides (``WhisperModel``).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.core.hypothesis import Word, normalize

MAX_PROBABILITY = 0.9
"""Words of which the decoder is surer than this are not questioned. On the tuning half of the recordings in
benchmarks/results/hotwords.md 0.8, 0.85, 0.9 and 0.97 corrected 68, 68, 71 and 71 names and broke 4, 4, 4 and 6 words.
"""

MAX_DISTANCE = 0.25
"""The largest distance of sounds per letter of the hotword. On the same recordings 0.1, 0.15, 0.2, 0.25 and 0.3
corrected 47, 56, 64, 69 and 71 names. Every candidate costs a pass of the decoder; 0.3 has twice as many as 0.25."""

MARGIN = 12.0
"""By how much a text with a hotword may be less probable, as a natural logarithm: how much more likely a client's
hotword is than the model thinks. On the same recordings, with 0.25 to 0.3 per letter, 8 to 14 differ little."""

MAX_CANDIDATES = 6
"""Candidates of one hypothesis, the best by sound: a bound on the cost."""

FORMS = 2
"""Forms of one hotword that are tried in one place, the best by sound."""

SPAN = 3
"""The most words that one hotword is misheard as: "чей ковского" for "Чайковского" are two."""

SHORTEST = 3
"""Letters of the shortest sound that is compared: shorter ones are everywhere."""

MAX_SPLIT_DISTANCE = 0.15
"""The limit for a hotword at the end of a heard word, after one of ``_BEFORE``, as in "вказани"."""

REST = 4
MAX_REST_DISTANCE = 0.05
"""The limit where something else of at least 4 letters is left of the heard word. Every long word ends like some name,
so the hotword must sound the same."""

_BEFORE = (
    "а", "в", "во", "для", "до", "за", "и", "из", "к", "ко", "на", "не", "но", "о", "об", "от", "по", "под", "с", "со",
    "у",
)  # fmt: skip
"""Words that Russian speech joins to the next one."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A hotword in the place of some words of a hypothesis."""

    first: int
    last: int
    """The words from ``first`` up to ``last``, exclusive, are replaced."""
    text: str
    """As ``Word.text``: with the space and the punctuation that belong to it."""
    distance: float
    """Of the sounds, per letter; 0: they sound alike."""


def find_candidates(hotwords: tuple[str, ...], words: Sequence[Word]) -> list[Candidate]:
    """Up to ``MAX_CANDIDATES`` places where a hotword may have been misheard, the most similar first.

    Words that already are a hotword, in any of its forms, stay as they are.
    """
    if not hotwords or all(word.probability > MAX_PROBABILITY for word in words):
        return []
    index = _index(hotwords)
    right = _already_right(index, words)
    found: dict[tuple[int, int, str], Candidate] = {}
    for last in range(1, len(words) + 1):
        first = _first_of_span(words, right, last)
        span = words[first:last]
        if any(word.probability <= MAX_PROBABILITY for word in span):
            for candidate in _span_candidates(index, span, first):
                if any(word.probability <= MAX_PROBABILITY for word in words[candidate.first : last]):
                    found.setdefault((candidate.first, last, candidate.text), candidate)
    return sorted(found.values(), key=lambda candidate: candidate.distance)[:MAX_CANDIDATES]


def choose(candidates: Sequence[Candidate], gains: Sequence[float]) -> list[Candidate]:
    """The candidates that replace what was heard, from the last one in the text to the first; they do not overlap.

    ``gains``: by how much the log probability of the text changes with each candidate.
    """
    chosen: list[Candidate] = []
    for gain, candidate in sorted(zip(gains, candidates, strict=True), key=lambda pair: -pair[0]):
        if gain >= -MARGIN and all(candidate.last <= other.first or other.last <= candidate.first for other in chosen):
            chosen.append(candidate)
    return sorted(chosen, key=lambda candidate: -candidate.first)


def _first_of_span(words: Sequence[Word], right: Sequence[bool], last: int) -> int:
    """Where the longest span that ends before ``last`` begins: in one sentence, without words that are right."""
    first = last
    while first > max(0, last - SPAN) and not right[first - 1]:
        if first < last and words[first - 1].text.rstrip().endswith((".", "!", "?", "…")):
            break
        first -= 1
    return first


def _already_right(index: "_Index", words: Sequence[Word]) -> list[bool]:
    texts = [normalize(word.text).replace("ё", "е") for word in words]
    right = [False] * len(words)
    for first, length in product(range(len(words)), range(1, SPAN + 1)):
        if "".join(texts[first : first + length]) in index.spellings:
            right[first : first + length] = [True] * len(texts[first : first + length])
    return right


def _span_candidates(index: "_Index", span: Sequence[Word], first: int) -> Iterator[Candidate]:
    """Candidates that end with the last word of the span."""
    sounds: list[tuple[str, int, int]] = []
    """Each letter of the sound, the number of its word and its place in the text of that word."""
    for number, word in enumerate(span):
        sounds += [(letter, number, place) for letter, place in _sound_places(word.text)]
    heard = "".join(letter for letter, _, _ in sounds)
    end = span[-1].text.rstrip()
    punctuation = end[len(re.sub(r"\W+$", "", end)) :]
    tried: dict[tuple[int, int], int] = {}
    for length, form, distance in index.similar(heard):
        _, number, place = sounds[-length]
        text = span[number].text
        before = re.match(r"\W*", text)
        opening = before.group() if before else ""
        rest = text[len(opening) : place]
        if rest and (number + 1 < len(span) or distance > _split_limit(rest)):
            continue
        key = (length, index.phrase_of[form])
        tried[key] = tried.get(key, 0) + 1
        if tried[key] > FORMS:
            continue
        hotword = index.forms[form]
        if not rest and text[len(opening) : len(opening) + 1].isupper():
            hotword = hotword[0].upper() + hotword[1:]
        joined = f"{opening}{rest} {hotword}" if rest else f"{opening}{hotword}"
        yield Candidate(first + number, first + len(span), joined + punctuation, distance)


def _split_limit(rest: str) -> float:
    """The largest distance of a hotword in front of which ``rest`` is left of the heard word; below 0: none."""
    if rest.lower() in _BEFORE:
        return MAX_SPLIT_DISTANCE
    return MAX_REST_DISTANCE if len(rest) >= REST else -1.0


# ---- sounds

_VOWELS = "аеиоуыэюя"
_ALPHABET = _VOWELS + "бвгджзйклмнпрстфхцчшщ0123456789"
_CODES = {letter: code for code, letter in enumerate(_ALPHABET)}
_OTHER = len(_ALPHABET)

_ALIKE = {
    0.2: "бп вф гк дт жш зс ао еи еэ иы иэ юу еы яе яи яа ыэ йи йе",
    0.35: "щш сц чщ тч дч шч хк хг цч тц жщ гх",
    0.5: "ое оу мн лр лв ву сш зж ае аи аэ фх пх бв бф тк пк оы аы",
}
"""Pairs of letters that Whisper confuses, by the cost of taking one for the other: unstressed vowels, voiced and
unvoiced consonants, then rarer ones."""

_GROUPS = (
    ("сч", "щ"), ("тс", "ц"), ("дс", "ц"),
    ("shch", "щ"), ("sch", "ш"), ("tch", "ч"), ("igh", "ай"), ("you", "ю"), ("sh", "ш"), ("ch", "ч"), ("zh", "ж"),
    ("kh", "х"), ("ph", "ф"), ("th", "т"), ("wh", "в"), ("ck", "к"), ("qu", "кв"), ("oo", "у"), ("ou", "у"),
    ("ee", "и"), ("ea", "и"), ("ay", "эй"), ("ai", "эй"), ("ya", "я"), ("yu", "ю"), ("yo", "е"),
    ("x", "кс"), ("j", "дж"),
)  # fmt: skip
"""How groups of letters sound in Russian; longer ones first. Single Latin letters follow."""
_LATIN_LETTERS = dict(zip("abcdefghiklmnopqrstuvwyz", "абкдефгхиклмнопкрстуввиз", strict=True))


def sound_of(text: str) -> str:
    """The letters by which texts are compared: lower case, Cyrillic, without signs, spaces and doubled letters."""
    return "".join(letter for letter, _ in _sound_places(text))


def _sound_places(text: str) -> list[tuple[str, int]]:
    """Each letter of the sound, and the place in the text where it comes from."""
    places: list[tuple[str, int]] = []
    lowered = text.lower()
    place = 0
    while place < len(lowered) and len(lowered) == len(text):
        letters, length = _next_sound(lowered, place)
        places += [(letter, place) for letter in letters if letter.isdigit() or not places or letter != places[-1][0]]
        place += length
    return places


def _next_sound(text: str, place: int) -> tuple[str, int]:
    """The sound that begins at this place, and how many letters of the text it has."""
    for group, sound in _GROUPS:
        if text.startswith(group, place):
            return sound, len(group)
    letter = text[place]
    if not ("a" <= letter <= "z"):
        return letter.replace("ё", "е") if letter.isalnum() and letter not in "ъь" else "", 1
    if letter == "e" and place and text[place - 1] not in "aeiou" and not text[place + 1 : place + 2].isalpha():
        return "", 1
    if letter == "c" and text[place + 1 : place + 2] in tuple("eiy"):
        return "с", 1
    return _LATIN_LETTERS[letter], 1


def _codes(sound: str) -> list[int]:
    return [_CODES.get(letter, _OTHER) for letter in sound]


def _costs() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The cost of taking a letter for another, float32[n, n], and of a letter too many or too few, float32[n]."""
    vowel = np.array([code < len(_VOWELS) for code in range(_OTHER + 1)])
    change = np.where(vowel[:, None] & vowel, 0.6, np.where(vowel[:, None] | vowel, 1.1, 0.9)).astype(np.float32)
    for cost, pairs in _ALIKE.items():
        for one, other in map(_codes, pairs.split()):
            change[one, other] = change[other, one] = cost
    np.fill_diagonal(change, 0.0)
    gap = np.where(vowel, 0.6, 0.9).astype(np.float32)
    gap[_CODES["й"]] = 0.4
    return change, gap


_CHANGE, _GAP = _costs()


class _Index:
    """All forms of a list of hotwords, ready to be compared with what was heard. Immutable."""

    def __init__(self, hotwords: tuple[str, ...]) -> None:
        forms = [(form, number) for number, hotword in enumerate(hotwords) for form in forms_of(hotword)]
        # Backwards: hotwords are compared with the ends of what was heard.
        sounds = [(_codes(sound_of(form)[::-1]), form, number) for form, number in forms]
        sounds = sorted((entry for entry in sounds if len(entry[0]) >= SHORTEST), key=lambda entry: len(entry[0]))
        self.forms = [form for _, form, _ in sounds]
        """By the length of their sounds."""
        self.phrase_of = [number for _, _, number in sounds]
        self.spellings = frozenset(
            normalize(form).replace("ё", "е") for hotword in hotwords for form in forms_of(hotword)
        ) - {""}
        self._lengths = np.array([len(sound) for sound, _, _ in sounds], np.int64)
        self._letters = np.full((len(sounds), self._lengths.max(initial=0)), _OTHER, np.int64)
        for row, (sound, _, _) in zip(self._letters, sounds, strict=True):
            row[: len(sound)] = sound
        self._begun = np.pad(np.cumsum(_GAP[self._letters], axis=1), ((0, 0), (1, 0)))
        """What it costs to leave out the first letters of each form, float32[forms, letters + 1]."""
        self.similar = lru_cache(maxsize=2_000)(self._similar)
        """``_similar``; while somebody speaks, the same words are heard in every decode."""

    def _similar(self, heard: str) -> list[tuple[int, int, float]]:
        """Number of letters at the end of ``heard``, form and distance per letter, the most similar first."""
        found: list[tuple[int, int, float]] = []
        # Nothing resembles a sound that is twice as long.
        longest = 2 * len(heard)
        count = int(np.searchsorted(self._lengths, longest, side="right"))
        lengths, letters = self._lengths[:count], self._letters[:count, :longest]
        begun = previous = self._begun[:count, : longest + 1]
        every = np.arange(count)
        for length, code in enumerate(_codes(heard[::-1])[: 2 * int(lengths.max(initial=0))], start=1):
            # Edit distance, for all forms at once: a letter taken for another, one too many, one too few.
            row = np.empty_like(previous)
            row[:, 0] = previous[:, 0] + _GAP[code]
            row[:, 1:] = np.minimum(previous[:, :-1] + _CHANGE[code][letters], previous[:, 1:] + _GAP[code])
            previous = np.minimum.accumulate(row - begun, axis=1) + begun
            if length >= SHORTEST - 1:
                distances = previous[every, lengths] / lengths
                near = np.flatnonzero(distances <= MAX_DISTANCE)
                found += [(length, int(form), float(distances[form])) for form in near]
        return sorted(found, key=lambda entry: entry[2])


@lru_cache(maxsize=256)
def _index(hotwords: tuple[str, ...]) -> _Index:
    """Kept for the streams that are open: every decode of a stream has the same list."""
    return _Index(hotwords)


# ---- Russian declension

_CONSONANTS = "бвгджзклмнпрстфхцчшщ"
_DECLENSIONS: tuple[tuple[str, str, str], ...] = (
    # ending of the word, what of it is cut off, what follows in the other cases: genitive, dative, accusative,
    # instrumental, prepositional, then plural forms
    ("ский", "ий", "ого ому ого им ом ие их им ими"),
    ("цкий", "ий", "ого ому ого им ом ие их им ими"),
    ("ий", "ий", "ия ию ия ием ии"),
    ("ый", "ый", "ого ому ого ым ом ые ых ым ыми"),
    ("ой", "ой", "ого ому ого ым ом"),
    ("ая", "ая", "ой ой ую ой ой ые ых ым ыми"),
    ("ия", "ия", "ии ии ию ией ии"),
    ("ое", "ое", "ого ому ое ым ом"),
    ("ова", "а", "ой ой у ой ой ы ых"),
    ("ева", "а", "ой ой у ой ой ы ых"),
    ("ина", "а", "ой ой у ой ой"),
    ("а", "а", "ы е у ой е"),
    ("я", "я", "и е ю ей е"),
    ("о", "о", "а у о ом е"),
    ("е", "е", "я ю е ем е"),
    ("ов", "", "а у а ым е ы ых ым ыми"),
    ("ев", "", "а у а ым е ы ых ым ыми"),
    ("ин", "", "а у а ым е ы ых ым ыми"),
    ("й", "й", "я ю я ем е и ев"),
    ("ь", "ь", "я ю я ем е и ей"),
    ("ь", "ь", "и и ь ью и"),
    ("ец", "ец", "ца цу ца цем це цы цев"),
    ("ок", "ок", "ка ку ка ком ке ки ков"),
    *((letter, "", "а у а ом е ы ов ам ами ах") for letter in _CONSONANTS),
    *((letter, "", "а у а ем е и ей") for letter in "жчшщц"),
)
"""Rules of declension. A word takes the forms of every rule that fits its ending: a form that does not exist is never
said, so it does not matter."""


@lru_cache(maxsize=2_000)
def forms_of(hotword: str) -> tuple[str, ...]:
    """The hotword, then its forms in other cases; Latin words have none.

    In a phrase either the last word is declined, or all words that can be.
    """
    *others, last = hotword.split() or [""]
    forms = [" ".join([*others, last])]
    for declined in _declined(last):
        forms += [" ".join([*others, form]) for form in declined]
        if others:
            # Only the first rule of each of the other words: almost always the right one.
            by_word = [next(iter(_declined(word)), [word] * len(declined)) for word in others]
            forms += [" ".join(case) for case in zip(*by_word, declined, strict=False)]
    return tuple(dict.fromkeys(forms))


def _declined(word: str) -> list[list[str]]:
    """The forms of a word, genitive first, by every rule that fits."""
    lower = word.lower()
    return [
        [re.sub("(?<=[гкхжчшщ])ы$", "и", word[: len(word) - len(cut)] + ending) for ending in endings.split()]
        for suffix, cut, endings in _DECLENSIONS
        if lower.endswith(suffix) and len(word) > len(suffix)
    ]
