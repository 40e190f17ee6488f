"""Reading recordings with transcripts: one file, the beginning of one, and groups of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from benchmarks.client import Sound
from benchmarks.scoring import TimedWord
from benchmarks.speech import SLACK_S, Clip, cut, read_groups, read_recording, read_reference, read_samples
from tests.conftest import ROOT


def record(path: Path, words: Any, clips: Any = None) -> Path:
    """A recording of half a second, as somebody's folder may have it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(4000, np.int16), 8000, subtype="PCM_16")
    path.with_suffix(".json").write_text(json.dumps(words, ensure_ascii=False), encoding="utf-8")
    if clips is not None:
        path.with_suffix(".clips.json").write_text(json.dumps(clips), encoding="utf-8")
    return path


def test_a_reference_is_words_with_ends(tmp_path: Path) -> None:
    """Words are normalised as the recognised text is: without that every capital letter would be an error."""
    path = tmp_path / "r.json"
    path.write_text('[["Раз,", 1], ["эхо-тест", 2.5], ["—", 2.6], ["ещё", 3]]', encoding="utf-8")
    assert [(word.text, word.end_s) for word in read_reference(path)] == [
        ("раз", 1.0), ("эхо", 2.5), ("тест", 2.5), ("еще", 3.0),
    ]  # fmt: skip


def test_samples_are_mono_16_khz_whatever_the_file_has(tmp_path: Path) -> None:
    """A stereo file at 8 kHz has twice the samples and the mean of both channels."""
    t = np.arange(8000) / 8000
    both = 0.4 * np.stack([np.sin(2 * np.pi * 500 * t), np.zeros(8000)], axis=1)
    soundfile.write(tmp_path / "a.wav", both, 8000, subtype="FLOAT")
    samples = read_samples(tmp_path / "a.wav")
    assert samples.dtype == np.float32
    assert samples.shape == (16_000,)
    assert np.abs(samples[2000:14_000]).max() == pytest.approx(0.2, abs=0.002)
    clip = ROOT / "tests" / "data" / "phrase_3s.flac"
    assert np.array_equal(read_samples(clip), soundfile.read(clip, dtype="float32")[0])


def test_a_recording_has_its_words_and_clips(tmp_path: Path) -> None:
    """Clips are optional, and in the order of their times."""
    rows = [{"start": 2, "end": 3, "text": "б", "src": "x"}, {"start": 0, "end": 1.5, "text": "а"}]
    with_clips = read_recording(record(tmp_path / "a.wav", [["а", 1], ["б", 2.5]], rows))
    assert with_clips.words == (TimedWord("а", 1.0), TimedWord("б", 2.5))
    assert with_clips.clips == (Clip(0.0, 1.5, "а"), Clip(2.0, 3.0, "б"))
    assert with_clips.name == "a"
    assert read_recording(record(tmp_path / "b.wav", [["а", 1]])).clips == ()


def test_groups_are_found_by_their_patterns(tmp_path: Path) -> None:
    """Two patterns may fill one group; transcripts that match are no audio."""
    for name in ("read/a.wav", "read/b.wav", "phone/c.wav", "phone/d.flac"):
        record(tmp_path / name, [["а", 0.2]], [] if name == "read/a.wav" else None)
    found = read_groups([f"read={tmp_path}/read/*", f"phone={tmp_path}/phone/*.wav", f"phone={tmp_path}/**/d.flac"])
    assert [(one.group, one.name) for one in found] == [("read", "a"), ("read", "b"), ("phone", "c"), ("phone", "d")]


@pytest.mark.parametrize("option", ["read", "=x", "read="])
def test_a_group_without_name_or_pattern_is_refused(option: str) -> None:
    """The message says what is expected."""
    with pytest.raises(SystemExit, match="expected NAME=GLOB"):
        read_groups([option])


def test_a_group_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    """A misspelt pattern must not silently leave recordings out."""
    with pytest.raises(SystemExit, match="no audio file matches"):
        read_groups([f"read={tmp_path}/*.flac"])


def test_audio_without_a_transcript_is_refused(tmp_path: Path) -> None:
    """The message names the file that is missing."""
    path = record(tmp_path / "a.wav", [])
    path.with_suffix(".json").unlink()
    with pytest.raises(SystemExit, match=r"a\.json does not exist"):
        read_groups([f"read={tmp_path}/*"])


def test_speech_is_cut_in_a_pause() -> None:
    """The part ends in a pause, is not longer than requested, and has the words that end in it."""
    ends = [1.0, 1.5, 2.0, 4.5, 5.0, 9.0]
    words = [TimedWord(str(end), end) for end in ends]
    sound = Sound(np.zeros(160_000, np.int16), 16_000)
    part, kept = cut(sound, words, 4.8)
    assert part.seconds == pytest.approx(2.3)
    assert [word.end_s for word in kept] == [1.0, 1.5, 2.0]
    assert cut(sound, words, 20) == (sound, words)
    with pytest.raises(ValueError, match=f"no word ends in the {SLACK_S:g} s before 0.5"):
        cut(sound, words, 0.5)
