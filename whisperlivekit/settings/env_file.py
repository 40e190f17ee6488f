"""Reads the settings from the environment and ``.env``, and explains every mistake in them."""

import io
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import ValidationError

from whisperlivekit.engine import models
from whisperlivekit.errors import SettingsError
from whisperlivekit.settings import home as home_folder
from whisperlivekit.settings.declarations import ADDED_MODELS, PREFIX, Settings, variable_of, variables
from whisperlivekit.settings.wording import allowed, hint, nearest
from whisperlivekit.wire.languages import LANGUAGES

_WATCHED_IN_FILE = ("WLK_", "WHISPER_", "FASTER_WHISPER_")
"""An unknown name that begins like this is a mistake. Other names in the file belong to other programs."""

_MEANINGFUL_WHEN_EMPTY = "cuda_visible_devices"
"""For CUDA an empty value hides every GPU. An empty value of any other variable means its default."""

_PATHS = ("ssl_certfile", "ssl_keyfile", "model_dir", "cache_dir", "log_dir")


def load_settings(env_file: Path | None = None, *, any_model: bool = False) -> Settings:
    """Read the settings from the environment and from ``env_file``, which is ``.env`` in the home folder by default.

    A variable of the environment overrides the file. Relative paths are resolved against the folder of the file, and
    the result has absolute paths only. A missing file is the same as an empty one. ``any_model``: accept the name of a
    model that is not there.

    Raises:
        SettingsError: something is wrong; the message lists every problem.
    """
    # A line that is not an assignment is reported below; dotenv would log a warning for it each time the file is read.
    logging.getLogger("dotenv").setLevel(logging.ERROR)
    file = (env_file or default_env_file()).absolute()
    lines, problems = _find_lines(file)
    if env_file is None and not file.parent.is_dir():
        problems.append(f"{home_folder.VARIABLE}={file.parent} (environment): expected the path of a folder")
    problems += _find_unknown_names(lines, os.environ)
    from_file = dotenv_values(file, encoding="utf-8-sig") if lines else {}
    values = _resolve_paths(_to_attributes({**from_file, **os.environ}), file.parent)
    added = _added_models(values) + ((values["model"],) if any_model and "model" in values else ())
    settings, found = _validate(values, lines, added)
    problems += found
    if settings is None or problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        where = f"{file} and the environment" if lines else "the environment"
        raise SettingsError(f"{len(problems)} wrong setting{'s' if len(problems) > 1 else ''} in {where}:\n{listed}")
    return settings


def default_env_file() -> Path:
    """``.env`` in the home folder, whether or not it exists."""
    return home_folder.home() / ".env"


def describe_source() -> str:
    """Where the settings come from, for a person: the file that is read, or where there is none."""
    file = default_env_file()
    if file.exists():
        return f"{file} and the environment"
    return f"the environment and the defaults; there is no {file}"


def value_problem(variable: str, value: str) -> str:
    """What is expected instead of this value of a known variable; empty if the value is allowed."""
    attribute = variables()[variable]
    values = _to_attributes({variable: value})
    added = _added_models(_resolve_paths(values, default_env_file().parent))
    try:
        Settings.model_validate(values, context={ADDED_MODELS: added})
    except ValidationError as found:
        for error in found.errors():
            if error["loc"] and error["loc"][0] == attribute:
                return f"expected {_expected(attribute, error, added)}"
    return ""


def read_env_lines(env_file: Path) -> Iterator[tuple[int, str | None, str | None]]:
    """(line number, name, value) of every assignment in the file. Name None: the line, given as value, is not one.

    Raises:
        SettingsError: the file cannot be read as text.
    """
    try:
        text = env_file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {env_file}: {error}; expected a text file in UTF-8") from error
    for binding in parse_stream(io.StringIO(text)):
        original = binding.original.string
        leading = len(original) - len(original.lstrip("\n\r"))
        line = binding.original.line + original[:leading].count("\n")
        if binding.error or (binding.key is not None and binding.value is None):
            yield line, None, original.strip()
        elif binding.key is not None:
            yield line, binding.key, binding.value


