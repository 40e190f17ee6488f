"""What of a hypothesis is speech and what is invention: text that Whisper makes of noise, or of its own words."""

import re
from collections.abc import Sequence
from itertools import zip_longest

from whisperlivekit.core.hypothesis import Word, bare
from whisperlivekit.core.units import SAMPLE_RATE

PHANTOMS = re.compile(
    r"(продолжение следует|субтитры \w+ .*|редактор субтитров .*|корректор .{1,30}|спасибо за просмотр"
    r"|подписывайтесь на (мой |наш )?канал.*|смотрите продолжение .*|до новых встреч|всем пока|dimatorzok.*)"
)
"""Credits and farewells of subtitled videos, which the training data put over silence. Source: reports of users of
Russian Whisper servers."""

_MAKERS = ("а", "делал", "и", "корректор", "подготовил", "редактор", "сделал", "создавал")
CREDITS = {("редактор", "субтитров"), *(("субтитры", maker) for maker in _MAKERS)}
"""How credits begin. They come in the middle of an utterance too, and go on for as long as the noise does."""

SURE_PHANTOM = 0.8
"""Mean word probability from which even a phrase of the list is taken for speech: people do say them."""

SURE_WORD = 0.3
"""Mean word probability below which a hypothesis is doubted."""

NO_SPEECH = 0.6
"""The model's own probability of no speech above which a doubted hypothesis is dropped. Source: Whisper's default."""

LOOP_COPIES = 3
MAX_LOOP_WORDS = 10
"""At least 3 copies of the same 1 to 10 words are a loop, wherever the first is; what people say twice stays."""

ECHO_S = 0.1
"""The longest that each word of a second copy takes if it was not spoken: alignment finds no room for it. Not tuned:
the echoes that were seen took 0 to 0.1 s, and five words a second is fast speech."""


def is_speech(words: Sequence[Word], no_speech_probability: float) -> bool:
    """False where the evidence for a whole hypothesis is weak.

    That is a known phantom that the model is not sure of, or improbable words over what it takes for no speech.
    """
    if not words:
        return True
    mean = _mean(words)
    text = " ".join(re.findall(r"\w+", "".join(word.text for word in words).lower()))
    if PHANTOMS.fullmatch(text) and (mean < SURE_PHANTOM or no_speech_probability > NO_SPEECH):
        return False
    return mean >= SURE_WORD or no_speech_probability <= NO_SPEECH


def count_spoken(before: Sequence[str], words: Sequence[Word], *, final: bool) -> int:
    """How many of the first ``words`` come before what the words alone show to be invented.

    That is a loop; an echo, which is the last words once more in no time; or credits that the model is not sure of.
    ``before``: the words, bare, that the decoder was given. Unless the hypothesis is ``final``, a last word that may be
    the beginning of credits does not count yet.
    """
    texts = [bare(word.text) for word in words]
    count = _before_credits(words, texts, final=final)
    return _before_repetition(before, words[:count], texts[:count])


def _before_repetition(before: Sequence[str], words: Sequence[Word], texts: Sequence[str]) -> int:
    everything = [*before, *texts]
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
    """How often the last ``length`` of ``texts`` follow each other at the end of it."""
    unit = texts[-length:]
    copies = 1
    while texts[-length * (copies + 1) : -length * copies] == unit:
        copies += 1
    return copies


def _before_credits(words: Sequence[Word], texts: Sequence[str], *, final: bool) -> int:
    for index, (text, following) in enumerate(zip_longest(texts, texts[1:])):
        begun = following is None and not final and any(text == first for first, _ in CREDITS)
        if (begun or (text, following) in CREDITS) and _mean(words[index:]) < SURE_PHANTOM:
            return index
    return len(words)


def _mean(words: Sequence[Word]) -> float:
    return sum(word.probability for word in words) / len(words)
