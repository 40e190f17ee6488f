"""The documents made from the declarations: ``.env.example`` and the README's table."""

import textwrap
from collections.abc import Mapping

from whisperlivekit.settings.declarations import Settings, variable_of
from whisperlivekit.settings.wording import allowed, text_of


def example(overrides: Mapping[str, str] | None = None) -> str:
    """The text of ``.env.example``: every setting with its meaning, what is allowed, and its default.

    ``overrides``: variable -> value, for an ``.env`` that differs from the defaults in these.
    """
    overrides = overrides or {}
    parts = [
        "# Settings of WhisperLiveKit. Real environment variables override this file.",
        "# Made from whisperlivekit/settings/declarations.py: python -m whisperlivekit.settings > .env.example",
    ]
    section = ""
    for attribute, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra["section"] != section:
            section = str(extra["section"])
            parts += ["", f"# ---- {section} " + "-" * (100 - len(section))]
        variable = variable_of(attribute)
        value = overrides.get(variable, text_of(field.default))
        unset = field.default is None and variable not in overrides
        values = allowed(field)
        parts += ["", *_wrapped(f"{field.description}" + (f" Allowed: {values}." if values != "text" else ""))]
        parts.append(f"# {variable}=" if unset else f"{variable}={value}")
    return "\n".join(parts) + "\n"


def markdown_table() -> str:
    """The settings table of the README."""
    rows = ["| variable | default | allowed | meaning |", "|---|---|---|---|"]
    for attribute, field in Settings.model_fields.items():
        default = text_of(field.default)
        shown = f"`{default}`" if default else "not set"
        rows.append(f"| `{variable_of(attribute)}` | {shown} | {allowed(field)} | {field.description} |")
    return "\n".join(rows) + "\n"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 110, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
