"""Scores a live transcript against words with known end times: word errors, latency, retracted words.

A live transcript is a list of snapshots. Before texts are compared they are converted to lower case, ``ё`` to ``е`` and
punctuation to spaces. Unless ``spell`` is false, numbers are spelt out on both sides, so "1" and "один" are equal.
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
"""In digits. A longer run of digits is taken for an identifier and read digit by digit."""


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A normalised word of the reference."""

    text: str
    end_s: float
    """When it ends, in seconds from the beginning of the stream."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The text that a client could show at one moment."""

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
    def all(self) -> int:
        """The number of errors of any kind."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def wer(self) -> float:
        """Word error rate. An empty reference counts as one word, so that text without speech is not free of errors."""
        return self.all / max(1, self.reference_words)

    def __add__(self, other: "Errors") -> "Errors":
        """The errors of two texts together."""
        return Errors(
            self.reference_words + other.reference_words,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


@dataclass(frozen=True, slots=True)
class Score:
    """The figures of one session. Times are in seconds, and None where no word is correct."""

    wer: float
    wer_raw: float
    """WER with digits as they are."""
    substitutions: int
    deletions: int
    insertions: int
    commit_p50_s: float | None
    commit_p95_s: float | None
    partial_p50_s: float | None
    partial_p95_s: float | None
    retracted: int
    """Committed words that later changed or disappeared."""


def normalise(text: str) -> list[str]:
    """The words of a text in lower case, with ``ё`` as ``е`` and without punctuation."""
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
    """The words, with each run of digits replaced by Russian cardinal numbers; leading zeros are read one by one."""
    spelt: list[str] = []
    for word in words:
        spelt += _spell(word) if word.isascii() and word.isdigit() else (word,)
    return spelt


def _spoken(text: str) -> list[str]:
    return spell_numbers(normalise(text))


def _alignment(reference: Sequence[str], hypothesis: Sequence[str]) -> list[jiwer.AlignmentChunk]:
    """The alignment with the fewest errors, from left to right; both sides must have words."""
    return list(jiwer.process_words(" ".join(reference), " ".join(hypothesis)).alignments[0])


def _aligned(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[Errors, list[tuple[int, int]]]:
    """The errors, and the indices (reference, hypothesis) of the words that are equal."""
    if not reference or not hypothesis:
        return Errors(len(reference), 0, len(reference), len(hypothesis)), []
    errors = Errors(len(reference), 0, 0, 0)
    hits: list[tuple[int, int]] = []
    for chunk in _alignment(reference, hypothesis):
        errors += _chunk_errors(chunk)
        if chunk.type == "equal":
            length = chunk.ref_end_idx - chunk.ref_start_idx
            hits += [(chunk.ref_start_idx + offset, chunk.hyp_start_idx + offset) for offset in range(length)]
    return errors, hits


def _chunk_errors(chunk: jiwer.AlignmentChunk) -> Errors:
    """The errors of one part of an alignment, without its reference words."""
    match chunk.type:
        case "substitute":
            return Errors(0, chunk.ref_end_idx - chunk.ref_start_idx, 0, 0)
        case "delete":
            return Errors(0, 0, chunk.ref_end_idx - chunk.ref_start_idx, 0)
        case "insert":
            return Errors(0, 0, 0, chunk.hyp_end_idx - chunk.hyp_start_idx)
        case _:
            return Errors(0, 0, 0, 0)


def count_errors(reference: Sequence[str], text: str, *, spell: bool = True) -> Errors:
    """The word errors of ``text`` against normalised reference words."""
    if spell:
        return _aligned(spell_numbers(reference), _spoken(text))[0]
    return _aligned(list(reference), normalise(text))[0]


def errors_by_part(reference: Sequence[str], parts: Sequence[int], text: str) -> list[Errors]:
    """The word errors of ``text``, divided among parts of the reference.

    ``parts``: for each reference word the number of its part, from 0 without gaps and in ascending order. An inserted
    word counts in the part of the reference word before it. Without reference words everything is in one part. The sum
    of the parts is ``count_errors(reference, text)``.
    """
    words: list[str] = []
    part_of: list[int] = []
    for word, part in zip(reference, parts, strict=True):
        spoken = spell_numbers([word])
        words += spoken
        part_of += [part] * len(spoken)
    heard = _spoken(text)
    if not words:
        return [Errors(0, 0, 0, len(heard))]
    found = [Errors(part_of.count(part), 0, 0, 0) for part in range(part_of[-1] + 1)]
    if not heard:
        return [Errors(part.reference_words, 0, part.reference_words, 0) for part in found]
    for chunk in _alignment(words, heard):
        if chunk.type == "insert":
            found[part_of[max(0, chunk.ref_start_idx - 1)]] += _chunk_errors(chunk)
        elif chunk.type != "equal":
            for part in part_of[chunk.ref_start_idx : chunk.ref_end_idx]:
                found[part] += Errors(0, 1, 0, 0) if chunk.type == "substitute" else Errors(0, 0, 1, 0)
    return found


def count_retracted(snapshots: Sequence[Snapshot]) -> int:
    """The number of committed words that are missing or different in the next committed text."""
    retracted = 0
    before: list[str] = []
    for snapshot in snapshots:
        now = normalise(snapshot.committed)
        if now[: len(before)] != before:
            retracted += len(before) - len(_aligned(before, now)[1])
        before = now
    return retracted


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value that a ``share`` of all values do not exceed, interpolated linearly; None where there are no values."""
    if not values:
        return None
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


