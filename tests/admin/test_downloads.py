"""The lock, the free space and the comparison that every download and copy of a model uses."""

import hashlib
import shutil
from pathlib import Path

import pytest

from whisperlivekit.admin.downloads import SPARE_BYTES, difference, need_space, only_one
from whisperlivekit.engine.models import File
from whisperlivekit.errors import ModelFileError

HELLO = hashlib.sha256(b"hello").hexdigest()


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (File("f"), None),
        (File("f", 5), None),
        (File("f", 5, HELLO), None),
        (File("f", 6, HELLO), "f has 5 bytes, expected 6"),
        (File("f", 5, "0" * 64), f"f has SHA-256 {HELLO}, expected {'0' * 64}"),
    ],
)
def test_a_file_is_compared_with_what_is_known(tmp_path: Path, file: File, expected: str | None) -> None:
    (tmp_path / "f").write_bytes(b"hello")
    assert difference(tmp_path / "f", file) == expected


def test_a_disk_without_enough_space_is_an_error(tmp_path: Path) -> None:
    """Some space must stay free. What is already there may be more than the whole."""
    free = shutil.disk_usage(tmp_path).free
    if free > 2 * SPARE_BYTES:
        need_space(-100, tmp_path, "toy")
    with pytest.raises(ModelFileError, match=r"found \d+ MB free on the disk of .*, expected \d+ MB for toy"):
        need_space(2 * free, tmp_path, "toy")


def test_a_lock_is_held_by_one_and_released(tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    folder.mkdir()
    with only_one(folder), pytest.raises(ModelFileError, match="another process is "), only_one(folder):
        pass
    with only_one(folder):
        pass
