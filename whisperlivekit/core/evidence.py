"""Whether a whole hypothesis is speech or invention: text that Whisper makes of breath, noise and music."""

import re
from collections.abc import Sequence

from whisperlivekit.core.hypothesis import Word

PHANTOMS = re.compile(
    r"(продолжение следует|субтитры \w+ .*|редактор субтитров .*|корректор .{1,30}|спасибо за просмотр"
    r"|подписывайтесь на (мой |наш )?канал.*|смотрите продолжение .*|до новых встреч|всем пока|dimatorzok.*)"
)
"""Credits and farewells of subtitled videos, which the training data put over silence. Source: reports of users of
Russian Whisper servers."""

SURE_PHANTOM = 0.8
"""Mean word probability from which even a phrase of the list is taken for speech: people do say them."""

SURE_WORD = 0.3
"""Mean word probability below which a hypothesis is doubted."""

NO_SPEECH = 0.6
"""The model's own probability of no speech above which a doubted hypothesis is dropped. Source: Whisper's default."""


def is_speech(words: Sequence[Word], no_speech_probability: float) -> bool:
    """False where the evidence is weak.

    That is a known phantom that the model is not sure of, or improbable words over what it takes for no speech.
    """
    if not words:
        return True
    mean = sum(word.probability for word in words) / len(words)
    text = " ".join(re.findall(r"\w+", "".join(word.text for word in words).lower()))
    if PHANTOMS.fullmatch(text) and (mean < SURE_PHANTOM or no_speech_probability > NO_SPEECH):
        return False
    return mean >= SURE_WORD or no_speech_probability <= NO_SPEECH
