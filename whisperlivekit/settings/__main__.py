"""``python -m whisperlivekit.settings``: prints ``.env.example``, or an ``.env`` that differs from it."""

import sys

from whisperlivekit.settings.declarations import variables
from whisperlivekit.settings.documents import example
from whisperlivekit.settings.wording import hint


def main(arguments: list[str]) -> None:
    """Prints ``.env.example``, or with arguments ``NAME=value`` an ``.env`` that differs from it in these."""
    overrides = dict(argument.split("=", 1) for argument in arguments)
    unknown = [name for name in overrides if name not in variables()]
    if unknown:
        raise SystemExit(f"unknown name {unknown[0]}{hint(unknown[0], variables())}")
    print(example(overrides), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
