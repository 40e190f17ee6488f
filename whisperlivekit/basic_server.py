"""``python -m whisperlivekit.basic_server``: the same as ``whisperlivekit serve``."""

import sys

from whisperlivekit.errors import StartError
from whisperlivekit.server.launch import serve
from whisperlivekit.settings.env_file import load_settings


def main() -> int:
    """Start the server. It returns only if the server cannot be started."""
    try:
        serve(load_settings())
    except StartError as error:
        sys.stderr.write(f"whisperlivekit: {error.message}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
