"""The scoring, on small transcripts whose figures can be checked by hand."""

import pytest

from benchmarks.scoring import (
    Snapshot,
    TimedWord,
    count_errors,
    count_retracted,
    normalise,
    percentile,
    score,
    spell_numbers,
    summarise,
)


def test_normalised_words_have_no_case_no_yo_and_no_punctuation() -> None:
    """Texts are compared by what was said, not by how it is written."""
    assert normalise("  Ещё раз: «эхо-тест», 28,8 — ДА!  ") == ["еще", "раз", "эхо", "тест", "28", "8", "да"]


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("0", "ноль"),
        ("1", "один"),
        ("21", "двадцать один"),
        ("145", "сто сорок пять"),
        ("007", "ноль ноль семь"),
        ("00", "ноль ноль"),
        ("2-я", "два я"),
        ("5а", "5а"),
    ],
)
def test_numbers_are_spelt_as_they_are_said(written: str, spoken: str) -> None:
    """Digits become cardinal numbers, leading zeros are read one by one, and a token with letters stays."""
    assert spell_numbers(normalise(written)) == spoken.split()


def test_a_long_run_of_digits_is_read_digit_by_digit() -> None:
    """It is an identifier and not a number."""
    assert spell_numbers(["1" * 13]) == ["один"] * 13


def test_digits_and_words_are_the_same_number_unless_raw() -> None:
    """A digit instead of its word is not an error in WER, and is one in raw WER."""
    assert count_errors(["нажмите", "1"], "Нажмите один.").wer == 0
    raw = count_errors(["нажмите", "1"], "Нажмите один.", spell=False)
    assert (raw.substitutions, raw.wer) == (1, 0.5)


def test_each_kind_of_error_is_counted() -> None:
    """One error of each kind in five words."""
    errors = count_errors(["а", "б", "в", "г", "д"], "а х г д е")
    assert (errors.substitutions, errors.deletions, errors.insertions) == (1, 1, 1)
    assert errors.wer == pytest.approx(3 / 5)


def test_nothing_recognised_is_all_deleted() -> None:
    """All words are missing in an empty text."""
    errors = count_errors(["а", "б"], "")
    assert (errors.deletions, errors.wer) == (2, 1.0)


def test_text_without_speech_counts() -> None:
    """The reference is empty, and every word is an insertion."""
    errors = count_errors([], "Продолжение следует...")
    assert (errors.insertions, errors.wer) == (2, 2.0)


REFERENCE = [TimedWord("раз", 1.0), TimedWord("два", 2.0), TimedWord("три", 3.0)]


def test_latency_is_counted_from_the_end_of_each_correct_word() -> None:
    """Partial latency ends when the word is first shown at its place, commit latency when it is there for good."""
    figures = score(
        [
            Snapshot(1.2, "", " раз"),
            Snapshot(1.7, " Раз", " дво"),
            Snapshot(2.3, " Раз", " два"),
            Snapshot(3.0, " Раз два", " три"),
            Snapshot(4.0, " Раз два три.", ""),
        ],
        REFERENCE,
    )
    assert figures.wer == 0
    assert figures.commit_p50_s == pytest.approx(1.0)  # of 0.7, 1.0 and 1.0
    assert figures.partial_p50_s == pytest.approx(0.2)  # of 0.2, 0.3 and 0.0
    assert figures.commit_p95_s == pytest.approx(1.0)
    assert figures.partial_p95_s == pytest.approx(0.29)
    assert figures.retracted == 0


def test_a_wrong_word_has_no_latency() -> None:
    """Only words that are correct in the last text count: "две" is shown early and is wrong."""
    figures = score([Snapshot(2.0, " раз две", ""), Snapshot(3.5, " раз две три", "")], REFERENCE)
    assert figures.substitutions == 1
    assert figures.commit_p50_s == pytest.approx((1.0 + 0.5) / 2)


def test_a_word_that_left_and_came_back_is_committed_when_it_came_back() -> None:
    """It is counted as retracted, and its latency is not that of its first appearance."""
    figures = score(
        [Snapshot(1.5, " раз", ""), Snapshot(2.0, " рас", ""), Snapshot(2.5, " раз", "")],
        [TimedWord("раз", 1.0)],
    )
    assert figures.retracted == 2
    assert figures.commit_p50_s == pytest.approx(1.5)
    assert figures.partial_p50_s == pytest.approx(0.5)


def test_a_number_written_with_digits_has_the_latency_of_its_word() -> None:
    """The reference's digits and the server's words are compared as spoken. All words of a number end at its end."""
    figures = score([Snapshot(2.5, " сто один", "")], [TimedWord("101", 2.0)])
    assert figures.wer == 0
    assert figures.commit_p50_s == pytest.approx(0.5)


def test_growing_text_retracts_nothing_and_changed_text_does() -> None:
    """Punctuation and case of committed text may change, its words may not."""
    growing = [Snapshot(1, " Один", ""), Snapshot(2, " один, два", ""), Snapshot(3, " один, два", " три")]
    assert count_retracted(growing) == 0
    assert count_retracted([*growing, Snapshot(4, " один", "")]) == 1
    assert count_retracted([*growing, Snapshot(4, " один двое три", "")]) == 1
    assert count_retracted([*growing, Snapshot(4, "", "")]) == 2


def test_without_text_there_is_no_latency() -> None:
    """It is None and not zero."""
    figures = score([], REFERENCE)
    assert (figures.wer, figures.commit_p50_s, figures.partial_p95_s) == (1.0, None, None)


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 2.5), (0.95, 3.85), (1.0, 4.0)])
def test_percentiles_lie_between_neighbours(share: float, value: float) -> None:
    """It is interpolated linearly between the two nearest values, whatever the order of the input."""
    assert percentile([4.0, 1.0, 3.0, 2.0], share) == pytest.approx(value)


def test_percentile_of_nothing_is_none() -> None:
    """There is nothing to interpolate."""
    assert percentile([], 0.5) is None


def test_summary_takes_the_largest_and_the_middle() -> None:
    """Where a session lacks a figure, the worst is None."""
    summary = summarise([{"wer": 0.1, "p": 1.0}, {"wer": 0.3, "p": None}, {"wer": 0.2, "p": 3.0}])
    assert summary == {"worst": {"wer": 0.3, "p": None}, "median": {"wer": 0.2, "p": 2.0}}
