"""What a session sends to a recognizer and what it gets back: plain values."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

NO_AUDIO: NDArray[np.float32] = np.zeros(0, np.float32)

Task = Literal["transcribe", "translate"]
"""Write what is said, or say it in English. The words of a translation have approximate times only: they come in
another order than those that were spoken."""


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word, punctuation included.

    ``text`` begins with a space where one belongs in front of it, so the joined texts of all words are the transcript.
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
    """Chosen by the session, which recognises by it the result of a request that is no longer wanted."""
    samples: NDArray[np.float32]
    """float32[n], mono 16 kHz, in [-1, 1]."""
    start: int
    """Position of ``samples[0]`` in the stream."""
    language: str | None
    """ISO 639-1 code of the speech; None: detect it."""
    context: NDArray[np.float32] = field(default_factory=lambda: NO_AUDIO)
    """Earlier speech that the decoder hears before ``samples``, float32[m]; ``context_text`` is its text."""
    context_text: str = ""
    prefix: str = ""
    """Text that is already committed at the beginning of ``samples``. The hypothesis continues it."""
    prompt: str = ""
    """Text that the decoder is given as previous text: names, an example of style."""
    hotwords: tuple[str, ...] = ()
    final: bool = False
    """The utterance pauses or ends with ``samples``: its words will be committed, so accuracy comes before speed."""
    realtime: bool = True
    """Somebody is speaking and waits for the text. False: a file, which can wait."""
    beams: int | None = None
    """Beam width; None: the recognizer's own width for a decode that is ``final``, or is not."""
    task: Task = "transcribe"


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """The words of one decode that follow the request's prefix."""

    request_id: int
    words: tuple[Word, ...]
    language: str | None = None
    """Of the speech, also where the words are a translation."""
    no_speech_probability: float = 0.0
    looped: bool = False
    """The decoder repeated itself, and its text was cut where the repetition began."""


def normalize(text: str) -> str:
    """A word in lower case without punctuation and spaces, for comparison."""
    return "".join(letter for letter in text.lower() if letter.isalnum())
