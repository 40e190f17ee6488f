"""The measurement behind the silence after a window."""

from pathlib import Path

import pytest

from benchmarks import padding
from tests.speech import assert_says, clip
from whisperlivekit.engine import whisper


@pytest.fixture(autouse=True)
def _constants_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisper, "PADDING_S", whisper.PADDING_S)
    monkeypatch.setattr(whisper, "TAIL_FRAMES", whisper.TAIL_FRAMES)


@pytest.mark.model
def test_texts_are_normalised_and_loops_counted(base_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the engine's own padding the phrase has its words and no loop; a text that was cut as a loop is counted."""
    phrase = clip("phrase_3s")
    [text], loops = padding.decode(base_model, [phrase.samples], 1.0, 50)
    assert_says(text, phrase.text)
    assert text == text.lower()
    assert not set(text) & set(",.!?")
    assert loops == 0
    monkeypatch.setattr(whisper, "cut_loop", lambda ids: ids[:-1])
    assert padding.decode(base_model, [phrase.samples], 0.5, 20)[1] == 1
    assert (whisper.PADDING_S, whisper.TAIL_FRAMES) == (0.5, 20)
