"""Writes the documents that are made from the declarations: ``.env.example`` and the table in the README."""

import textwrap
from collections.abc import Mapping

from whisperlivekit.settings.declarations import Settings, variable_of
from whisperlivekit.settings.wording import allowed, text_of

_HEAD = (
    "# Settings of WhisperLiveKit. Variables of the environment override this file.",
    "# The server and all commands read the file .env in the folder of the checkout, wherever they are started.",
    "# Without a checkout (pip install) they read it in the current folder. The environment variable WLK_HOME, which",
    "# is not allowed in this file, names another folder. Relative paths are relative to the folder of this file.",
    "# Generated from whisperlivekit/settings/declarations.py: python -m whisperlivekit.settings > .env.example",
)


def example(overrides: Mapping[str, str] | None = None) -> str:
    """The text of ``.env.example``: every setting with its meaning, the allowed values and its default.

    ``overrides``: variable -> value, for an ``.env`` that has other values than the defaults.
    """
    overrides = overrides or {}
    parts = list(_HEAD)
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
        parts += ["", *_wrap(f"{field.description}" + (f" Allowed: {values}." if values != "text" else ""))]
        parts.append(f"# {variable}=" if unset else f"{variable}={value}")
    return "\n".join(parts) + "\n"


def markdown_table() -> str:
    """The table of the settings in the README."""
    rows = ["| variable | default | allowed | meaning |", "|---|---|---|---|"]
    for attribute, field in Settings.model_fields.items():
        default = text_of(field.default)
        shown = f"`{default}`" if default else "not set"
        rows.append(f"| `{variable_of(attribute)}` | {shown} | {allowed(field)} | {field.description} |")
    return "\n".join(rows) + "\n"


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, 110, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
