"""The home folder: where ``.env`` is, and what relative paths in the settings are relative to.

For a checkout it does not depend on the current folder, so a command finds the same settings wherever it is started.
"""

import os
from pathlib import Path

VARIABLE = "WLK_HOME"
"""Names another home folder. It is read from the environment only, because it says where ``.env`` is."""

PACKAGE = Path(__file__).resolve().parents[1]


def home() -> Path:
    """The folder named by ``WLK_HOME``, or the checkout that the package lies in, or else the current folder."""
    named = os.environ.get(VARIABLE, "")
    if named:
        return Path(named).absolute()
    return checkout() or Path.cwd()


def checkout() -> Path | None:
    """The root of the checkout that this package lies in; None for a package that pip copied into an environment."""
    root = PACKAGE.parent
    try:
        project = (root / "pyproject.toml").read_text(encoding="utf-8")
    except OSError:
        return None
    return root if '\nname = "whisperlivekit"\n' in project else None
