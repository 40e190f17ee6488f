"""Loops of the decoder."""

from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.engine.loops import MAX_LOOP_TOKENS, MIN_LOOP_REPEATS, cut_loop

tokens = st.integers(0, 5)
"""Few different ones, so that repetitions happen."""


@given(st.lists(st.integers(), unique=True), st.lists(st.integers(), unique=True, min_size=1, max_size=8))
def test_what_is_said_twice_stays(before: list[int], unit: list[int]) -> None:
    """People do repeat themselves."""
    ids = [token for token in before if token not in unit] + unit * (MIN_LOOP_REPEATS - 1)
    assert cut_loop(ids) == ids


@given(
    st.lists(st.integers(), unique=True),
    st.lists(st.integers(), unique=True, min_size=1, max_size=MAX_LOOP_TOKENS),
    st.integers(MIN_LOOP_REPEATS, 30),
)
def test_a_loop_is_cut_to_its_first_copy(before: list[int], unit: list[int], repeats: int) -> None:
    """However often the decoder repeats itself, it is said once."""
    before = [token for token in before if token not in unit]
    assert cut_loop(before + unit * repeats) == before + unit


@given(
    st.lists(st.integers(), unique=True, min_size=2, max_size=MAX_LOOP_TOKENS),
    st.integers(MIN_LOOP_REPEATS, 30),
    st.data(),
)
def test_a_loop_that_the_budget_cut_in_the_middle_is_cut_too(
    unit: list[int], repeats: int, data: st.DataObject
) -> None:
    """What is left has no three copies of anything."""
    part = unit[: data.draw(st.integers(1, len(unit) - 1))]
    kept = cut_loop(unit * repeats + part)
    assert kept == part + unit[len(part) :] + part


@given(st.lists(tokens, max_size=80))
def test_a_cut_only_takes_from_the_end(ids: list[int]) -> None:
    """Whatever the decoder says: what is kept is its beginning, and not nothing."""
    kept = cut_loop(ids)
    assert kept == ids[: len(kept)]
    assert bool(kept) == bool(ids)


@given(st.lists(tokens, max_size=80))
def test_what_is_cut_is_copies_of_what_is_kept(ids: list[int]) -> None:
    """No word is lost that was said once."""
    kept = cut_loop(ids)
    lost = ids[len(kept) :]
    if lost:
        lengths = [
            n for n in range(1, MAX_LOOP_TOKENS + 1) if len(lost) % n == 0 and lost == kept[-n:] * (len(lost) // n)
        ]
        assert any(len(lost) // length >= MIN_LOOP_REPEATS - 1 for length in lengths)


@given(st.lists(tokens, max_size=30))
def test_long_runs_are_not_taken_for_loops_where_they_end(ids: list[int]) -> None:
    """A repetition in the middle is not the decoder's: it found its way out."""
    assert cut_loop([7, 7, 7, 7, 8, *(token + 10 for token in ids)])[:5] == [7, 7, 7, 7, 8]
