"""Prints the systemd unit of this checkout: ``python -m whisperlivekit.admin.unit USER``. install.sh installs it."""

import sys
from pathlib import Path

from whisperlivekit.errors import StartError
from whisperlivekit.settings.declarations import Settings
from whisperlivekit.settings.env_file import load_settings

TEMPLATE = Path(__file__).with_name("whisperlivekit.service.in")

STOP_MARGIN_S = 15
"""Beyond the drain: for the master to end after its workers."""

HOMES = (Path("/home"), Path("/root"), Path("/run/user"))


def render(settings: Settings, root: Path, user: str, *, nvidia_modprobe: bool) -> str:
    """The unit's text.

    Raises:
        StartError: the checkout lies where systemd's syntax cannot name it.
    """
    folders = writable(settings, root)
    for path in (root, *folders):
        if any(character.isspace() or character in "%\"'\\$" for character in str(path)):
            raise StartError(f"{path} cannot stand in a systemd unit: expected a path without spaces, quotes, % and $")
    # Device files of the GPU are made when CUDA is first used, by a helper that needs root: before, and as root (+).
    modprobe = "+-/usr/bin/nvidia-modprobe -u -c=0"
    hidden = not any(path.is_relative_to(home) for home in HOMES for path in (root, *folders))
    replacements = {
        "ROOT": str(root),
        "USER": user,
        "STOP_S": str(settings.gunicorn_graceful_timeout + STOP_MARGIN_S),
        "WRITABLE": " ".join(map(str, folders)),
        "HOME": "yes" if hidden else "read-only",
        "CAPABILITIES": "CAP_NET_BIND_SERVICE" if settings.port < 1024 else "",
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
    """The folders that the service writes to, none inside another."""
    named = {(root / folder).resolve() for folder in (settings.log_dir, settings.model_dir, settings.cache_dir)}
    return sorted(folder for folder in named if not any(folder.is_relative_to(other) for other in named - {folder}))


def main(arguments: list[str]) -> int:
    """``USER`` prints the unit, ``--writable`` the folders to be given to that user, one a line."""
    try:
        settings = load_settings()
        if arguments == ["--writable"]:
            sys.stdout.writelines(f"{folder}\n" for folder in writable(settings, Path.cwd()))
            return 0
        (user,) = arguments
        modprobe = Path("/usr/bin/nvidia-modprobe").exists()
        sys.stdout.write(render(settings, Path.cwd(), user, nvidia_modprobe=modprobe))
    except StartError as error:
        sys.stderr.write(f"whisperlivekit: {error.message}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
