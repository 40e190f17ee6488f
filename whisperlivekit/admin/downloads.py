"""What every download and copy of model files needs: a lock, enough disk space, and the comparison with a digest."""

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from whisperlivekit.engine.models import File, sha256_of
from whisperlivekit.errors import ModelFileError

SPARE_BYTES = 64 << 20
"""Disk space that stays free."""

Report = Callable[[str, int, int | None], None]
"""(file, bytes so far, total bytes if known). Called many times a second."""
Say = Callable[[str], None]


def difference(path: Path, file: File) -> str | None:
    """What is wrong with this file, in words; None if nothing is."""
    size = path.stat().st_size
    if file.size_bytes is not None and size != file.size_bytes:
        return f"{file.name} has {size} bytes, expected {file.size_bytes}"
    if file.sha256 is not None:
        digest = sha256_of(path)
        if digest != file.sha256:
            return f"{file.name} has SHA-256 {digest}, expected {file.sha256}"
    return None


def need_space(size_bytes: int, folder: Path, name: str) -> None:
    """Check that ``size_bytes`` of the model ``name`` can be written to this folder.

    Raises:
        ModelFileError: the disk has too little space.
    """
    need = max(0, size_bytes) + SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if free < need:
        raise ModelFileError(
            f"found {free / 1e6:.0f} MB free on the disk of {folder}, expected {need / 1e6:.0f} MB for {name}"
        )


@contextmanager
def only_one(unfinished: Path) -> Iterator[None]:
    """Hold a lock, because two processes would write to the same files.

    Raises:
        ModelFileError: another process holds it.
    """
    with unfinished.with_name(f"{unfinished.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ModelFileError(f"another process is downloading this model to {unfinished}") from error
        yield
