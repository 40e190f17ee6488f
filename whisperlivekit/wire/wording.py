"""Words for error messages to clients."""

import json


def describe_value(found: object, *, quote: bool = True) -> str:
    """A value that a client sent, short enough for an error message.

    quote: False for what people said, of which only the length is told.
    """
    match found:
        case dict():
            return "an object"
        case list():
            return f"a list of {len(found)}"
        case str() if not quote or len(found) > 40:
            return f"text of {len(found)} characters"
        case _:
            shown = json.dumps(found, ensure_ascii=False)
            return shown if len(shown) <= 60 else f"{shown[:40]}..."
