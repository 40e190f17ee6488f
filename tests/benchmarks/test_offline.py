"""The offline ceiling with the real weights."""

from pathlib import Path

import pytest

from benchmarks.offline import transcribe
from benchmarks.scoring import count_errors

pytestmark = pytest.mark.model


def test_a_phrase_is_transcribed_and_its_cost_measured(base_model: Path) -> None:
    """The words of the clip, for some CPU time."""
    from faster_whisper import WhisperModel

    model = WhisperModel(str(base_model), device="cpu", compute_type="int8", local_files_only=True)
    clip = Path(__file__).parents[1] / "data" / "phrase_3s.flac"
    text, cpu_s = transcribe(model, clip, beams=1, language="ru")
    assert count_errors(["извините", "но", "голосовой", "ящик", "абонента", "переполнен"], text).wer <= 0.17
    assert cpu_s > 0.05
