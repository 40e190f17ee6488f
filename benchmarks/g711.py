"""G.711 mu-law, the encoding of telephone lines. It shares no code with the server's decoder, which it tests.

Source: ITU-T G.711.
"""

import numpy as np
from numpy.typing import NDArray


def mulaw_encode(samples: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The mu-law codes (uint8[n]) of samples (float32[n] in [-1, 1])."""
    scaled = np.clip(np.rint(samples * 32768), -32635, 32635).astype(np.int64)
    magnitude = np.abs(scaled) + 132
    exponent = np.floor(np.log2(magnitude)).astype(np.int64) - 7
    mantissa = (magnitude >> (exponent + 3)) & 15
    sign = np.where(scaled < 0, 0x80, 0)
    encoded: NDArray[np.uint8] = (~(sign | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8)
    return encoded


def mulaw_decode(encoded: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The samples (float32[n] in [-1, 1]) of mu-law codes (uint8[n])."""
    bits = ~encoded.astype(np.int64) & 0xFF
    magnitude = ((((bits & 15) << 3) + 132) << ((bits >> 4) & 7)) - 132
    samples: NDArray[np.float32] = (np.where(bits & 0x80, -magnitude, magnitude) / 32768).astype(np.float32)
    return samples
