"""``python -m whisperlivekit.settings [NAME=value ...]``: prints ``.env.example``, with other values where given."""

import sys

from whisperlivekit.settings.declarations import variables
from whisperlivekit.settings.documents import example
from whisperlivekit.settings.wording import hint


def main(arguments: list[str]) -> None:
    """Print the file, or end the program with an error message if a name is unknown."""
    overrides = dict(argument.split("=", 1) for argument in arguments)
    unknown = [name for name in overrides if name not in variables()]
    if unknown:
        raise SystemExit(f"unknown name {unknown[0]}{hint(unknown[0], variables())}")
    print(example(overrides), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
