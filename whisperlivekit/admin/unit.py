"""Prints this installation's systemd unit: ``python -m whisperlivekit.admin.unit USER``. install.sh installs it."""

import sys
from pathlib import Path

from whisperlivekit.errors import StartError
from whisperlivekit.settings.declarations import Settings
from whisperlivekit.settings.env_file import load_settings
from whisperlivekit.settings.home import home

TEMPLATE = Path(__file__).with_name("whisperlivekit.service.in")

STOP_MARGIN_S = 15
"""Time for the master to end after its workers have drained."""

HOMES = (Path("/home"), Path("/root"), Path("/run/user"))


def render(settings: Settings, root: Path, user: str, python: Path, *, nvidia_modprobe: bool) -> str:
    """The text of the unit.

    ``root``: the home folder, which has ``.env``. ``python``: the interpreter that runs the server.

    Raises:
        StartError: a path has characters that systemd's syntax does not allow.
    """
    folders = writable(settings, root)
    for path in (root, python, *folders):
        if any(character.isspace() or character in "%\"'\\$" for character in str(path)):
            raise StartError(
                f"found the path {path}, expected one without spaces, quotes, %, \\ and $ for a systemd unit"
            )
    # CUDA's first use creates the device files of the GPU, by a helper that needs root: run it before, as root (+).
    modprobe = "+-/usr/bin/nvidia-modprobe -u -c=0"
    hidden = not any(path.is_relative_to(home) for home in HOMES for path in (root, python, *folders))
    replacements = {
        "ROOT": str(root),
        "PYTHON": str(python),
        "USER": user,
        "STOP_S": str(settings.gunicorn_graceful_timeout + STOP_MARGIN_S),
        "WRITABLE": " ".join(map(str, folders)),
        "HOME": "yes" if hidden else "read-only",
        "CAPABILITIES": "CAP_NET_BIND_SERVICE" if min(settings.ports.values()) < 1024 else "",
        "NVIDIA": modprobe,
    }
    lines = TEMPLATE.read_text(encoding="utf-8").splitlines(keepends=True)
    if not nvidia_modprobe:
        lines = [line for line in lines if "@NVIDIA@" not in line]
    text = "".join(lines)
    for name, value in replacements.items():
        text = text.replace(f"@{name}@", value)
    return text


def writable(settings: Settings, root: Path) -> list[Path]:
    """The folders that the service writes to. A folder inside another one is not listed."""
    named = {(root / folder).resolve() for folder in (settings.log_dir, settings.model_dir, settings.cache_dir)}
    return sorted(folder for folder in named if not any(folder.is_relative_to(other) for other in named - {folder}))


def main(arguments: list[str]) -> int:
    """With the argument ``USER`` print the unit; with ``--writable`` print the folders that this user must own."""
    try:
        settings = load_settings()
        if arguments == ["--writable"]:
            sys.stdout.writelines(f"{folder}\n" for folder in writable(settings, home()))
            return 0
        (user,) = arguments
        modprobe = Path("/usr/bin/nvidia-modprobe").exists()
        sys.stdout.write(render(settings, home(), user, Path(sys.executable), nvidia_modprobe=modprobe))
    except StartError as error:
        sys.stderr.write(f"whisperlivekit: {error.message}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
