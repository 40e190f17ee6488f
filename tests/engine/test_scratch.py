"""Temporary folders of processes that may be killed."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from tests.conftest import ROOT
from whisperlivekit.engine.scratch import scratch_folder

DIES = """
import os, signal, sys, tempfile
from whisperlivekit.engine.scratch import scratch_folder
tempfile.tempdir = sys.argv[1]
with scratch_folder() as folder:
    (folder / "model.bin").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def files(place: Path) -> list[Path]:
    return [path for path in place.rglob("*") if not path.is_dir()]


def start_and_die(place: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", DIES, str(place)], cwd=ROOT)


def test_the_folder_is_private_and_ends_with_the_context(place: Path) -> None:
    """Nobody else can read the copy of a model, and nothing of it stays."""
    with scratch_folder() as folder:
        (folder / "model.bin").touch()
        assert folder.parent.stat().st_mode & 0o077 == 0
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()
    assert files(place) == []


def test_what_killed_processes_left_is_removed(place: Path) -> None:
    """Of several that started at the same moment; a folder that is in use is left alone."""
    with scratch_folder() as first:
        (first / "model.bin").touch()
        processes = [start_and_die(place) for _ in range(3)]
        assert [process.wait() for process in processes] == [-signal.SIGKILL] * 3
        assert len(files(place)) >= 2
        with scratch_folder() as second:
            assert files(place) == [first / "model.bin"]
            assert second != first
    assert files(place) == []


def test_processes_that_start_together_do_not_harm_each_other(place: Path) -> None:
    """A folder that was just made and is not locked yet must not be taken for an abandoned one."""
    harmed: list[Path] = []

    def use() -> None:
        for _ in range(100):
            with scratch_folder() as folder:
                (folder / "model.bin").touch()
                if not (folder / "model.bin").exists():
                    harmed.append(folder)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert harmed == []
    assert files(place) == []


def occupy(path: Path, kind: str) -> None:
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "file":
            path.touch()
        case "link":
            target = path.with_name("somewhere")
            target.mkdir()
            path.symlink_to(target)
        case "open to all":
            path.mkdir()
            path.chmod(0o777)


@pytest.mark.parametrize("kind", ["fifo", "file", "link", "open to all"])
def test_a_place_that_is_not_ours_is_an_error_at_once(place: Path, kind: str) -> None:
    """Anybody may write to /tmp: the load does not wait for a FIFO or write through a link."""
    occupy(place / f"whisperlivekit-{os.geteuid()}", kind)
    with pytest.raises(OSError, match="whisperlivekit-"), scratch_folder():
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_an_error(place: Path) -> None:
    """Its owner could change the model while it is read."""
    other = place / f"whisperlivekit-{os.geteuid()}"
    other.mkdir(mode=0o700)
    os.chown(other, 65534, 65534)
    with (
        pytest.raises(PermissionError, match="belongs to user 65534 and has mode 700, expected user 0"),
        scratch_folder(),
    ):
        pass


@pytest.mark.parametrize("kind", ["fifo", "file", "link"])
def test_strange_things_in_the_folder_are_left_alone(place: Path, kind: str) -> None:
    """The search for abandoned folders neither waits for a FIFO nor follows a link."""
    with scratch_folder() as folder:
        strange = folder.parent / "strange"
    occupy(strange, kind)
    with scratch_folder():
        strange.lstat()
