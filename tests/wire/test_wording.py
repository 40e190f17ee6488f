"""Words for error messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.wire.wording import describe_value


@pytest.mark.parametrize(
    ("found", "described"),
    [
        ({"a": 1}, "an object"),
        ([1, 2], "a list of 2"),
        ("ru", '"ru"'),
        ("x" * 41, "text of 41 characters"),
        (None, "null"),
        (0.5, "0.5"),
    ],
)
def test_what_a_client_sent(found: object, described: str) -> None:
    assert describe_value(found) == described


def test_what_people_said_is_not_repeated() -> None:
    """It may be private, and an error may be logged."""
    assert describe_value("привет", quote=False) == "text of 6 characters"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_a_description_is_short(found: object) -> None:
    """Whatever is sent: the message fits into a close frame and a line of the log."""
    assert len(describe_value(found)) <= 60
