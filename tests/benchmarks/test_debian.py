"""Debian packages are checked and unpacked, with packages that the test builds."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.debian import Package, unpack

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="there is no dpkg-deb")


def build(folder: Path, name: str) -> Package:
    """A downloaded package with one file of its name."""
    source = folder / f"{name}-source"
    (source / "DEBIAN").mkdir(parents=True)
    control = f"Package: {name}\nVersion: 1-1\nArchitecture: all\nMaintainer: A <a@b.example>\nDescription: test\n"
    (source / "DEBIAN" / "control").write_text(control, encoding="utf-8")
    (source / "usr").mkdir()
    (source / "usr" / name).write_text(name, encoding="utf-8")
    path = folder / f"{name}_1-1_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", source, path], check=True, capture_output=True)
    return Package(f"{name[0]}/{name}", path.name, hashlib.sha256(path.read_bytes()).hexdigest())


def test_packages_are_unpacked_once_into_one_folder(tmp_path: Path) -> None:
    """A second call needs no package. Nothing but the packages and the folder remains."""
    packages = [build(tmp_path, name) for name in ("wlk-one", "wlk-two")]
    root = unpack(packages, tmp_path / "root")
    assert sorted(path.name for path in (root / "usr").iterdir()) == ["wlk-one", "wlk-two"]
    for package in packages:
        (tmp_path / package.file).unlink()
    assert unpack(packages, root) == root
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "wlk-one-source", "wlk-two-source"]


def test_a_package_with_other_content_is_refused(tmp_path: Path) -> None:
    """It is deleted, and nothing is unpacked, so that the next call downloads it again."""
    good, bad = (build(tmp_path, name) for name in ("wlk-one", "wlk-two"))
    (tmp_path / bad.file).write_bytes(b"not the package")
    with pytest.raises(SystemExit, match=f"{bad.file} has SHA-256 .*, expected {bad.sha256}"):
        unpack([good, bad], tmp_path / "root")
    assert not (tmp_path / bad.file).exists()
    assert not (tmp_path / "root").exists()
