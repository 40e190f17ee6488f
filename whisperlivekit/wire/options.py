"""Options that several protocols have: their limits, and readers for what clients write in several ways."""

from collections.abc import Iterable

from whisperlivekit.audio.pcm import SAMPLE_RATES
from whisperlivekit.errors import UnsupportedFormat

MAX_HOTWORDS = 100
MAX_HOTWORD = 64
"""Characters of the longest one."""

MAX_PROMPT = 1_000
"""Characters. A model reads fewer, from the end."""


def read_sample_rate(found: object) -> int:
    """A whole number, one with a decimal point, or text: 8000, 48000.0, "16000".

    Raises:
        UnsupportedFormat: it is none of these, or no sample rate that is supported.
    """
    try:
        rate = float(found) if isinstance(found, str | int | float) else 0.0
    except (ValueError, OverflowError):
        rate = 0.0
    if not SAMPLE_RATES[0] <= rate <= SAMPLE_RATES[-1]:
        raise UnsupportedFormat(
            f"sample_rate is {str(found)[:40]}, expected {SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]} samples a second"
        )
    return round(rate)


def read_phrases(found: Iterable[object]) -> tuple[str, ...]:
    """Hotwords of those that are text. A phrase that is too long is a list of words; what is too much is left out."""
    phrases: list[str] = []
    for item in found:
        if isinstance(item, str) and (phrase := item.strip()):
            phrases += [phrase] if len(phrase) <= MAX_HOTWORD else phrase.split()
        if len(phrases) >= MAX_HOTWORDS:
            break
    return tuple(phrase for phrase in phrases if len(phrase) <= MAX_HOTWORD)[:MAX_HOTWORDS]
