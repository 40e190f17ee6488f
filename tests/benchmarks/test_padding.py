"""The measurement behind the silence after a window."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks import padding
from whisperlivekit.engine import whisper

ROOT = Path(__file__).parents[2]


@pytest.mark.model
def test_texts_are_normalised_and_loops_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any silence behind a cut word the decoder loops; with the engine's own padding it says the phrase."""
    monkeypatch.setattr(whisper, "PADDING_S", whisper.PADDING_S)
    monkeypatch.setattr(whisper, "TAIL_FRAMES", whisper.TAIL_FRAMES)
    phrase, _ = soundfile.read(ROOT / "tests/data/phrase_3s.flac", dtype="float32")
    silence = np.zeros(16_000, np.float32)
    texts, loops = padding.decode(ROOT / "models/whisper/base", [phrase, silence], 1.0, 50)
    assert texts[0] == "извините но голосовой ящик абонента переполнен"
    assert loops == 0
    cut = [phrase[: 16_000 + 800 * step] for step in range(8)]
    assert padding.decode(ROOT / "models/whisper/base", cut, 0.0, 1)[1] > 0
