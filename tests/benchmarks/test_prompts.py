"""How the end times of a prompt's words are found, on artificial sounds."""

import numpy as np

from benchmarks.prompts import move_ends_out_of_silence, proportional_ends, sound_frames


def drawn(picture: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """The samples of a picture with a character for each 10 ms: ``#`` is sound, ``.`` is silence."""
    return np.repeat([0.3 if mark == "#" else 0.0 for mark in picture], 160).astype(np.float32)


def test_sound_is_told_from_silence_and_short_gaps_are_sound() -> None:
    """The closure of a stop consonant is not a pause. Silence before the first sound stays silence."""
    picture = "...####...####..........###.."
    expected = "...###########..........###.."
    assert "".join("#" if frame else "." for frame in sound_frames(drawn(picture))) == expected


def test_an_end_in_a_pause_moves_to_where_the_pause_begins() -> None:
    """Alignment may count a pause as part of the word before it, which a listener does not."""
    sound = sound_frames(drawn("#####..........#####"))
    assert move_ends_out_of_silence([0.03, 0.12, 0.2], sound) == [0.03, 0.05, 0.2]


def test_ends_never_go_back() -> None:
    """Two words that end in the same pause end at the same time."""
    sound = sound_frames(drawn("#####..........#####"))
    assert move_ends_out_of_silence([0.08, 0.14, 0.5], sound) == [0.05, 0.05, 0.2]


def test_without_alignment_letters_share_the_sound() -> None:
    """A word with twice the letters gets twice the sound, without pauses. Digits count as they are spoken."""
    sound = sound_frames(drawn("####..........########"))
    assert proportional_ends(["аб", "абвг"], sound) == [0.04, 0.22]
    assert proportional_ends(["1", "один"], sound_frames(drawn("#" * 10))) == [0.05, 0.1]
