"""Sample rate conversion of a stream."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperlivekit.audio.resample import Resampler


def tone(rate: int, seconds: float, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def resample(samples: np.ndarray, rate: int, cuts: list[int]) -> np.ndarray:
    resampler = Resampler(rate)
    pieces = [resampler.feed(piece) for piece in np.split(samples, sorted(cut % (len(samples) + 1) for cut in cuts))]
    return np.concatenate([*pieces, resampler.flush()])


@settings(deadline=None, max_examples=60)
@given(rate=st.integers(8_000, 192_000), cuts=st.lists(st.integers(0, 100_000), max_size=40))
def test_result_does_not_depend_on_chunks(rate: int, cuts: list[int]) -> None:
    """A stream cut anywhere gives exactly the samples of the uncut stream."""
    samples = np.random.default_rng(1).uniform(-0.5, 0.5, rate // 4).astype(np.float32)
    np.testing.assert_array_equal(resample(samples, rate, cuts), resample(samples, rate, []))


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_a_tone_stays_where_and_what_it_was(rate: int) -> None:
    """No shift in time and no change of length or loudness: the times of words depend on it."""
    converted = resample(tone(rate, 1.0), rate, [])
    expected = tone(16_000, 1.0)
    assert abs(len(converted) - len(expected)) <= 1
    middle = slice(2_000, 14_000)
    np.testing.assert_allclose(converted[middle], expected[middle], atol=2e-3)


def test_loud_edges_stay_in_range() -> None:
    """The filter's overshoot is clipped: samples are in [-1, 1]."""
    square = np.sign(tone(48_000, 0.2, 1_000.0)).astype(np.float32)
    assert np.abs(resample(square, 48_000, [])).max() <= 1.0


def test_a_flushed_stream_is_over() -> None:
    """Audio after the end is a programming error, not silence."""
    resampler = Resampler(8_000)
    resampler.flush()
    with pytest.raises(RuntimeError, match="over"):
        resampler.feed(np.zeros(1, np.float32))
    with pytest.raises(RuntimeError, match="over"):
        resampler.flush()
