"""The buffer of the audio that may still be needed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from whisperlivekit.core.timeline import INITIAL_SAMPLES, Timeline
from whisperlivekit.core.units import SAMPLE_RATE


def numbered(start: int, end: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Samples whose value is their position: exact in float32 up to 2**24."""
    return np.arange(start, end, dtype=np.float32)


class TimelineMachine(RuleBasedStateMachine):
    """Compared with a model that keeps everything: a position always has the sample that was appended there."""

    @initialize(origin=st.integers(0, 1_000_000))
    def begin(self, origin: int) -> None:
        self.timeline = Timeline(origin)
        self.start = self.end = origin

    @rule(count=st.one_of(st.integers(0, 2_000), st.integers(0, 3 * INITIAL_SAMPLES)))
    def append(self, count: int) -> None:
        self.timeline.append(numbered(self.end, self.end + count))
        self.end += count

    @rule(offset=st.integers(-1_000, 200_000))
    def drop(self, offset: int) -> None:
        """Positions outside the span are clipped to it."""
        position = self.start + offset
        self.timeline.drop_before(position)
        self.start = min(max(self.start, position), self.end)

    @rule(shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
    def slice(self, shares: tuple[float, float]) -> None:
        low, high = sorted(self.start + round(share * (self.end - self.start)) for share in shares)
        np.testing.assert_array_equal(self.timeline.slice(low, high), numbered(low, high))

    @precondition(lambda self: self.start < self.end)
    @rule()
    def write_into_a_slice(self) -> None:
        """A slice is a copy: the model thread uses it while the buffer is written again."""
        self.timeline.slice(self.start, self.end)[:] = -1.0
        np.testing.assert_array_equal(self.timeline.slice(self.start, self.end), numbered(self.start, self.end))

    @invariant()
    def the_span_is_known(self) -> None:
        assert (self.timeline.start, self.timeline.end) == (self.start, self.end)


TestTimeline = TimelineMachine.TestCase


@given(st.lists(st.integers(0, 1_000), max_size=30))
def test_chunks_do_not_matter(sizes: list[int]) -> None:
    """Appended whole or in pieces, the same samples lie at the same positions."""
    total = sum(sizes)
    whole, pieces = Timeline(), Timeline()
    whole.append(numbered(0, total))
    for size in sizes:
        pieces.append(numbered(pieces.end, pieces.end + size))
    np.testing.assert_array_equal(whole.slice(0, total), pieces.slice(0, total))


@pytest.mark.parametrize(("start", "end"), [(99, 150), (150, 201), (150, 149), (0, 0), (201, 201)])
def test_audio_that_is_not_held_is_an_error(start: int, end: int) -> None:
    """Audio that was dropped or has not arrived is never replaced by silence."""
    timeline = Timeline()
    timeline.append(numbered(0, 200))
    timeline.drop_before(100)
    with pytest.raises(IndexError, match=rf"span \[{start}, {end}\) is not inside \[100, 200\)"):
        timeline.slice(start, end)


def test_memory_is_bounded_by_what_is_held() -> None:
    """Ten held seconds of an hour of audio take room for about a minute; after a burst the buffer shrinks."""
    timeline = Timeline()
    second = np.zeros(SAMPLE_RATE, np.float32)
    for _ in range(3600):
        timeline.append(second)
        timeline.drop_before(timeline.end - 10 * SAMPLE_RATE)
    assert timeline.end == 3600 * SAMPLE_RATE
    assert len(timeline._buffer) <= 64 * SAMPLE_RATE
    timeline.append(np.zeros(60 * SAMPLE_RATE, np.float32))
    for _ in range(600):
        timeline.drop_before(timeline.end)
        timeline.append(second)
    assert len(timeline._buffer) == INITIAL_SAMPLES
