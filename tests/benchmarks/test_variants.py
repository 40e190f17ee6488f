"""Variants of real speech: each changes what it should change, and keeps the rest."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.prompts import RATE, Samples
from benchmarks.speech import read_recording, read_samples
from benchmarks.variants import SEMITONES, SPEEDS, VARIANTS, in_room, through_opus, variant, write_variants
from tests.conftest import ROOT

CLIP = ROOT / "tests" / "data" / "phrase_3s.flac"


@pytest.fixture(scope="module")
def speech() -> Samples:
    return read_samples(CLIP)


@pytest.fixture(scope="module")
def made(speech: Samples) -> dict[str, Samples]:
    """All variants of one phrase."""
    return {kind: variant(speech, "phrase_3s", kind) for kind in VARIANTS}


def pitch_hz(samples: Samples) -> float:
    """Median fundamental frequency of the voiced frames."""
    import librosa

    frequency, voiced, _ = librosa.pyin(samples, fmin=80, fmax=500, sr=RATE)
    return float(np.median(frequency[voiced]))


def envelope(samples: Samples, points: int = 100) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The loudness over time, at as many points whatever the length."""
    edges = np.linspace(0, len(samples), points + 1).astype(int)
    return np.array([np.sqrt(np.mean(samples[a:b] ** 2)) for a, b in itertools.pairwise(edges)])


def delay_samples(sent: Samples, heard: Samples) -> int:
    """By how many samples ``heard`` is late, by cross-correlation."""
    from scipy.signal import correlate, correlation_lags

    lags = correlation_lags(len(heard), len(sent))
    return int(lags[np.argmax(correlate(heard, sent))])


@pytest.mark.parametrize("kind", VARIANTS)
def test_the_length_follows_the_speed_alone(speech: Samples, made: dict[str, Samples], kind: str) -> None:
    """Word times are divided by the speed, so the audio must have that length, good to 20 ms."""
    assert abs(len(made[kind]) - len(speech) / SPEEDS.get(kind, 1.0)) < 0.02 * RATE
    assert made[kind].dtype == np.float32
    assert 0.05 < np.abs(made[kind]).max() < 1


@pytest.mark.parametrize("kind", [*SPEEDS, *SEMITONES])
def test_sounds_stay_at_their_place(speech: Samples, made: dict[str, Samples], kind: str) -> None:
    """Words begin and end where the scaled times say: the loudness fits as it is, and not 0.2 s later."""

    def fit(original: Samples) -> float:
        return float(np.corrcoef(envelope(original), envelope(made[kind]))[0, 1])

    assert fit(speech) > 0.9
    assert fit(np.roll(speech, RATE // 5)) < 0.8


@pytest.mark.parametrize(("kind", "semitones"), [*SEMITONES.items(), *((kind, 0.0) for kind in SPEEDS)])
def test_the_pitch_moves_only_where_it_should(
    speech: Samples, made: dict[str, Samples], kind: str, semitones: float
) -> None:
    """Within a semitone: three lower or higher, and none at another speed."""
    assert 12 * np.log2(pitch_hz(made[kind]) / pitch_hz(speech)) == pytest.approx(semitones, abs=1.0)


def test_a_room_answers_after_the_direct_sound() -> None:
    """A click is heard at once. Its echo begins 5 ms later, has half the energy, and decays by 60 dB in 0.6 s."""
    click = np.zeros(RATE, np.float32)
    click[0] = 1.0
    heard = in_room(click, "click")
    assert heard[0] == pytest.approx(1.0, abs=1e-4)
    assert np.abs(heard[1:80]).max() < 1e-4
    assert np.sum(heard[80:] ** 2) == pytest.approx(0.5, abs=0.01)
    first, last = np.mean(heard[80:1680] ** 2), np.mean(heard[8080:9680] ** 2)
    assert 10 * np.log10(first / last) == pytest.approx(50, abs=3)
    assert np.abs(heard[9680:]).max() < 1e-4


@pytest.mark.parametrize("kind", ["room", "opus", "telephone"])
def test_a_channel_delays_nothing(speech: Samples, made: dict[str, Samples], kind: str) -> None:
    """Word ends are those of the original, so the sound must not come later than 10 ms."""
    assert 0 <= delay_samples(speech, made[kind]) < 0.01 * RATE
    assert not np.array_equal(made[kind], speech)


def test_opus_loses_something_but_not_the_speech(speech: Samples) -> None:
    """At 12 kbit/s the waveform is close to the original and not equal to it."""
    heard = through_opus(speech)
    assert 0.8 < np.corrcoef(speech, heard)[0, 1] < 0.9999


def test_files_have_scaled_words_and_clips(tmp_path: Path) -> None:
    """What is written can be read as a recording, with all times divided by the speed."""
    shutil.copy(CLIP, tmp_path)
    shutil.copy(CLIP.with_suffix(".json"), tmp_path)
    (tmp_path / "phrase_3s.clips.json").write_text(json.dumps([{"start": 0.8, "end": 4.2, "text": "x"}]))
    original = read_recording(tmp_path / CLIP.name)
    write_variants(original, tmp_path / "out", ["slow", "opus"])
    slow = read_recording(tmp_path / "out" / "phrase_3s-slow.flac")
    assert [word.text for word in slow.words] == [word.text for word in original.words]
    assert [word.end_s for word in slow.words] == pytest.approx([word.end_s / 0.8 for word in original.words], abs=1e-3)
    assert [(clip.start_s, clip.end_s, clip.text) for clip in slow.clips] == [(1.0, 5.25, "x")]
    assert soundfile.info(slow.audio).duration > slow.words[-1].end_s
    assert read_recording(tmp_path / "out" / "phrase_3s-opus.flac").words == original.words


def test_a_variant_is_the_same_each_time(speech: Samples, made: dict[str, Samples]) -> None:
    """Figures of two runs can only be compared on the same samples."""
    for kind in ("fast", "room"):
        assert np.array_equal(variant(speech, "phrase_3s", kind), made[kind])


def test_an_unknown_variant_is_an_error(speech: Samples) -> None:
    """The message names what there is."""
    with pytest.raises(ValueError, match=r"variant is 'loud', expected one of slow, fast"):
        variant(speech, "x", "loud")
