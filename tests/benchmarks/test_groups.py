"""Word error rates by group with their intervals: the counting by hand, the interval by its properties."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.groups import BLOCK_WORDS, blocks_of, bootstrap_interval, errors_of, group_rows, table
from benchmarks.scoring import Errors, TimedWord, count_errors
from benchmarks.speech import Clip, Speech

COUNTS = st.integers(0, 30)
ERRORS = st.builds(
    lambda words, wrong, more: Errors(words, min(words, wrong), 0, more), st.integers(1, 40), COUNTS, COUNTS
)


def recording(text: str, group: str = "g", clips: tuple[Clip, ...] = ()) -> Speech:
    """A word a second."""
    words = tuple(TimedWord(word, float(second)) for second, word in enumerate(text.split(), start=1))
    return Speech(Path(f"{group}.flac"), words, clips, group)


def test_words_belong_to_the_clip_that_they_end_in() -> None:
    """Also a word that ends a little before its clip begins or after the last one."""
    clips = (Clip(0.5, 2.0, ""), Clip(3.2, 4.5, ""))
    assert blocks_of(recording("а б в г д", clips=clips)) == [0, 0, 1, 1, 1]


def test_without_clips_a_block_has_so_many_words() -> None:
    """The last block has the rest."""
    blocks = blocks_of(recording("а " * (2 * BLOCK_WORDS + 3)))
    assert [blocks.count(block) for block in range(3)] == [BLOCK_WORDS, BLOCK_WORDS, 3]


def test_errors_are_counted_in_the_block_that_they_are_in() -> None:
    """A wrong word in the first clip, a missing one in the second, an additional one in the last. A clip without words
    makes no block.
    """
    clips = (Clip(0, 2, ""), Clip(2, 4, ""), Clip(4, 4.4, ""), Clip(4.5, 6, ""))
    found = errors_of(recording("раз два три четыре пять шесть", clips=clips), "раз лва четыре пять ой шесть")
    assert found == [Errors(2, 1, 0, 0), Errors(2, 0, 1, 0), Errors(2, 0, 0, 1)]


@pytest.mark.parametrize(
    ("reference", "text", "expected"),
    [("", "а б", [Errors(0, 0, 0, 2)]), ("а б", "", [Errors(2, 0, 2, 0)]), ("", "", [Errors(0, 0, 0, 0)])],
)
def test_without_words_on_one_side(reference: str, text: str, expected: list[Errors]) -> None:
    """Text where nobody spoke is inserted, and speech without text is deleted."""
    assert errors_of(recording(reference), text) == expected


@given(
    st.lists(st.sampled_from(["раз", "два", "21", "пять"]), max_size=50),
    st.lists(st.sampled_from(["раз", "два", "двадцать", "один", "ой"]), max_size=50),
)
def test_the_blocks_add_up_to_the_whole(reference: list[str], heard: list[str]) -> None:
    """The division among blocks neither loses nor doubles an error."""
    blocks = errors_of(recording(" ".join(reference)), " ".join(heard))
    assert sum(blocks, start=Errors(0, 0, 0, 0)) == count_errors(reference, " ".join(heard))


@given(st.lists(ERRORS, min_size=1, max_size=60), st.integers(0, 100))
def test_the_interval_contains_the_estimate(blocks: list[Errors], seed: int) -> None:
    """Whatever the blocks are: all right, all wrong, one much longer than the others."""
    low, high = bootstrap_interval(blocks, seed)
    estimate = sum(blocks, start=Errors(0, 0, 0, 0)).wer
    assert low - 1e-9 <= estimate <= high + 1e-9


def test_the_interval_is_the_same_for_a_seed() -> None:
    """Two runs of a benchmark can be compared; another seed draws other blocks."""
    blocks = [Errors(17 + wrong % 5, wrong % 7, 0, 0) for wrong in range(30)]
    assert bootstrap_interval(blocks, 1) == bootstrap_interval(blocks, 1) != bootstrap_interval(blocks, 2)


def test_the_interval_is_as_wide_as_theory_says() -> None:
    """For many equal blocks with or without an error the mean is normal: 1.96 standard errors to both sides."""
    blocks = [Errors(10, 10 * (place % 2), 0, 0) for place in range(400)]
    low, high = bootstrap_interval(blocks)
    assert low == pytest.approx(0.5 - 1.96 * 0.5 / 20, abs=0.004)
    assert high == pytest.approx(0.5 + 1.96 * 0.5 / 20, abs=0.004)


def test_more_speech_of_the_same_kind_makes_it_narrower() -> None:
    """Four times the blocks, half the width."""
    some = [Errors(20, wrong % 5, 0, 0) for wrong in range(40)]
    few, many = bootstrap_interval(some), bootstrap_interval(some * 4)
    assert (many[1] - many[0]) / (few[1] - few[0]) == pytest.approx(0.5, abs=0.05)


def test_no_blocks_have_no_interval() -> None:
    """An error and not an interval of zero width."""
    with pytest.raises(ValueError, match="found no blocks"):
        bootstrap_interval([])


def test_all_words_count_alike_in_the_last_row() -> None:
    """The rate of all words together is not the mean of the groups' rates."""
    rows = group_rows(
        [
            (recording("раз два три четыре пять шесть семь восемь", "long"), "раз два три четыре пять шесть семь"),
            (recording("раз два", "short"), "раз"),
            (recording("раз два три четыре пять шесть семь восемь девять десять", "long"), ""),
        ]
    )
    assert [(row.group, row.recordings, row.words) for row in rows] == [
        ("long", 2, 18),
        ("short", 1, 2),
        ("all", 3, 20),
    ]
    assert [row.wer for row in rows] == pytest.approx([11 / 18, 1 / 2, 12 / 20])
    assert rows[-1].low < rows[-1].wer < rows[-1].high
    lines = table(rows).splitlines()
    assert len(lines) == 5
    assert lines[-1].startswith("| all | 3 | 3 | 20 | 0.600 | ")
    assert rows[1].rounded() == {
        "group": "short", "recordings": 1, "words": 2, "wer": 0.5, "low": 0.5, "high": 0.5, "blocks": 1,
        "substitutions": 0, "deletions": 1, "insertions": 0,
    }  # fmt: skip


def test_one_group_is_not_repeated_as_all() -> None:
    """It would be the same row."""
    assert [row.group for row in group_rows([(recording("раз"), "раз"), (recording("два"), "два")])] == ["g"]
