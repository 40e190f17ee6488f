"""The measuring side's mu-law against known codes."""

import numpy as np
import pytest

from benchmarks.g711 import mulaw_decode, mulaw_encode


@pytest.mark.parametrize(("sample", "code"), [(0, 0xFF), (32767, 0x80), (-32768, 0x00), (1000, 0xCE), (-1000, 0x4E)])
def test_mulaw_codes_are_those_of_g711(sample: int, code: int) -> None:
    """Silence, both ends of the range, and a value in between."""
    assert mulaw_encode(np.array([sample / 32768], np.float32))[0] == code


def test_mulaw_survives_a_second_trip() -> None:
    """Every code but the second zero decodes to a value that encodes to it again."""
    codes = np.arange(256, dtype=np.uint8)
    again = mulaw_encode(mulaw_decode(codes))
    assert [code for code in range(256) if again[code] != code] == [0x7F]
