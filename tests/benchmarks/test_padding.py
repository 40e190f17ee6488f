"""The measurement behind the silence after a window."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import padding
from whisperlivekit.engine import whisper

ROOT = Path(__file__).parents[2]


@pytest.mark.model
def test_a_window_is_decoded_with_any_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence gives a text for every window and leaves no loop; the engine's own constants come back afterwards."""
    monkeypatch.setattr(whisper, "PADDING_S", whisper.PADDING_S)
    monkeypatch.setattr(whisper, "TAIL_FRAMES", whisper.TAIL_FRAMES)
    texts, loops = padding.decode(ROOT / "models/whisper/base", [np.zeros(16_000, np.float32)] * 2, 1.0, 50)
    assert len(texts) == 2
    assert loops == 0
