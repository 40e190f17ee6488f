"""`whisperlivekit transcribe`, in a process of its own."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import ROOT
from tests.speech import assert_says, clip
from tests.test_cli import in_an_empty_folder, model_settings, run

__all__ = ["in_an_empty_folder"]

pytestmark = [pytest.mark.model, pytest.mark.slow]


def test_words_of_a_file_have_times_inside_it(base_model: Path) -> None:
    """The words are in order, and each ends after it starts."""
    file = ROOT / "tests" / "data" / "phrase_3s.flac"
    result = run("transcribe", str(file), "--format", "json", **model_settings(base_model))
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["words"]
    times = [time for word in told["words"] for time in (word["start"], word["end"])]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] <= soundfile.info(file).duration


def test_a_file_is_translated(base_model: Path) -> None:
    """With ``--translate`` the text is English; how well base translates differs between processors."""
    file = ROOT / "tests" / "data" / "phrase_3s.flac"
    result = run("transcribe", str(file), "--translate", **model_settings(base_model))
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.split()) > 2
    assert all(letter.isascii() for letter in result.stdout)


def test_a_stereo_file_becomes_a_dialogue(base_model: Path, tmp_path: Path) -> None:
    """With ``--multichannel``, each channel is a speaker. A file with one channel is refused."""
    phrase, rate = soundfile.read(ROOT / "tests" / "data" / "phrase_3s.flac", dtype="float32")
    quiet = np.zeros_like(phrase)
    stereo = np.stack([np.append(phrase, quiet), np.append(quiet, phrase)], axis=1)
    soundfile.write(tmp_path / "call.wav", stereo, rate)
    result = run("transcribe", str(tmp_path / "call.wav"), "--multichannel", **model_settings(base_model))
    assert result.returncode == 0, result.stderr
    first, second = result.stdout.splitlines()
    for line, label in ((first, "1: "), (second, "2: ")):
        assert line.startswith(label)
        assert_says(line.removeprefix(label), clip("phrase_3s").text)
    mono = run(
        "transcribe", str(ROOT / "tests" / "data" / "phrase_3s.flac"), "--multichannel", **model_settings(base_model)
    )
    assert mono.returncode == 2
    assert "expected 2, one for each speaker" in mono.stderr


def test_silence_has_no_words(base_model: Path, tmp_path: Path) -> None:
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(16_000 * 3, np.float32), 16_000)
    output = tmp_path / "out.json"
    result = run("transcribe", str(silence), "--format", "json", "--output", str(output), **model_settings(base_model))
    assert result.returncode == 0, result.stderr
    assert json.loads(output.read_text()) == {"text": "", "words": []}


def test_a_file_without_audio_is_an_error_without_a_traceback(base_model: Path, tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_text("no sound")
    result = run("transcribe", "x.wav", **model_settings(base_model))
    assert result.returncode == 2
    assert "not a media file" in result.stderr
    assert "Traceback" not in result.stderr
