"""Reads the settings from the environment and ``.env``, and explains every mistake in them."""

import io
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream
from pydantic import ValidationError

from whisperlivekit.engine import models
from whisperlivekit.errors import SettingsError
from whisperlivekit.settings.declarations import PREFIX, Settings, variable_of, variables
from whisperlivekit.settings.wording import allowed, hint, nearest
from whisperlivekit.wire.languages import LANGUAGES

_WATCHED_IN_FILE = ("WLK_", "WHISPER_", "FASTER_WHISPER_")
"""Names with these beginnings are ours: one that is not known is a mistake. Other names in the file are left alone."""


def load_settings(env_file: Path | None = Path(".env")) -> Settings:
    """The settings of the environment and, below it, of ``env_file``; a file that is not there is an empty one.

    Raises:
        SettingsError: something is wrong; the message lists every problem.
    """
    # A line that is no assignment is listed below with the rest; dotenv would also log a warning for each reading.
    logging.getLogger("dotenv").setLevel(logging.ERROR)
    lines, problems = _read(env_file)
    problems += _unknown(lines, os.environ)
    settings, found = _validate(env_file if lines else None, lines)
    problems += found
    if settings is None or problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        where = f"{env_file} and the environment" if lines else "the environment"
        raise SettingsError(f"{len(problems)} wrong setting{'s' if len(problems) > 1 else ''} in {where}:\n{listed}")
    return settings


def value_problem(variable: str, value: str) -> str:
    """What is allowed instead of this value of a known variable; empty if it is a good one."""
    alone: dict[str, Any] = {variable: value}
    try:
        Settings(_env_file=None, **alone)
    except ValidationError as found:
        for error in found.errors():
            if error["loc"] and error["loc"][0] == variable:
                return f"expected {_expected(variables()[variable], error)}"
    return ""


def read_env_lines(env_file: Path) -> Iterator[tuple[int, str | None, str | None]]:
    """(line number, name, value) of every assignment in the file; name None: the line is not an assignment.

    Raises:
        SettingsError: the file cannot be read as text.
    """
    try:
        text = env_file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {env_file}: {error}; expected a text file in UTF-8") from error
    for binding in parse_stream(io.StringIO(text)):
        leading = len(binding.original.string) - len(binding.original.string.lstrip("\n\r"))
        line = binding.original.line + binding.original.string[:leading].count("\n")
        if binding.error:
            yield line, None, binding.original.string.strip()
        elif binding.key is not None:
            yield line, binding.key, binding.value


def _read(env_file: Path | None) -> tuple[dict[str, int], list[str]]:
    """Name -> line of the file, and what is wrong with its form."""
    lines: dict[str, int] = {}
    problems: list[str] = []
    if env_file is None or not env_file.exists():
        return lines, problems
    for line, name, text in read_env_lines(env_file):
        if name is None:
            problems.append(f"line {line} of {env_file}: found {text!r}, expected NAME=value")
            continue
        if name in lines:
            problems.append(f"{name} stands twice in {env_file}, in lines {lines[name]} and {line}: remove one")
        lines[name] = line
    return lines, problems


def _unknown(lines: Mapping[str, int], environment: Mapping[str, str]) -> list[str]:
    known = list(variables())
    problems = []
    for name, line in lines.items():
        if name not in known and name.upper().startswith(_WATCHED_IN_FILE):
            problems.append(f"{name} (line {line}): unknown name{hint(name, known)}")
    return problems + [
        f"{name} (environment): unknown name{hint(name, known)}"
        for name in environment
        if name not in known and name.startswith(PREFIX)
    ]


def _validate(env_file: Path | None, lines: Mapping[str, int]) -> tuple[Settings | None, list[str]]:
    """The settings, or every wrong value and contradiction.

    Contradictions are looked for only among valid values, so a second attempt leaves the wrong ones out.
    """
    try:
        return Settings(_env_file=env_file), []
    except ValidationError as first:
        errors = first.errors()
    attributes = variables()
    problems = []
    replaced: dict[str, Any] = {}
    for error in errors:
        if not error["loc"]:
            continue
        variable = str(error["loc"][0])
        attribute = attributes.get(variable, variable)
        problems.append(_problem(attribute, error, lines))
        replaced[attribute] = Settings.model_fields[attribute].default
    try:
        Settings(_env_file=env_file, **replaced)
    except ValidationError as second:
        for error in second.errors():
            problems += str(error["ctx"]["error"]).splitlines()
    return None, problems


def _problem(attribute: str, error: Any, lines: Mapping[str, int]) -> str:
    """One wrong value: variable, value, where it stands, what is allowed."""
    variable = variable_of(attribute)
    where = "environment" if variable in os.environ else f"line {lines.get(variable, '?')}"
    value = "..." if attribute in Settings.secret else str(error["input"])
    return f"{variable}={value} ({where}): expected {_expected(attribute, error)}"


def _expected(attribute: str, error: Any) -> str:
    own = error["type"] == "value_error"  # raised by a validator of ours, in our words
    expected = str(error["ctx"]["error"]) if own else allowed(Settings.model_fields[attribute])
    return expected + _value_hint(attribute, str(error["input"]))


def _value_hint(attribute: str, value: str) -> str:
    """The model or language that was probably meant."""
    match attribute:
        case "model":
            return hint(value, models.NAMES)
        case "language":
            close = nearest(value, LANGUAGES.values())
            return f"; did you mean {next(code for code, name in LANGUAGES.items() if name == close)}?" if close else ""
        case _:
            return ""
