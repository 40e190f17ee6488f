"""Subtitle files."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.core.hypothesis import Word
from whisperlivekit.core.units import to_samples
from whisperlivekit.wire.subtitles import FORMATS, MAX_CUE_CHARACTERS, as_json, srt, text, vtt


def word(content: str, start_s: float, end_s: float) -> Word:
    return Word(content, to_samples(start_s), to_samples(end_s), 0.875)


HELLO = [word(" Привет,", 0.5, 1.0), word(" мир.", 1.0, 1.75)]
LATER = [word(" Один", 3661.001, 3661.5), word(" & <два>", 3661.5, 3662.0)]


def test_a_long_pause_begins_a_new_line() -> None:
    """Plain text has one line for each stretch of speech."""
    assert text([*HELLO, *LATER]) == "Привет, мир.\nОдин & <два>\n"


def test_srt() -> None:
    """Numbered cues, times with a comma, also beyond an hour; markup characters stay."""
    assert srt([*HELLO, *LATER]) == (
        "1\n00:00:00,500 --> 00:00:01,750\nПривет, мир.\n\n"
        "2\n01:01:01,001 --> 01:01:02,000\nОдин & <два>\n\n"
    )  # fmt: skip


def test_vtt_escapes_markup() -> None:
    """WebVTT has markup, so that "<" in a text must be escaped."""
    assert vtt(LATER) == "WEBVTT\n\n01:01:01.001 --> 01:01:02.000\nОдин &amp; &lt;два&gt;\n\n"


def test_json_has_text_and_times() -> None:
    """The joined text, and each word without spaces, with its times in seconds."""
    assert json.loads(as_json(HELLO)) == {
        "text": "Привет, мир.",
        "words": [
            {"text": "Привет,", "start": 0.5, "end": 1.0, "probability": 0.875},
            {"text": "мир.", "start": 1.0, "end": 1.75, "probability": 0.875},
        ],
    }


def test_a_cue_ends_with_its_sentence() -> None:
    """A sentence that is long enough gets a cue of its own, without a pause after it."""
    follows = [word(" Ещё", 1.8, 2.0), word(" слово.", 2.0, 2.5)]
    assert srt([*HELLO, *follows]).count("-->") == 2


def test_a_cue_can_be_read_at_once() -> None:
    """A cue has at most two lines of text, and no word is lost between cues."""
    many = [word(f" слово{n}", n * 0.2, n * 0.2 + 0.2) for n in range(100)]
    cues = [block.split("\n") for block in srt(many).strip().split("\n\n")]
    assert all(len(cue[2]) <= MAX_CUE_CHARACTERS for cue in cues)
    assert " ".join(cue[2] for cue in cues) == "".join(w.text for w in many).strip()


@pytest.mark.parametrize("name", FORMATS)
def test_silence_is_an_empty_file_of_its_format(name: str) -> None:
    """No words give a valid file without cues."""
    assert FORMATS[name]([]) == {
        "txt": "", "srt": "", "vtt": "WEBVTT\n\n", "json": '{\n "text": "",\n "words": []\n}\n'
    }[name]  # fmt: skip


QUESTION = [word(" Алло,", 0.5, 1.0), word(" Максим?", 1.0, 1.5), word(" Едешь?", 6.0, 6.5)]
ANSWER = [word(" Да.", 1.4, 1.8), word(" Сейчас.", 7.0, 7.5)]


def test_a_dialogue_names_its_speakers() -> None:
    """Each part has the number of its speaker, and parts come in the order in which they begin."""
    assert text(QUESTION, ANSWER) == "1: Алло, Максим?\n2: Да.\n1: Едешь?\n2: Сейчас.\n"
    assert srt(QUESTION, ANSWER).startswith(
        "1\n00:00:00,500 --> 00:00:01,500\n1: Алло, Максим?\n\n2\n00:00:01,400 --> 00:00:01,800\n2: Да.\n\n"
    )
    assert vtt(QUESTION[:2], ANSWER[:1]) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.500\n1: Алло, Максим?\n\n00:00:01.400 --> 00:00:01.800\n2: Да.\n\n"
    )
    told = json.loads(as_json(QUESTION, ANSWER))
    assert told["text"] == text(QUESTION, ANSWER).strip()
    assert [(found["text"], found["channel"]) for found in told["words"]] == [
        ("Алло,", 0), ("Максим?", 0), ("Да.", 1), ("Едешь?", 0), ("Сейчас.", 1)
    ]  # fmt: skip


def test_a_speaker_who_says_nothing_is_not_in_the_dialogue() -> None:
    """The other one keeps his number."""
    assert text([], ANSWER) == "2: Да.\n2: Сейчас.\n"
    assert text([], []) == srt([], []) == ""
    assert json.loads(as_json([], [])) == {"text": "", "words": []}


_channel = st.lists(st.integers(1, 60), max_size=30).map(
    lambda steps: [word(f" с{end}", (end - 1) / 4, end / 4) for end in np.cumsum(steps).tolist()]
)


@given(_channel, _channel)
def test_no_word_of_a_dialogue_is_lost(first: list[Word], second: list[Word]) -> None:
    """Every word is in the text once, under its speaker, and the words of each speaker are in order."""
    lines = text(first, second).splitlines()
    for label, words in (("1: ", first), ("2: ", second)):
        said = [line.removeprefix(label) for line in lines if line.startswith(label)]
        assert " ".join(said).split() == [each.text.strip() for each in words]
