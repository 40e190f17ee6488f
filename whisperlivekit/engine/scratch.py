"""Temporary folders for large files, which are removed even if the process that made them is killed."""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
"""Fails at once on anything that is not a folder: opening a FIFO for reading would wait for a writer."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty temporary folder, which exists as long as the context lasts.

    It lies in a folder of this user's in the system's temporary folder, and its process holds a lock on it. The folders
    of processes that were killed are not locked: the next call removes them.

    Raises:
        OSError: the folder cannot be made, or somebody else owns the place for it.
    """
    parent = Path(tempfile.gettempdir()) / f"whisperlivekit-{os.geteuid()}"
    with _locked_parent(parent):
        # Nobody else makes or removes a folder meanwhile: one that is made and not yet locked would look abandoned.
        _remove_abandoned(parent)
        folder = Path(tempfile.mkdtemp(dir=parent))
        lock = os.open(folder, _OPEN_FOLDER)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextmanager
def _locked_parent(parent: Path) -> Iterator[None]:
    with suppress(FileExistsError):
        parent.mkdir(mode=0o700)
    descriptor = os.open(parent, _OPEN_FOLDER)
    try:
        status = os.fstat(descriptor)
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid != os.geteuid() or mode & 0o077:
            owner = f"belongs to user {status.st_uid} and has mode {mode:o}"
            raise PermissionError(f"{parent} {owner}, expected user {os.geteuid()} and mode 700")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.iterdir():
        # Locked: in use. Anything that is not a folder: not ours, and left alone.
        with suppress(OSError):
            descriptor = os.open(folder, _OPEN_FOLDER)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
