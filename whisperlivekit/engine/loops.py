"""Cuts the repetitions in which Whisper's decoder gets stuck. Pure functions."""

MIN_LOOP_REPEATS = 3
MAX_LOOP_TOKENS = 20
"""A text that ends in at least 3 copies of the same 1 to 20 tokens is a loop. What people say twice stays."""


def cut_loop(ids: list[int]) -> list[int]:
    """``ids`` up to and including the first copy, where they end in ``MIN_LOOP_REPEATS`` or more copies of one run."""
    for length in range(1, MAX_LOOP_TOKENS + 1):
        repeats = 1
        while (
            len(ids) >= length * (repeats + 1)
            and ids[-length:] == ids[len(ids) - length * (repeats + 1) : len(ids) - length * repeats]
        ):
            repeats += 1
        if repeats >= MIN_LOOP_REPEATS:
            return ids[: len(ids) - length * (repeats - 1)]
    return ids
