"""A setting in words, for error messages and documents: what is allowed, and which known name was probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from whisperlivekit.settings.declarations import PREFIX


def allowed(field: FieldInfo) -> str:
    """The allowed values of a field, for example "a whole number from 1 to 10"."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and extra["allowed"]:
        return str(extra["allowed"])
    kinds = [kind for kind in get_args(field.annotation) if kind is not type(None)] or [field.annotation]
    if get_origin(field.annotation) is Literal:
        values = [str(value) for value in get_args(field.annotation)]
        return "one of " + ", ".join(values) if len(values) > 1 else values[0]
    names: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", Path: "a path"}
    return names.get(kinds[0], "text") + _bounds(field)


def _bounds(field: FieldInfo) -> str:
    low = high = ""
    for bound in field.metadata:
        match bound:
            case Ge(ge=value):
                low = f" from {value}"
            case Gt(gt=value):
                low = f" above {value}"
            case Le(le=value):
                high = f" to {value}" if low.startswith(" from") else f" up to {value}"
            case Lt(lt=value):
                high = f" and below {value}"
            case _:
                pass
    return low + (high or (" up" if low.startswith(" from") else ""))


def text_of(value: Any) -> str:
    """A value as it is written in ``.env``."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like this one. The prefix does not count, because it makes all names alike."""
    stems = {known_name.removeprefix(PREFIX): known_name for known_name in known}
    close = get_close_matches(name.removeprefix(PREFIX), list(stems), n=1, cutoff=0.6)
    return stems[close[0]] if close else None


def hint(name: str, known: Iterable[str]) -> str:
    """A question to append to an error message; empty if no known name is similar."""
    close = nearest(name, known) or nearest(name.upper(), known)
    return f"; did you mean {close}?" if close else ""
