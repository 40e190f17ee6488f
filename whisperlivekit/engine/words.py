"""Joins aligned tokens into words with times. Pure functions."""

import re
from collections.abc import Sequence

import numpy as np

from whisperlivekit.core.hypothesis import Word
from whisperlivekit.core.units import ENCODER_FRAME


def aligned_words(
    pieces: Sequence[tuple[str, int]],
    alignment: Sequence[tuple[int, int]],
    probabilities: Sequence[float],
    origin: int,
    audio_end: int,
) -> list[Word]:
    """Words with times in samples of the stream.

    Args:
        pieces: text and number of tokens of each piece that the tokenizer finds.
        alignment: pairs of token and encoder frame, in increasing order, as CTranslate2 gives them.
        probabilities: one for each token.
        origin: position in the stream of encoder frame 0.
        audio_end: position in the stream where the audio ends; no word ends later.
    """
    tokens = sum(count for _, count in pieces)
    # The first encoder frame of each token, and the end of the last one.
    first = np.full(tokens + 1, alignment[-1][1] + 1 if len(alignment) else 0, np.int64)
    for token, frame in reversed(alignment):
        if token <= tokens:
            first[token] = frame
    words: list[Word] = []
    position = 0
    for text, count in pieces:
        end_position = position + count
        start = origin + int(first[position]) * ENCODER_FRAME
        end = min(origin + int(first[end_position]) * ENCODER_FRAME, audio_end)
        probability = float(np.mean(probabilities[position:end_position]))
        position = end_position
        if words and _belongs_to_previous(text):
            last = words[-1]
            words[-1] = Word(last.text + text, last.start, end if text.strip("-") else last.end, last.probability)
        else:
            words.append(Word(text, min(start, end), end, probability))
    return words


def word_lengths(pieces: Sequence[tuple[str, int]]) -> list[int]:
    """The number of tokens of each word that ``aligned_words`` makes of these pieces."""
    lengths: list[int] = []
    for text, count in pieces:
        if lengths and _belongs_to_previous(text):
            lengths[-1] += count
        else:
            lengths.append(count)
    return lengths


def _belongs_to_previous(text: str) -> bool:
    """Punctuation, or the second half of a compound such as "во-первых"."""
    return bool(re.fullmatch(r"[^\w\s]+", text)) or text.startswith("-")
