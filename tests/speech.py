"""Promises about a model's text and word times that hold on every processor, and the clips they are checked with.

CTranslate2 multiplies matrices with MKL on Intel and with oneDNN elsewhere, each with several instruction sets. The
same model then writes some words with another letter or without a full stop. No test may compare a model's text letter
by letter; every test compares it with the functions below, so that there is one tolerance.

The base model was tried under MKL and under oneDNN with the instruction sets GENERIC, AVX, AVX2 and AVX512: live, with
its default beams, at most one word in six and 3 % of the letters were wrong.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import pairwise

import jiwer
import numpy as np
from numpy.typing import NDArray

from benchmarks.scoring import TimedWord, count_errors, normalise, spell_numbers
from benchmarks.speech import read_reference, read_samples
from tests.conftest import ROOT
from whisperlivekit.core.hypothesis import Hypothesis, Word
from whisperlivekit.core.units import SAMPLE_RATE

DATA = ROOT / "tests" / "data"

WORD_ERRORS = 0.25
"""Share of wrong words that is allowed, rounded up to whole words."""

LETTER_ERRORS = 0.15
"""Share of wrong letters that is allowed. It finds a lost or repeated word in a text of a few words, where
``WORD_ERRORS`` allows one."""

TIME_S = 0.4
"""How far a word's measured end may be from the transcript's, which is itself good to about 0.1 s."""

PAUSE_S = 0.6
"""Time between the ends of two words from which there may be a pause between them. The decoder places the end of a word
before a pause anywhere inside the pause."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Speech with its known transcript."""

    samples: NDArray[np.float32]
    """float32[n], mono 16 kHz, in [-1, 1]."""
    words: tuple[TimedWord, ...]
    """Normalised."""

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


@lru_cache
def clip(name: str) -> Clip:
    """A file of ``tests/data`` with its transcript: ``phrase_3s``, ``prompts_24s`` or ``telephone_8k``."""
    [audio] = [path for path in DATA.glob(f"{name}.*") if path.suffix != ".json"]
    samples = read_samples(audio)
    samples.flags.writeable = False
    return Clip(samples, tuple(read_reference(DATA / f"{name}.json")))


@lru_cache
def sentences() -> tuple[Clip, ...]:
    """Seven sentences of 2 to 10 s that say different things: the files of ``tests/data`` cut in their pauses."""
    return tuple(part for name in ("prompts_24s", "phrase_3s", "telephone_8k") for part in _cut_in_pauses(clip(name)))


def _cut_in_pauses(whole: Clip) -> list[Clip]:
    """Cut 0.35 s after a word whose next one ends more than 1.2 s later."""
    parts = []
    first, begin = 0, 0
    for place, (before, word) in enumerate(pairwise(whole.words), start=1):
        if word.end_s - before.end_s > 1.2:
            cut = round((before.end_s + 0.35) * SAMPLE_RATE)
            parts.append(_part(whole, first, place, begin, cut))
            first, begin = place, cut
    return [*parts, _part(whole, first, len(whole.words), begin, len(whole.samples))]


def _part(whole: Clip, first: int, last: int, begin: int, end: int) -> Clip:
    words = tuple(TimedWord(word.text, word.end_s - begin / SAMPLE_RATE) for word in whole.words[first:last])
    return Clip(whole.samples[begin:end], words)


# ---- texts


def text_of(words: Hypothesis | Sequence[Word]) -> str:
    """The words joined as a transcript shows them."""
    return "".join(word.text for word in (words.words if isinstance(words, Hypothesis) else words))


def says(text: str, expected: str) -> bool:
    """Whether the text is what was expected, except for a few words and letters.

    Case, punctuation and ``ё`` do not matter, and numbers may be digits or words. Nothing expected means no word.
    """
    reference = normalise(expected)
    found = count_errors(reference, text)
    wrong = found.substitutions + found.deletions + found.insertions
    if wrong > math.ceil(WORD_ERRORS * found.reference_words):
        return False
    # jiwer has no error rate for an empty reference, and there nothing is wrong here.
    return wrong == 0 or jiwer.cer(_spoken(expected), _spoken(text)) <= LETTER_ERRORS


def assert_says(text: str, expected: str) -> None:
    """See ``says``. No special token of the model may be in the text."""
    assert "<|" not in text, f"a special token in {text!r}"
    assert says(text, expected), f"found {text!r}, expected about {expected!r}"


def assert_continues(text: str, expected: str) -> None:
    """``assert_says`` for the text after a prefix: its first two words must be right too.

    In a text of many words a word that was lost or repeated at the prefix's end is otherwise within the tolerance.
    """
    assert_says(text, expected)
    assert_says(*(" ".join(normalise(both)[:2]) for both in (text, expected)))


def _spoken(text: str) -> str:
    return " ".join(spell_numbers(normalise(text)))


# ---- times


@dataclass(frozen=True, slots=True)
class Span:
    """A recognised word in seconds of the stream."""

    text: str
    start_s: float
    end_s: float


def spans(words: Sequence[Word]) -> list[Span]:
    return [Span(word.text, word.start / SAMPLE_RATE, word.end / SAMPLE_RATE) for word in words]


def assert_times(
    found: Sequence[Span], expected: Sequence[TimedWord], *, audio_s: tuple[float, float], shift_s: float = 0.0
) -> None:
    """Words lie in order inside ``audio_s``, and end where the transcript says.

    Words that the transcript has otherwise are not compared, nor are those before a pause, see ``PAUSE_S``.
    ``shift_s``: where the transcript's zero lies in the stream.
    """
    edges = [time for word in found for time in (word.start_s, word.end_s)]
    assert all(begin_s <= after_s for begin_s, after_s in pairwise(edges)), f"words overlap: {found}"
    assert not edges or (audio_s[0] <= edges[0] and edges[-1] <= audio_s[1]), f"outside of {audio_s}: {found}"
    pauses = [after.end_s - word.end_s >= PAUSE_S for word, after in pairwise(expected)] + [True]
    heard = [" ".join(normalise(word.text)) for word in found]
    blocks = SequenceMatcher(None, [word.text for word in expected], heard, autojunk=False).get_matching_blocks()
    compared = 0
    for block in blocks:
        for step in range(block.size):
            if not pauses[block.a + step]:
                off_s = found[block.b + step].end_s - shift_s - expected[block.a + step].end_s
                assert abs(off_s) < TIME_S, f"{found[block.b + step]} ends {off_s:+.2f} s from the transcript's word"
                compared += 1
    assert compared >= (len(expected) - sum(pauses)) / 2, f"too few words of the transcript in {heard}"
