"""Finds text that was not said: what Whisper outputs for noise and silence, or by repeating its own words."""

import re
from collections.abc import Sequence
from itertools import zip_longest

from whisperlivekit.core.hypothesis import Word, normalize
from whisperlivekit.core.units import SAMPLE_RATE

HALLUCINATIONS = re.compile(
    r"(продолжение следует|субтитры \w+ .*|редактор субтитров .*|корректор .{1,30}|спасибо за просмотр"
    r"|подписывайтесь на (мой |наш )?канал.*|смотрите продолжение .*|до новых встреч|всем пока|dimatorzok.*"
    r"|to be continued|subscribe( to (the|my|our) channel)?|thank(s| you)( so much)? for watching.*"
    r"|the end( of the video)?|i ll be back soon.*)"
)
"""Typical hallucinations: credits and farewells of subtitled videos, which stand over silence in Whisper's training
data. Source: reports of users of Russian Whisper servers. The English ones are what base wrote when it was asked to
translate 60 pieces of noise: without them 44 counted as speech, with them 1."""

_MAKERS = ("а", "делал", "и", "корректор", "подготовил", "редактор", "сделал", "создавал")
CREDITS = {("редактор", "субтитров"), *(("субтитры", maker) for maker in _MAKERS)}
"""How subtitle credits begin, as pairs of words. They also occur in the middle of an utterance, and then go on for as
long as the noise does."""

MIN_LISTED_PROBABILITY = 0.8
"""Mean word probability from which on even a phrase of the list counts as speech: people do say such things."""

MIN_PROBABILITY = 0.3
"""Mean word probability below which a hypothesis may be dropped."""

MAX_NO_SPEECH = 0.6
"""The model's probability of no speech above which such a hypothesis is dropped. Source: Whisper's default."""

LOOP_COPIES = 3
MAX_LOOP_WORDS = 10
"""A loop is at least 3 copies of the same 1 to 10 words in a row. The first copy may be in the text that the decoder
was given. Two copies are kept: people do say things twice."""

ECHO_S = 0.1
"""The longest time per word of an echo, a second copy that was not spoken: alignment finds no room for it in the audio.
Not tuned: the echoes that were seen took 0 to 0.1 s per word, and fast speech takes 0.2 s (five words per second)."""


def is_speech(words: Sequence[Word], no_speech_probability: float) -> bool:
    """False if a whole hypothesis is probably a hallucination.

    That is a phrase of the list of which the model is not sure, or improbable words in audio that it takes for silence.
    """
    if not words:
        return True
    mean = _mean(words)
    text = " ".join(re.findall(r"\w+", "".join(word.text for word in words).lower()))
    if HALLUCINATIONS.fullmatch(text) and (mean < MIN_LISTED_PROBABILITY or no_speech_probability > MAX_NO_SPEECH):
        return False
    return mean >= MIN_PROBABILITY or no_speech_probability <= MAX_NO_SPEECH


def count_spoken(given: Sequence[str], words: Sequence[Word], *, final: bool) -> int:
    """How many of the first ``words`` were probably said; the words after them are invented.

    Invented are a loop, an echo (the last words once more, in almost no time), and subtitle credits of which the model
    is not sure. ``given``: the normalized words that the decoder was given. Unless the hypothesis is ``final``, a last
    word that may be the beginning of credits does not count yet.
    """
    texts = [normalize(word.text) for word in words]
    count = _before_credits(words, texts, final=final)
    return _before_repetition(given, words[:count], texts[:count])


def _before_repetition(given: Sequence[str], words: Sequence[Word], texts: Sequence[str]) -> int:
    everything = [*given, *texts]
    for length in range(1, MAX_LOOP_WORDS + 1) if words else ():
        copies = _copies(everything, length)
        if copies >= LOOP_COPIES:
            return max(0, len(words) - length * (copies - 1))
        if copies > 1 and length <= len(words):
            took = words[-1].end - words[-length].start
            if took <= length * ECHO_S * SAMPLE_RATE:
                return len(words) - length
    return len(words)


def _copies(texts: Sequence[str], length: int) -> int:
    """How many times the last ``length`` of ``texts`` stand at its end, one copy after the other."""
    unit = texts[-length:]
    copies = 1
    while texts[-length * (copies + 1) : -length * copies] == unit:
        copies += 1
    return copies


def _before_credits(words: Sequence[Word], texts: Sequence[str], *, final: bool) -> int:
    for index, (text, following) in enumerate(zip_longest(texts, texts[1:])):
        begun = following is None and not final and any(text == first for first, _ in CREDITS)
        if (begun or (text, following) in CREDITS) and _mean(words[index:]) < MIN_LISTED_PROBABILITY:
            return index
    return len(words)


def _mean(words: Sequence[Word]) -> float:
    return sum(word.probability for word in words) / len(words)
