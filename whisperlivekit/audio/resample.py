"""Resamples a mono stream of any sample rate to 16 kHz, chunk by chunk."""

from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from whisperlivekit.core.units import SAMPLE_RATE


class Resampler:
    """The resampler of one stream, which keeps the filter's state from chunk to chunk.

    The output of a whole stream does not depend on how it was cut into chunks. It is delayed by the filter's length
    (about 1 ms at 48 kHz, 20 ms at 8 kHz) and not shifted in time: ``flush`` returns the rest.
    """

    def __init__(self, sample_rate: int) -> None:
        self._stream: Any = None
        if sample_rate != SAMPLE_RATE:
            self._stream = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        self._flushed = False

    def feed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """samples: float32[n], mono at the stream's rate -> float32[m], mono 16 kHz, in [-1, 1]."""
        if self._flushed:
            raise RuntimeError("feed() after flush(): the stream is over")
        if self._stream is None:
            return samples
        return _clip(self._stream.resample_chunk(np.ascontiguousarray(samples)))

    def flush(self) -> NDArray[np.float32]:
        """The audio that the filter still holds, at the end of the stream."""
        if self._flushed:
            raise RuntimeError("flush() twice: the stream is over")
        self._flushed = True
        if self._stream is None:
            return np.zeros(0, dtype=np.float32)
        return _clip(self._stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True))


def _clip(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    # The filter overshoots at steep edges in loud audio.
    return np.clip(samples, -1.0, 1.0)
