"""Word ends that are measured by aligning known texts, with the real model on the clips of ``tests/data``."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.align import LONGEST_S, align
from benchmarks.prompts import Samples
from benchmarks.speech import Clip, read_reference, write_clips
from tests.speech import clip, sentences
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.engine.whisper import WhisperModel

CLOSE_S = 0.3
"""How far a measured end may be from the known one, which is itself good to about 0.1 s. The largest difference found
was 0.12 s."""


def record(path: Path, samples: Samples, clips: Sequence[Clip]) -> Path:
    """A recording with clips and without words."""
    soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16")
    write_clips(path, clips)
    return path


def phrase(text: str = "Извините, но голосовой ящик абонента — переполнен!") -> Clip:
    """A clip with the whole phrase."""
    return Clip(0.0, len(clip("phrase_3s").samples) / SAMPLE_RATE, text)


@pytest.mark.model
def test_words_end_where_they_are_known_to_end(whisper_base: WhisperModel, tmp_path: Path) -> None:
    """All words of seven clips in one recording, with seconds between the clips, end within 0.3 s of the known ends."""
    pieces, clips, known, at_s = [], [], [], 0.0
    for sentence in sentences():
        gap = np.zeros(2 * SAMPLE_RATE, np.float32)
        pieces += [gap, sentence.samples]
        begin_s = at_s + 2
        at_s = begin_s + len(sentence.samples) / SAMPLE_RATE
        clips.append(Clip(begin_s, at_s, sentence.text.capitalize() + "."))
        known += [(word.text, begin_s + word.end_s) for word in sentence.words]
    audio = record(tmp_path / "a.flac", np.concatenate(pieces), clips)
    assert align(whisper_base.lane(), audio) == []
    found = [(word.text, word.end_s) for word in read_reference(tmp_path / "a.json")]
    assert [text for text, _ in found] == [text for text, _ in known]
    off = {
        f"{text} at {known_s:.2f} s": end_s - known_s for (text, end_s), (_, known_s) in zip(found, known, strict=True)
    }
    assert not {word: off_s for word, off_s in off.items() if abs(off_s) > CLOSE_S}


@pytest.mark.model
def test_estimated_ends_are_replaced(whisper_base: WhisperModel, tmp_path: Path) -> None:
    """The words that a recording has already are kept, and only their ends change."""
    known = clip("phrase_3s")
    audio = record(tmp_path / "a.flac", known.samples, [phrase()])
    (tmp_path / "a.json").write_text(json.dumps([[word.text, 9.0] for word in known.words]), encoding="utf-8")
    align(whisper_base.lane(), audio)
    found = read_reference(tmp_path / "a.json")
    assert [word.text for word in found] == [word.text for word in known.words]
    assert [word.end_s for word in found] == pytest.approx([word.end_s for word in known.words], abs=CLOSE_S)


@pytest.mark.model
def test_a_clip_that_is_too_long_is_named(whisper_base: WhisperModel, tmp_path: Path) -> None:
    """Its words get ends in order, inside the clip."""
    samples = np.concatenate([clip(name).samples for name in ("prompts_24s", "phrase_3s", "phrase_3s")])
    long = Clip(0.0, round(len(samples) / SAMPLE_RATE, 3), clip("prompts_24s").text)
    assert long.end_s > LONGEST_S
    assert align(whisper_base.lane(), record(tmp_path / "a.flac", samples, [long])) == [long]
    ends = [word.end_s for word in read_reference(tmp_path / "a.json")]
    assert ends == sorted(ends)
    assert 0 < ends[0] < ends[-1] <= long.end_s


@pytest.mark.model
@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ([], "no clips"),
        ([phrase("Извините, ящик переполнен.")], "other words"),
        ([Clip(60.0, 61.0, "Извините, но голосовой ящик абонента переполнен")], "no sound"),
    ],
)
def test_a_recording_that_cannot_be_aligned_is_refused(
    whisper_base: WhisperModel, tmp_path: Path, clips: list[Clip], message: str
) -> None:
    """The words that it has stay as they are."""
    known = clip("phrase_3s")
    audio = record(tmp_path / "a.flac", known.samples, clips)
    before = json.dumps([[word.text, word.end_s] for word in known.words])
    (tmp_path / "a.json").write_text(before, encoding="utf-8")
    with pytest.raises(SystemExit, match=message):
        align(whisper_base.lane(), audio)
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == before
