"""Word error rates by group of recordings and for all words together, each with a bootstrap interval.

``benchmarks.engine``, ``benchmarks.live`` and ``benchmarks.offline`` print these rates for the option
``--group NAME=GLOB``, which may be repeated. WER is in errors per reference word, as ``benchmarks.scoring`` counts it.

The errors of a recording are divided among blocks of speech: its clips, or about 20 words where it has none. Errors in
one block have common causes (a voice, a noise, a phrase that went wrong), so blocks are drawn and not words: the
interval runs from the 2.5th to the 97.5th percentile of the WER of as many blocks, drawn with replacement from all
blocks of the group. It says how far the WER would vary with other speech of the same kind. With fewer than about ten
blocks it is too narrow, because so few blocks do not show how much speech varies. It does not say how much two settings
differ on the same recordings.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.scoring import Errors, errors_by_part
from benchmarks.speech import Speech

BLOCK_WORDS = 20
"""Words in a block of a recording without clips: about two phrases."""
ROUNDS = 10_000
"""Draws. Measured on 50 blocks of 20 words: between 40 seeds an end varies by 0.003; with 1000 draws, by 0.009."""
LEVEL = 0.95
ALL = "all"
"""The name of the row of all groups together."""


@dataclass(frozen=True, slots=True)
class GroupRow:
    """The word errors of one group."""

    group: str
    recordings: int
    words: int
    """Reference words, numbers spelt out."""
    wer: float
    low: float
    high: float
    """The ends of the interval."""
    blocks: int
    """How many blocks it was drawn from."""
    substitutions: int
    deletions: int
    insertions: int

    def rounded(self) -> dict[str, str | int | float]:
        """The fields, for JSON."""
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}


def blocks_of(recording: Speech) -> list[int]:
    """For each word of the recording the number of its block, in ascending order.

    A word belongs to the first clip that ends after it, or with it, and words behind the last clip to that.
    """
    if not recording.clips:
        return [place // BLOCK_WORDS for place in range(len(recording.words))]
    ends = [clip.end_s for clip in recording.clips]
    return [min(bisect_left(ends, word.end_s), len(ends) - 1) for word in recording.words]


def errors_of(recording: Speech, text: str) -> list[Errors]:
    """The errors of the recognised text in each block of the recording that has words.

    A recording without words is one block, and all words of the text are insertions.
    """
    blocks = blocks_of(recording)
    numbers = {block: number for number, block in enumerate(sorted(set(blocks)))}
    return errors_by_part([word.text for word in recording.words], [numbers[block] for block in blocks], text)


def bootstrap_interval(blocks: Sequence[Errors], seed: int = 0) -> tuple[float, float]:
    """The interval of the WER; the same for the same seed.

    Raises:
        ValueError: there are no blocks.
    """
    if not blocks:
        raise ValueError("found no blocks, expected at least one")
    wrong = np.array([block.all for block in blocks])
    words = np.array([block.reference_words for block in blocks])
    draws = np.random.default_rng(seed).multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)), size=ROUNDS)
    rates = (draws @ wrong) / np.maximum(1, draws @ words)
    low, high = np.quantile(rates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def group_rows(texts: Iterable[tuple[Speech, str]]) -> list[GroupRow]:
    """A row for each group, in the order in which they first appear, and one for all recordings together.

    ``texts``: recordings with their recognised texts. The last row is left out where there is only one group.
    """
    found: dict[str, list[list[Errors]]] = {}
    for recording, text in texts:
        found.setdefault(recording.group, []).append(errors_of(recording, text))
    rows = [_row(group, recordings) for group, recordings in found.items()]
    if len(found) > 1:
        rows.append(_row(ALL, [errors for recordings in found.values() for errors in recordings]))
    return rows


def _row(group: str, recordings: Sequence[Sequence[Errors]]) -> GroupRow:
    blocks = [block for recording in recordings for block in recording]
    total = sum(blocks, start=Errors(0, 0, 0, 0))
    low, high = bootstrap_interval(blocks)
    return GroupRow(
        group=group,
        recordings=len(recordings),
        words=total.reference_words,
        wer=total.wer,
        low=low,
        high=high,
        blocks=len(blocks),
        substitutions=total.substitutions,
        deletions=total.deletions,
        insertions=total.insertions,
    )


def table(rows: Iterable[GroupRow]) -> str:
    """The rows as Markdown."""
    lines = ["| group | recordings | blocks | words | WER | 95 % interval | sub / del / ins |", "|" + "---|" * 7]
    lines += [
        f"| {row.group} | {row.recordings} | {row.blocks} | {row.words} | {row.wer:.3f} "
        f"| {row.low:.3f} to {row.high:.3f} | {row.substitutions} / {row.deletions} / {row.insertions} |"
        for row in rows
    ]
    return "\n".join(lines)
