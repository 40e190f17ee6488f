"""``python -m whisperlivekit``: the command line."""

import sys

from whisperlivekit.cli import main

if __name__ == "__main__":
    sys.exit(main())
