"""The mu-law encoder and decoder of the benchmarks against known codes."""

import numpy as np
import pytest

from benchmarks.g711 import mulaw_decode, mulaw_encode


@pytest.mark.parametrize(("sample", "code"), [(0, 0xFF), (32767, 0x80), (-32768, 0x00), (1000, 0xCE), (-1000, 0x4E)])
def test_mulaw_codes_are_those_of_g711(sample: int, code: int) -> None:
    """Codes of silence, of both ends of the range, and of a value in between."""
    assert mulaw_encode(np.array([sample / 32768], np.float32))[0] == code


def test_decoded_codes_encode_to_themselves() -> None:
    """This holds for every code but the second code of zero."""
    codes = np.arange(256, dtype=np.uint8)
    again = mulaw_encode(mulaw_decode(codes))
    assert [code for code in range(256) if again[code] != code] == [0x7F]
