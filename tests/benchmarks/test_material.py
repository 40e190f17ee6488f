"""The signals that benchmark streams consist of. These tests do not need the prompts' packages."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.material import (
    Tape,
    _number_parts,
    _speech_power,
    babble,
    dtmf,
    rings,
    room,
    telephone,
    with_noise,
)
from benchmarks.prompts import load_prompts

RATE = 16_000


def tone(hz: float, seconds: float = 1.0) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def test_a_telephone_passes_only_its_band() -> None:
    """A tone of 1 kHz passes; tones of 100 Hz and 6 kHz do not."""

    def passed(hz: float) -> float:
        heard, sent = telephone(tone(hz))[4000:12_000], tone(hz)[4000:12_000]
        return float(np.sqrt(np.mean(heard**2) / np.mean(sent**2)))

    assert passed(1000) == pytest.approx(1, abs=0.1)
    assert passed(100) < 0.05
    assert passed(6000) < 0.05


def test_noise_is_added_at_the_asked_ratio() -> None:
    """The noise is 10 dB below the speech; pauses do not count as speech."""
    speech = np.concatenate([tone(500), np.zeros(RATE, np.float32)])
    noise = np.random.default_rng(1).standard_normal(len(speech)).astype(np.float32)
    added = with_noise(speech, noise) - speech
    assert 10 * np.log10(_speech_power(speech) / np.mean(added**2)) == pytest.approx(10, abs=0.1)


def test_a_mix_never_clips() -> None:
    """It is scaled down as a whole instead."""
    loud = tone(500) * np.float32(3.3)
    assert np.abs(with_noise(loud, np.random.default_rng(1).standard_normal(len(loud)).astype(np.float32))).max() < 1


def test_word_ends_count_from_the_beginning_of_the_tape() -> None:
    """The end of a word moves by the length of the pieces before it."""
    tape = Tape(np.random.default_rng(0))
    tape.pause(1.5)
    tape.add(tone(500, 0.5), ["раз", "два"], [0.2, 0.5])
    tape.pause(1.0)
    tape.add(tone(500, 0.5), ["три"], [0.4])
    assert tape.reference == [("раз", 1.7), ("два", 2.0), ("три", 3.4)]
    assert len(tape.samples()) == round(3.5 * RATE)


def test_babble_is_the_same_each_time_and_has_no_pauses() -> None:
    """The name of the stream is the seed."""
    lines = [tone(hz, 0.3) for hz in (200, 300, 400)]
    first, again, other = (babble(name, lines, RATE) for name in ("a", "a", "b"))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.abs(first.reshape(-1, 1600)).max(axis=1).min() > 0.5


@pytest.mark.parametrize(
    ("number", "parts"),
    [
        (7, ["7"]), (14, ["14"]), (20, ["20"]), (35, ["30", "5"]),
        (100, ["hundred"]), (112, ["hundred", "12"]), (199, ["hundred", "90", "9"]),
    ],
)  # fmt: skip
def test_a_number_is_put_together_as_it_is_said(number: int, parts: list[str]) -> None:
    """Hundreds, tens and ones are prompts of their own."""
    assert _number_parts(number) == parts


def test_non_speech_parts_have_their_length_and_do_not_clip() -> None:
    """This is so for the room, the dialled keys and the line tones."""
    seed = np.random.default_rng(3)
    for part, seconds in ((room(seed, 9), 9), (dtmf(seed, 9), 9), (rings(9), 9)):
        assert len(part) == seconds * RATE
        assert 0.1 < np.abs(part).max() < 1


def test_every_prompt_has_one_end_for_each_word_in_order() -> None:
    """In the committed table all ends are in ascending order and inside the sound."""
    prompts = load_prompts()
    assert len(prompts) > 400
    for prompt in prompts.values():
        assert len(prompt.words) == len(prompt.ends_s)
        assert list(prompt.ends_s) == sorted(prompt.ends_s)
        assert 0 < prompt.ends_s[-1] <= (prompt.end - prompt.begin) / RATE


@pytest.mark.parametrize("name", ["prompts_24s", "phrase_3s", "telephone_8k"])
def test_each_clip_of_the_tests_has_words_within_it(name: str) -> None:
    """Other tests rely on it."""
    folder = Path(__file__).parents[1] / "data"
    [audio] = [path for path in folder.glob(f"{name}.*") if path.suffix != ".json"]
    words = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    assert len(words) > 5
    assert words[-1][1] < soundfile.info(audio).duration
