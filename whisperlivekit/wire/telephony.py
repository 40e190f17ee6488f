"""What the adapters for telephone switches have in common."""

import json
from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json

from whisperlivekit.core.hypothesis import Word

_DECODER = json.JSONDecoder()


def objects(text: str) -> list[dict[str, Any]]:
    """The JSON objects in a text frame: the modules of FreeSWITCH join texts that wait to be sent into one frame. Empty
    if the frame holds anything else.
    """
    found = []
    at = 0
    text = text.strip()
    while at < len(text):
        try:
            _, end = _DECODER.raw_decode(text, at)
            value = from_json(text[at:end], allow_inf_nan=False)  # stricter: it takes no halves of characters
        except (ValueError, RecursionError):
            return []
        if not isinstance(value, dict):
            return []
        found.append(value)
        at = end + len(text[end:]) - len(text[end:].lstrip())
    return found


def confidence(words: Sequence[Word]) -> float:
    """Mean probability of the words, 0 to 1."""
    return round(sum(word.probability for word in words) / len(words), 3) if words else 0.0
