"""The picture of a recording: the values in it, and what of the transcript is drawn."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.spectrogram import MELS, main, mel_spectrogram
from benchmarks.speech import read_samples
from tests.conftest import ROOT

CLIP = ROOT / "tests" / "data" / "phrase_3s.flac"


def test_frames_are_ten_milliseconds_and_speech_is_louder_than_pauses() -> None:
    """The first 0.5 s of the clip are a pause; the phrase that follows is at least 30 dB above it."""
    samples = read_samples(CLIP)
    decibels = mel_spectrogram(samples)
    assert decibels.shape == (MELS, 1 + len(samples) // 160)
    assert decibels.max() == 0
    assert decibels.min() >= -80
    assert decibels[:, 100:300].max() - decibels[:, 5:45].max() > 30


def test_a_tone_is_in_its_band() -> None:
    """The band of 1 kHz is a third of the way up, as the mel scale has it; silence elsewhere."""
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    band = mel_spectrogram(tone)[:, 50]
    assert 22 <= int(band.argmax()) <= 30
    assert band[60:].max() < -40


def drawn(folder: Path, *arguments: str) -> str:
    """The picture as SVG, with its text as text."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.fonttype": "none"}):
        main([str(CLIP), "-o", str(folder / "out.svg"), *arguments])
    return (folder / "out.svg").read_text(encoding="utf-8")


def test_only_words_of_the_shown_part_are_drawn(tmp_path: Path) -> None:
    """Words whose end is inside the part, from the file beside the audio."""
    picture = drawn(tmp_path, "--start", "1.5", "--end", "3.0")
    assert all(word in picture for word in ("но", "голосовой", "ящик"))
    assert "извините" not in picture
    assert "абонента" not in picture


def test_the_whole_recording_is_the_default(tmp_path: Path) -> None:
    """As a PNG that another program can read."""
    main([str(CLIP), "-o", str(tmp_path / "out.png")])
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert all(word in drawn(tmp_path) for word in ("извините", "переполнен"))


def test_a_part_outside_the_recording_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message says what was found and what is allowed."""
    with pytest.raises(SystemExit):
        main([str(CLIP), "-o", str(tmp_path / "out.png"), "--start", "60"])
    assert "--start is 60, expected from 0 to less than" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()
