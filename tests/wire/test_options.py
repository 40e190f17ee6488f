"""Options that clients write in several ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.errors import UnsupportedFormat
from whisperlivekit.wire.options import MAX_HOTWORD, MAX_HOTWORDS, read_phrases, read_sample_rate


@pytest.mark.parametrize(
    ("found", "rate"), [(8_000, 8_000), (44_100.0, 44_100), ("16000", 16_000), ("48000.000", 48_000)]
)
def test_a_sample_rate_in_any_form(found: object, rate: int) -> None:
    """Number or text, with a decimal point or without."""
    assert read_sample_rate(found) == rate


@pytest.mark.parametrize("found", [0, 7_999, 192_001, "fast", "", None, [], {}, True, float("nan"), 10**400, "1e400"])
def test_a_wrong_sample_rate(found: object) -> None:
    """The error says what is allowed."""
    with pytest.raises(UnsupportedFormat, match="expected 8000 to 192000 samples a second"):
        read_sample_rate(found)


def test_phrases() -> None:
    """Text without the space around it; one that is too long is a list of words."""
    long = "ноль один два три четыре пять шесть семь восемь девять десять сто тысяча"
    assert read_phrases(["да", " нет ", "", 5, None, long]) == ("да", "нет", *long.split())


@given(st.lists(st.text(max_size=200) | st.integers(), max_size=200))
def test_any_phrases(found: list[object]) -> None:
    """Never more and never longer than the session takes."""
    phrases = read_phrases(found)
    assert len(phrases) <= MAX_HOTWORDS
    assert all(0 < len(phrase) <= MAX_HOTWORD for phrase in phrases)
