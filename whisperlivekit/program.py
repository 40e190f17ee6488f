"""The command that runs this program here, for messages that tell a user what to run."""

import shlex
import shutil
import sys
from pathlib import Path

NAME = "whisperlivekit"


def command(*words: str) -> str:
    """A command line that works in this user's shell, in any folder: ``command("models", "fetch", "base")``.

    The script is on the PATH only where the virtual environment is activated; elsewhere its path is needed.
    """
    script = Path(sys.executable).with_name(NAME)
    if not script.is_file():
        program = [sys.executable, "-m", NAME]
    elif (found := shutil.which(NAME)) and Path(found).resolve() == script.resolve():
        program = [NAME]
    else:
        program = [str(script)]
    return shlex.join([*program, *words])
