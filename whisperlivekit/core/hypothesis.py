"""What goes to a recognizer and what comes back: plain values."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word, punctuation included.

    ``text`` begins with a space where one belongs before it, so that joining the texts of words gives the transcript.
    """

    text: str
    start: int
    """First sample, counted from the beginning of the stream."""
    end: int
    probability: float
    """Mean probability of the word's tokens, 0 to 1."""


@dataclass(frozen=True, slots=True)
class DecodeRequest:
    """One piece of audio to be decoded."""

    id: int
    """Chosen by the session; the result of a request that is no longer wanted is recognised by it."""
    samples: NDArray[np.float32]
    """float32[n], mono 16 kHz, in [-1, 1]."""
    start: int
    """Position of ``samples[0]`` in the stream."""
    language: str | None
    """ISO 639-1 code; None: detect it."""
    context: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    """Earlier speech to be heard before ``samples``, float32[m]; ``context_text`` is what it says."""
    context_text: str = ""
    prefix: str = ""
    """Text already committed within ``samples``; the hypothesis continues it."""
    prompt: str = ""
    """Earlier text or a style example: given to the decoder as previous text."""
    hotwords: tuple[str, ...] = ()
    final: bool = False
    """The utterance ends with ``samples``: everything will be committed, so accuracy comes before speed."""
    realtime: bool = True
    """Somebody waits while they speak; False: a file, which can wait."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One decode's words after the request's prefix."""

    request_id: int
    words: tuple[Word, ...]
    language: str | None = None
    no_speech_probability: float = 0.0
    looped: bool = False
    """The decoder repeated itself and its text was cut where the repetition began."""
    prefix_words: tuple[Word, ...] = field(default=())
    """The prefix with times newly measured, where the recognizer measured them."""


def bare(text: str) -> str:
    """A word without case and punctuation, for comparison."""
    return "".join(letter for letter in text.lower() if letter.isalnum())