@dataclass(frozen=True, slots=True)
class Latencies:
    """When the words of one session appeared, in seconds after each word's end.

    A word's commit latency is the first time from which it is at its place in every later committed text, minus the
    time at which it ends. Its partial latency is the first time at which it is shown at its place at all, minus the
    time at which it ends. Only words that are correct in the last committed text have latencies.
    """

    commit: list[float]
    partial: list[float]


def _spoken_reference(reference: Sequence[TimedWord]) -> tuple[list[str], list[float]]:
    """The words of the reference with numbers spelt out, and when each ends."""
    pairs = [(part, word.end_s) for word in reference for part in spell_numbers([word.text])]
    return [part for part, _ in pairs], [end_s for _, end_s in pairs]


def _times(final: Sequence[str], snapshots: Sequence[Snapshot]) -> tuple[list[float | None], list[float | None]]:
    """When each word of the final text was committed for good, and when it was first shown at its place."""
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
    return settled, shown


def measure_latencies(snapshots: Sequence[Snapshot], reference: Sequence[TimedWord]) -> Latencies:
    """The latencies of one session. A word's place is its index in the text."""
    words, ends = _spoken_reference(reference)
    final = _spoken(snapshots[-1].committed) if snapshots else []
    settled, shown = _times(final, snapshots)
    found = Latencies([], [])
    for reference_place, place in _aligned(words, final)[1]:
        settled_at, shown_at = settled[place], shown[place]
        if settled_at is not None and shown_at is not None:
            found.commit.append(settled_at - ends[reference_place])
            found.partial.append(shown_at - ends[reference_place])
    return found


def score(snapshots: Sequence[Snapshot], reference: Sequence[TimedWord]) -> Score:
    """The figures of one session. The last committed text is compared with the reference."""
    text = snapshots[-1].committed if snapshots else ""
    errors = _aligned(_spoken_reference(reference)[0], _spoken(text))[0]
    latencies = measure_latencies(snapshots, reference)
    return Score(
        wer=errors.wer,
        wer_raw=count_errors([word.text for word in reference], text, spell=False).wer,
        substitutions=errors.substitutions,
        deletions=errors.deletions,
        insertions=errors.insertions,
        commit_p50_s=percentile(latencies.commit, 0.5),
        commit_p95_s=percentile(latencies.commit, 0.95),
        partial_p50_s=percentile(latencies.partial, 0.5),
        partial_p95_s=percentile(latencies.partial, 0.95),
        retracted=count_retracted(snapshots),
    )


def last_word_latencies(snapshots: Sequence[Snapshot], reference: Sequence[TimedWord]) -> list[float]:
    """For each time at which text was committed whose last word is correct: the seconds since that word ended.

    Where text is committed by utterance, this is the time from the last word to the final text.
    """
    words, ends = _spoken_reference(reference)
    final = _spoken(snapshots[-1].committed if snapshots else "")
    settled, _ = _times(final, snapshots)
    last = {at: place for place, at in enumerate(settled) if at is not None}
    correct = {place: ends[reference_place] for reference_place, place in _aligned(words, final)[1]}
    return [at - correct[place] for at, place in last.items() if place in correct]


def summarise(sessions: Sequence[dict[str, float | None]]) -> dict[str, dict[str, float | None]]:
    """The worst and the median of each figure over the sessions. The worst is the largest: smaller is better for all.

    Where a session lacks a figure, because no word is correct, the worst is None and the median is that of the others.
    """
    worst: dict[str, float | None] = {}
    median: dict[str, float | None] = {}
    for name in sessions[0]:
        values = [session[name] for session in sessions]
        known = [value for value in values if value is not None]
        worst[name] = max(known) if len(known) == len(values) else None
        median[name] = statistics.median(known) if known else None
    return {"worst": worst, "median": median}
