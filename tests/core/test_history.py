"""Tests of what the decoder hears again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.core.history import LONGEST_PAUSE_S, SURE, History
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.core.timeline import Timeline
from whisperlivekit.core.units import ENCODER_FRAME, SAMPLE_RATE, to_samples

LENGTH = 60 * SAMPLE_RATE


def timeline(start: int = 0) -> Timeline:
    """A minute of audio in which each sample is its own position."""
    audio = Timeline(start)
    audio.append(np.arange(start, LENGTH, dtype=np.float32))
    return audio


def words(*texts: str, start: int = 0, probability: float = 0.9) -> list[Word]:
    """Words of half a second, one after the other."""
    half = SAMPLE_RATE // 2
    return [Word(f" {text}", start + at * half, start + (at + 1) * half, probability) for at, text in enumerate(texts)]


def test_sure_words_are_remembered_with_their_audio() -> None:
    """The context is the whole utterance, up to its end."""
    history = History(12, 2.5)
    history.add(words("добрый", "день"), 0, 20_000, timeline())
    context = history.before(24_000, short=False)
    assert context is not None
    assert context.text == " добрый день"
    assert context.samples[-1] == 19_999
    assert len(context.samples) == 20_000 // ENCODER_FRAME * ENCODER_FRAME


@pytest.mark.parametrize("why", ["improbable", "no time"])
def test_doubtful_words_are_not_remembered(why: str) -> None:
    """Neither their text nor their audio is heard again, and nothing of one or two words beside them is."""
    said = words("раз", "два", "три", "четыре", "пять", "шесть")
    doubtful = said[2]
    if why == "improbable":
        said[2] = Word(doubtful.text, doubtful.start, doubtful.end, SURE - 0.01)
    else:
        said[2] = Word(doubtful.text, doubtful.end - 300, doubtful.end, 0.9)
    history = History(12, 2.5)
    history.add(said, 0, said[-1].end, timeline())
    context = history.before(said[-1].end, short=False)
    assert context is not None
    assert context.text == " четыре пять шесть"
    assert said[3].start <= context.samples[0] < said[3].start + ENCODER_FRAME


def test_one_sure_word_alone_is_remembered() -> None:
    """A whole utterance may be one word."""
    history = History(12, 2.5)
    history.add(words("да"), 0, 8_000, timeline())
    context = history.before(8_000, short=False)
    assert context is not None
    assert context.text == " да"


def test_a_word_is_not_heard_twice_in_a_row() -> None:
    """The context begins with the second copy, also where the first one ends another utterance."""
    history = History(12, 2.5)
    history.add(words("ну", "да"), 0, 16_000, timeline())
    history.add(words("да", "конечно", start=20_000), 20_000, 36_000, timeline())
    context = history.before(36_000, short=False)
    assert context is not None
    assert context.text == " да конечно"


def test_a_dash_does_not_end_the_memory() -> None:
    """It has no letters, so it repeats nothing."""
    history = History(12, 2.5)
    history.add(words("Москва", "столица", "—"), 0, 24_000, timeline())
    context = history.before(24_000, short=False)
    assert context is not None
    assert context.text == " Москва столица —"


def test_the_context_does_not_end_with_the_word_that_follows() -> None:
    """The decoder would hear and read it twice in a row."""
    history = History(12, 2.5)
    history.add(words("ну", "да"), 0, 16_000, timeline())
    assert history.before(16_000, short=False, following=" Да,") is None
    assert history.before(16_000, short=False, following=" нет") is not None


def test_a_word_whose_audio_is_gone_is_not_remembered() -> None:
    """A resumed stream brings words that were said before its audio begins."""
    history = History(12, 2.5)
    history.add(words("раз"), 0, 9_000, timeline(7_900))
    assert history.before(9_000, short=False) is None


def test_a_context_never_holds_the_same_two_words_twice() -> None:
    """It begins after the first copy: a decoder that reads a phrase twice goes on repeating it."""
    said = words("нажмите", "один", "или", "нажмите", "один", "чтобы")
    history = History(12, 2.5)
    history.add(said, 0, said[-1].end, timeline())
    context = history.before(said[-1].end, short=False)
    assert context is not None
    assert context.text == " один или нажмите один чтобы"


def test_nothing_from_before_a_long_pause() -> None:
    """Somebody else may speak by then."""
    history = History(12, 2.5)
    history.add(words("раз"), 0, 16_000, timeline())
    pause = to_samples(LONGEST_PAUSE_S)
    assert history.before(16_000 + pause, short=False) is not None
    assert history.before(16_001 + pause, short=False) is None


def test_a_memory_of_no_length_remembers_nothing() -> None:
    """The setting switches the memory off."""
    history = History(0, 3)
    history.add(words("раз"), 0, 16_000, timeline())
    assert history.before(16_000, short=False) is None


def test_a_shorter_context_holds_the_latest_words() -> None:
    """Only whole words, and never more than was asked for."""
    history = History(12, 2.5)
    audio = timeline()
    for second in range(5):
        history.add(words(f"слово{second}", start=second * 16_000), second * 16_000, (second + 1) * 16_000, audio)
    context = history.before(80_000, short=True)
    assert context is not None
    assert context.text == " слово3 слово4"


@given(
    st.lists(st.tuples(st.integers(0, 40_000), st.integers(1, 200_000), st.floats(0, 1)), max_size=12),
    st.floats(0, 20),
    st.floats(0, 20),
    st.integers(0, LENGTH),
    st.booleans(),
)
def test_whatever_is_added_the_context_is_short_and_in_order(
    utterances: list[tuple[int, int, float]], longest_s: float, short_s: float, dropped: int, short: bool
) -> None:
    """Any words, also ones whose audio was dropped: the context is never longer than allowed, consists of whole encoder
    frames in the order of the stream, and lies before the position that was asked for.
    """
    history = History(longest_s, short_s)
    audio = timeline(dropped)
    position = 0
    for pause, length, probability in utterances:
        start, position = position + pause, min(position + pause + length, LENGTH)
        if start >= position:
            break
        count = max(1, (position - start) // 8_000)
        said = words(*map(str, range(count)), start=start, probability=probability)
        history.add([Word(w.text, w.start, min(w.end, position), w.probability) for w in said], start, position, audio)
        context = history.before(position, short=short)
        if context is not None:
            assert 0 < len(context.samples) <= to_samples(min(longest_s, short_s) if short else longest_s)
            assert len(context.samples) % ENCODER_FRAME == 0
            assert np.all(np.diff(context.samples) > 0)
            assert context.samples[0] >= dropped
            assert context.samples[-1] < position
            assert context.text.strip()
