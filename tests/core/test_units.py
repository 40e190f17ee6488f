"""Samples and seconds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.core.units import ENCODER_FRAME, HOP, SAMPLE_RATE, WINDOW, to_samples, to_seconds


@pytest.mark.parametrize(
    ("samples", "seconds"), [(0, 0.0), (7, 0.0), (9, 0.001), (16, 0.001), (16_000, 1.0), (160_007, 10.0)]
)
def test_seconds_are_rounded_to_the_millisecond(samples: int, seconds: float) -> None:
    """A client never sees 0.30000000000000004."""
    assert to_seconds(samples) == seconds


@given(st.integers(0, SAMPLE_RATE * 3600 * 24 * 115))
def test_seconds_name_the_sample_to_half_a_millisecond(samples: int) -> None:
    """Times and positions are within 8 samples of each other, also after months."""
    assert abs(to_samples(to_seconds(samples)) - samples) <= SAMPLE_RATE // 2000


@given(st.integers(0, 10**9))
def test_whole_milliseconds_survive_the_way_there_and_back(milliseconds: int) -> None:
    """A time that a client sends back is the same position again."""
    seconds = milliseconds / 1000
    assert to_seconds(to_samples(seconds)) == seconds


def test_frames_nest() -> None:
    """An encoder frame is a whole number of mel frames, and a second a whole number of encoder frames."""
    assert ENCODER_FRAME % HOP == 0
    assert SAMPLE_RATE % ENCODER_FRAME == 0
    assert to_seconds(WINDOW) == 0.032
