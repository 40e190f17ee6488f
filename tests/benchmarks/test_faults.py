"""The counting of the fault benchmark. tests/e2e/test_faults.py runs it against real servers."""

import random

import numpy as np
import pytest

from benchmarks.client import Recording, Sound
from benchmarks.faults import (
    EDGE_S,
    KINDS,
    Difference,
    Fault,
    changes,
    cut_to,
    difference,
    nearest,
    plan,
    resume_s,
    summarise,
)
from benchmarks.scoring import Snapshot, TimedWord


@pytest.mark.parametrize(
    ("text", "lost", "doubled", "changed"),
    [
        ("Раз, два; три четыре!", 0, 0, 0),
        ("раз два три 4", 0, 0, 0),
        ("раз два четыре", 1, 0, 0),
        ("раз два три три четыре", 0, 1, 0),
        ("раз два тли четыре", 0, 0, 1),
        ("раз, два три че тыре", 0, 0, 2),
        ("раз два слон", 1, 0, 1),
        ("", 4, 0, 0),
    ],
)
def test_words_are_lost_doubled_or_changed(text: str, lost: int, doubled: int, changed: int) -> None:
    """A text is compared with the original, in words with numbers spelt out: similar letters make a changed word."""
    assert difference(text, "раз два три четыре") == Difference(lost, doubled, changed)


def test_the_nearest_of_the_uninterrupted_texts_counts() -> None:
    """Uninterrupted texts differ from each other, and a difference that one of them has too was not made by a fault."""
    assert nearest("раз пять три", ["раз два три", "раз пять три", "раз"]) == "раз пять три"
    assert changes("раз пять три", "раз два три") == ["два -> пять"]


def test_faults_are_random_and_the_same_for_a_seed() -> None:
    """There is one in each part of the audio, not close to its ends, and all kinds are equally frequent."""
    planned = [plan(random.Random(seed), 60, 4, KINDS) for seed in (1, 1, 2)]
    assert planned[0] == planned[1] != planned[2]
    times = [at_s for at_s, _ in planned[0]]
    assert times == sorted(times)
    for part, at_s in enumerate(times):
        assert EDGE_S + 14.5 * part <= at_s <= EDGE_S + 14.5 * (part + 1)
    assert sorted(kind for _, kind in planned[0]) == sorted(KINDS)
    assert len(plan(random.Random(1), 60, 6, KINDS)) == 6


def event(kind: str, **fields: object) -> dict[str, object]:
    return {"type": kind, **fields}


def test_the_time_to_resume_ends_with_the_first_text_of_the_new_connection() -> None:
    """It starts with the last message of the old connection. An empty partial or a lag does not end it; a progress
    event without lag does, because all audio is processed. A fault without a lost connection has no time.
    """
    recording = Recording(
        events=[
            (1.0, event("partial", text=" раз")),
            (2.2, event("committed", text=" раз")),
            (3.0, event("ready")),
            (3.2, event("partial", text="")),
            (3.3, event("progress", lag_s=0.4)),
            (3.7, event("partial", text=" два")),
            (9.0, event("progress", lag_s=0)),
        ],
        losses=[(2.5, "1012"), (8.0, "1006")],
    )
    assert resume_s(recording, 2.0) == pytest.approx(1.5)
    assert resume_s(recording, 7.5) == pytest.approx(1.5)
    assert resume_s(recording, 8.5) is None


def test_the_summary_adds_up() -> None:
    """Counts are sums over all runs, uninterrupted runs give the largest count, times are over all and by kind."""

    def run(*texts: str) -> Recording:
        return Recording(snapshots=[Snapshot(float(at), text, "") for at, text in enumerate(texts)])

    broken = run("раз", "раз два", "раз три")
    broken.events.append((1.0, event("gap", start=1.0, end=1.5, reason="resume_lost")))
    faults = [Fault(0, "kill", 1.0, 0.5), Fault(0, "cut", 2.0, 1.5), Fault(1, "cut", 2.0, None)]
    words = [TimedWord(text, 1.0) for text in ("раз", "два", "три")]
    figures = summarise([broken, run("раз два три")], faults, [run("раз два три"), run("раз два три пять")], words)
    assert (figures["runs"], figures["faults"]) == (2, 3)
    assert (figures["lost"], figures["doubled"], figures["changed"]) == (1, 0, 0)
    assert (figures["retracted"], figures["gap_s"]) == (1, 0.5)
    assert (figures["resume_p50_s"], figures["resume_max_s"]) == (1.0, 1.5)
    assert figures["uninterrupted"] | {"wer": []} == {"runs": 2, "lost": 1, "doubled": 1, "changed": 0, "wer": []}
    assert figures["kinds"]["cut"] == {"faults": 2, "resume_p50_s": 1.5, "resume_max_s": 1.5}
    assert figures["differences"] == [["два -> -"], []]


def test_only_the_first_seconds_are_used() -> None:
    """The audio is cut, and words that end after the cut are dropped."""
    sound, words = cut_to(Sound(np.zeros(16_000, np.int16), 8_000), [TimedWord("а", 0.4), TimedWord("б", 1.2)], 1.0)
    assert (sound.seconds, [word.text for word in words]) == (1.0, ["а"])
    assert cut_to(sound, words, None) == (sound, words)
