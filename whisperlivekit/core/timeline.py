"""The audio of a stream that may still be needed, addressed by absolute sample position."""

import numpy as np
from numpy.typing import NDArray

INITIAL_SAMPLES = 16_000 * 4


class Timeline:
    """A contiguous span ``[start, end)`` of samples: grows at its end, is dropped from its start.

    The buffer is reused, so memory is bounded by the longest span that was ever held, not by the stream's length.
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
        """Forget all samples before ``position``; positions outside the span are clipped to it."""
        position = min(max(position, self.start), self.end)
        self._offset += position - self.start
        self.start = position

    def _make_room(self, held: int, wanted: int) -> None:
        """Move the held samples to the buffer's start; take a larger buffer where they would not fit, a smaller one
        where a burst is over.
        """
        size = INITIAL_SAMPLES
        while size < 2 * (held + wanted):
            size *= 2
        target = self._buffer if size == len(self._buffer) else np.zeros(size, np.float32)
        # numpy copies overlapping spans of one array correctly.
        target[:held] = self._buffer[self._offset : self._offset + held]
        self._buffer = target
        self._offset = 0
