"""A part of what ``tests.fuzz.forms`` sends."""

import asyncio

import pytest

from tests.fuzz.forms import send


@pytest.mark.slow
# Starlette forgets a file that a damaged form does not end; it is closed when its memory is released, at once.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_any_form_is_answered_without_a_fault() -> None:
    """With the text, or with a 4xx that says what is wrong; nothing is left of it, and all kinds of answers come."""
    statuses = asyncio.run(send(400, seed=1))
    assert statuses.keys() >= {200, 400, 415}
