"""The audio of a stream that may still be needed, addressed by absolute sample position."""

import numpy as np
from numpy.typing import NDArray

INITIAL_SAMPLES = 16_000 * 4
"""Smallest size of the buffer: 4 s."""


class Timeline:
    """A contiguous span ``[start, end)`` of samples. It grows at its end, and samples are dropped from its start.

    The buffer is reused, so the longest span that is held bounds the memory, not the length of the stream.
    """

    def __init__(self, start: int = 0) -> None:
        self._buffer: NDArray[np.float32] = np.zeros(INITIAL_SAMPLES, np.float32)
        self._offset = 0
        self.start = start
        self.end = start

    def append(self, samples: NDArray[np.float32]) -> None:
        """Add ``samples``, float32[n], at the end."""
        held = self.end - self.start
        if self._offset + held + len(samples) > len(self._buffer):
            self._make_room(held, len(samples))
        begin = self._offset + held
        self._buffer[begin : begin + len(samples)] = samples
        self.end += len(samples)

    def slice(self, start: int, end: int) -> NDArray[np.float32]:
        """A copy of ``[start, end)``.

        Raises:
            IndexError: part of the span was dropped or has not arrived.
        """
        if not self.start <= start <= end <= self.end:
            raise IndexError(f"span [{start}, {end}) is not inside [{self.start}, {self.end})")
        begin = self._offset + start - self.start
        return self._buffer[begin : begin + end - start].copy()

    def drop_before(self, position: int) -> None:
        """Drop all samples before ``position``; a position outside the span is clipped to it."""
        position = min(max(position, self.start), self.end)
        self._offset += position - self.start
        self.start = position

    def _make_room(self, held: int, wanted: int) -> None:
        """Move the held samples to the beginning of a buffer of the right size: the old one, a larger one, or a smaller
        one after a burst.
        """
        size = INITIAL_SAMPLES
        while size < 2 * (held + wanted):
            size *= 2
        target = self._buffer if size == len(self._buffer) else np.zeros(size, np.float32)
        # numpy copies overlapping spans of one array correctly.
        target[:held] = self._buffer[self._offset : self._offset + held]
        self._buffer = target
        self._offset = 0
