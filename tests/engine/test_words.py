"""Words from aligned tokens."""

from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.core.units import ENCODER_FRAME
from whisperlivekit.engine.words import aligned_words, word_lengths

PIECES = [(" во", 2), ("-первых", 3), (",", 1), (" да", 1), ("!", 1)]
ALIGNMENT = [(0, 10), (0, 11), (1, 12), (2, 15), (3, 17), (4, 18), (5, 20), (6, 30), (6, 31), (7, 40), (8, 50)]
PROBABILITIES = [0.5, 0.7, 0.1, 0.1, 0.1, 0.1, 0.9, 0.1]


def test_pieces_become_words_with_times() -> None:
    """The second half of a compound and punctuation belong to the word before them, which ends where they end."""
    words = aligned_words(PIECES, ALIGNMENT, PROBABILITIES, origin=1_000, audio_end=100_000)
    assert [word.text for word in words] == [" во-первых,", " да!"]
    assert [(word.start - 1_000) / ENCODER_FRAME for word in words] == [10, 30]
    assert [(word.end - 1_000) / ENCODER_FRAME for word in words] == [30, 50]
    assert [round(word.probability, 6) for word in words] == [0.6, 0.9]


def test_no_word_ends_after_the_audio() -> None:
    """The silence that is encoded after the audio has no words."""
    words = aligned_words(PIECES, ALIGNMENT, PROBABILITIES, origin=0, audio_end=25 * ENCODER_FRAME)
    assert [(word.start, word.end) for word in words] == [
        (10 * ENCODER_FRAME, 25 * ENCODER_FRAME),
        (25 * ENCODER_FRAME, 25 * ENCODER_FRAME),
    ]


def test_tokens_without_an_alignment() -> None:
    """They are at the end of what was aligned; no alignment at all is survived."""
    (word,) = aligned_words([(" да", 1)], [], [0.5], origin=7, audio_end=1_000)
    assert (word.start, word.end) == (7, 7)
    first, second = aligned_words([(" да", 1), (" нет", 1)], [(0, 3)], [0.5, 0.5], origin=0, audio_end=10_000)
    assert (first.start, first.end) == (3 * ENCODER_FRAME, 4 * ENCODER_FRAME)
    assert (second.start, second.end) == (4 * ENCODER_FRAME, 4 * ENCODER_FRAME)


pieces = st.lists(st.tuples(st.sampled_from([" а", " бы", "-то", ",", "?!", " ...", "-", "в"]), st.integers(1, 3)))


@given(pieces, st.lists(st.integers(0, 60), max_size=40), st.integers(0, 70))
def test_no_text_is_lost_and_times_are_in_order(
    pieces: list[tuple[str, int]], steps: list[int], audio_frames: int
) -> None:
    """Whatever the alignment: the words' texts are the pieces' texts, no word ends before it starts."""
    tokens = sum(count for _, count in pieces)
    alignment = list(zip(range(tokens + 1), sorted(steps), strict=False))
    words = aligned_words(pieces, alignment, [0.5] * tokens, 0, audio_frames * ENCODER_FRAME)
    assert "".join(word.text for word in words) == "".join(text for text, _ in pieces)
    lengths = word_lengths(pieces)
    assert len(words) == len(lengths)
    assert sum(lengths) == tokens
    assert all(word.start <= word.end <= audio_frames * ENCODER_FRAME for word in words)