def _find_lines(env_file: Path) -> tuple[dict[str, int], list[str]]:
    """Name -> line in the file, and the problems of form."""
    lines: dict[str, int] = {}
    problems: list[str] = []
    if not env_file.exists():
        return lines, problems
    for line, name, text in read_env_lines(env_file):
        if name is None:
            problems.append(f"line {line} of {env_file}: found {text!r}, expected NAME=value")
            continue
        if name in lines:
            problems.append(f"{name} is set twice in {env_file}, in lines {lines[name]} and {line}: remove one")
        lines[name] = line
    return lines, problems


def _find_unknown_names(lines: Mapping[str, int], environment: Mapping[str, str]) -> list[str]:
    known = variables()
    attributes = {attribute: variable for variable, attribute in known.items()}
    problems = []
    for name, line in lines.items():
        if name == home_folder.VARIABLE:
            problems.append(f"{name} (line {line}): expected in the environment only, because it says where .env is")
        elif name in attributes:  # "beams=7": an attribute of Settings, but not the name of a variable
            problems.append(f"{name} (line {line}): unknown name; did you mean {attributes[name]}?")
        elif name not in known and name.upper().startswith(_WATCHED_IN_FILE):
            problems.append(f"{name} (line {line}): unknown name{hint(name, known)}")
    return problems + [
        f"{name} (environment): unknown name{hint(name, known)}"
        for name in environment
        if name not in known and name != home_folder.VARIABLE and name.upper().startswith(PREFIX)
    ]


def _to_attributes(values: Mapping[str, str | None]) -> dict[str, Any]:
    """Attribute -> text, of those variables that are settings and are set."""
    return {
        attribute: values[variable]
        for variable, attribute in variables().items()
        if values.get(variable) is not None and (values[variable] or attribute == _MEANINGFUL_WHEN_EMPTY)
    }


def _resolve_paths(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same with absolute paths, also where a default is one."""
    resolved = dict(values)
    for attribute in _PATHS:
        path = values.get(attribute, Settings.model_fields[attribute].default)
        if path is not None:
            resolved[attribute] = folder / path
    if "/" in values.get("model", ""):
        resolved["model"] = str(folder / values["model"])
    return resolved


def _added_models(values: Mapping[str, Any]) -> tuple[str, ...]:
    return models.added_names(Path(values["model_dir"]))


def _validate(
    values: dict[str, Any], lines: Mapping[str, int], added: tuple[str, ...]
) -> tuple[Settings | None, list[str]]:
    """The settings, or every wrong value and contradiction.

    Contradictions are only looked for among valid values, so a second attempt leaves the wrong ones out.
    """
    try:
        return Settings.model_validate(values, context={ADDED_MODELS: added}), []
    except ValidationError as first:
        # A value that may be a number or a word has an error for each of the two: the first one is enough.
        errors = {str(error["loc"][0]): error for error in reversed(first.errors()) if error["loc"]}
    problems = [
        _problem(attribute, errors[attribute], lines, added)
        for attribute in Settings.model_fields
        if attribute in errors
    ]
    try:
        rest = {attribute: value for attribute, value in values.items() if attribute not in errors}
        Settings.model_validate(rest, context={ADDED_MODELS: added})
    except ValidationError as second:
        for error in second.errors():
            problems += str(error["ctx"]["error"]).splitlines()
    return None, problems


def _problem(attribute: str, error: Any, lines: Mapping[str, int], added: tuple[str, ...]) -> str:
    """One wrong value: the variable, the value, where it is set, and what is allowed."""
    variable = variable_of(attribute)
    where = "environment" if variable in os.environ else f"line {lines.get(variable, '?')}"
    value = "..." if attribute in Settings.secret else str(error["input"])
    return f"{variable}={value} ({where}): expected {_expected(attribute, error, added)}"


def _expected(attribute: str, error: Any, added: tuple[str, ...]) -> str:
    ours = error["type"] == "value_error"  # raised by a validator of Settings, which knows the reason
    expected = str(error["ctx"]["error"]) if ours else allowed(Settings.model_fields[attribute])
    return expected + _value_hint(attribute, str(error["input"]), added)


def _value_hint(attribute: str, value: str, added: tuple[str, ...]) -> str:
    """The model or the language that was probably meant."""
    match attribute:
        case "model":
            return hint(value, (*models.NAMES, *added))
        case "language":
            close = nearest(value, LANGUAGES.values())
            return f"; did you mean {next(code for code, name in LANGUAGES.items() if name == close)}?" if close else ""
        case _:
            return ""
