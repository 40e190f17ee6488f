"""How a live transcript is scored against words with known ends: errors, latency, and whether committed text held.

A transcript in time is a list of snapshots. Texts are compared lower-case, with ``ё`` as ``е`` and without punctuation;
unless said otherwise numbers are spelt out on both sides, so that "1" and "один" are the same word.
"""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import jiwer
from num2words import num2words

_NOT_WORD = re.compile(r"[\W_]+")
_LONGEST_NUMBER = 12
"""Digits; a longer run is an identifier, read digit by digit."""


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A normalised word of the reference."""

    text: str
    end_s: float
    """When it ends in the stream."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a client could show at one moment."""

    t: float
    """Seconds since the first audio byte was sent."""
    committed: str
    partial: str


@dataclass(frozen=True, slots=True)
class Errors:
    """Word errors of one text against its reference."""

    reference_words: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def wer(self) -> float:
        """Word error rate. An empty reference counts as one word, so that invented text is not free."""
        return (self.substitutions + self.deletions + self.insertions) / max(1, self.reference_words)


@dataclass(frozen=True, slots=True)
class Score:
    """One session's figures; times in seconds, None where no word was right."""

    wer: float
    wer_raw: float
    """With digits as they stand."""
    substitutions: int
    deletions: int
    insertions: int
    commit_p50_s: float | None
    commit_p95_s: float | None
    partial_p50_s: float | None
    partial_p95_s: float | None
    retracted: int
    """Committed words that later changed or vanished."""


def normalise(text: str) -> list[str]:
    """The words of a text: lower case, ``ё`` as ``е``, punctuation as spaces."""
    return _NOT_WORD.sub(" ", text.lower().replace("ё", "е")).split()


@lru_cache(maxsize=4096)
def _spell(digits: str) -> tuple[str, ...]:
    zeros = len(digits) - len(digits.lstrip("0")) if digits.strip("0") else len(digits) - 1
    rest = digits[zeros:]
    spoken = ["ноль"] * zeros
    for number in [rest] if len(rest) <= _LONGEST_NUMBER else list(rest):
        spoken += normalise(num2words(int(number), lang="ru"))
    return tuple(spoken)


def spell_numbers(words: Sequence[str]) -> list[str]:
    """The same words with each run of digits as Russian cardinal words."""
    spelt: list[str] = []
    for word in words:
        spelt += _spell(word) if word.isascii() and word.isdigit() else (word,)
    return spelt


def _spoken(text: str) -> list[str]:
    return spell_numbers(normalise(text))


def _aligned(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[Errors, list[tuple[int, int]]]:
    """Errors of the best alignment, and which reference word is which hypothesis word where they are equal."""
    if not reference or not hypothesis:
        return Errors(len(reference), 0, len(reference), len(hypothesis)), []
    output = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    hits = [
        (chunk.ref_start_idx + offset, chunk.hyp_start_idx + offset)
        for chunk in output.alignments[0]
        if chunk.type == "equal"
        for offset in range(chunk.ref_end_idx - chunk.ref_start_idx)
    ]
    return Errors(len(reference), output.substitutions, output.deletions, output.insertions), hits


def count_errors(reference: Sequence[str], text: str, *, spell: bool = True) -> Errors:
    """The word errors of ``text`` against normalised reference words."""
    if spell:
        return _aligned(spell_numbers(reference), _spoken(text))[0]
    return _aligned(list(reference), normalise(text))[0]


def count_retracted(snapshots: Sequence[Snapshot]) -> int:
    """Committed words that are not in the next committed text at their place in the order of words."""
    retracted = 0
    before: list[str] = []
    for snapshot in snapshots:
        now = normalise(snapshot.committed)
        if now[: len(before)] != before:
            retracted += len(before) - len(_aligned(before, now)[1])
        before = now
    return retracted


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value that ``share`` of all values do not exceed, linear between neighbours; None for no values."""
    if not values:
        return None
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _latencies(
    hits: Sequence[tuple[int, int]], ends: Sequence[float], final: Sequence[str], snapshots: Sequence[Snapshot]
) -> tuple[list[float], list[float]]:
    """Commit and partial latency of each right word. Its place is its index among all words of the text."""
    settled: list[float | None] = [None] * len(final)
    shown: list[float | None] = [None] * len(final)
    for snapshot in snapshots:
        committed = _spoken(snapshot.committed)
        whole = _spoken(snapshot.committed + snapshot.partial)
        for place, word in enumerate(final):
            if place >= len(committed) or committed[place] != word:
                settled[place] = None
            elif settled[place] is None:
                settled[place] = snapshot.t
            if shown[place] is None and place < len(whole) and whole[place] == word:
                shown[place] = snapshot.t
    commit: list[float] = []
    partial: list[float] = []
    for reference_place, place in hits:
        settled_at, shown_at = settled[place], shown[place]
        if settled_at is not None and shown_at is not None:
            commit.append(settled_at - ends[reference_place])
            partial.append(shown_at - ends[reference_place])
    return commit, partial


def score(snapshots: Sequence[Snapshot], reference: Sequence[TimedWord]) -> Score:
    """The figures of one session.

    The last committed text is compared with the reference. A word's commit latency is the first time from which it
    stands at its place in every later committed text, minus its end; its partial latency is the first time it is shown
    at its place at all. Only words that are right in the end have a latency.
    """
    words: list[str] = []
    ends: list[float] = []
    for word in reference:
        for part in spell_numbers([word.text]):
            words.append(part)
            ends.append(word.end_s)
    text = snapshots[-1].committed if snapshots else ""
    final = _spoken(text)
    errors, hits = _aligned(words, final)
    commit, partial = _latencies(hits, ends, final, snapshots)
    return Score(
        wer=errors.wer,
        wer_raw=count_errors([word.text for word in reference], text, spell=False).wer,
        substitutions=errors.substitutions,
        deletions=errors.deletions,
        insertions=errors.insertions,
        commit_p50_s=percentile(commit, 0.5),
        commit_p95_s=percentile(commit, 0.95),
        partial_p50_s=percentile(partial, 0.5),
        partial_p95_s=percentile(partial, 0.95),
        retracted=count_retracted(snapshots),
    )


def summarise(sessions: Sequence[dict[str, float | None]]) -> dict[str, dict[str, float | None]]:
    """The worst (largest) and the median of each figure over the sessions; all figures are the better the smaller.

    A session without a figure (no word was right) makes the worst None: there is nothing to be proud of.
    """
    worst: dict[str, float | None] = {}
    median: dict[str, float | None] = {}
    for name in sessions[0]:
        values = [session[name] for session in sessions]
        known = [value for value in values if value is not None]
        worst[name] = max(known) if len(known) == len(values) else None
        median[name] = statistics.median(known) if known else None
    return {"worst": worst, "median": median}
