"""Fetches recordings that Debian distributes as packages."""

import hashlib
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

POOL = "http://deb.debian.org/debian/pool/main/"
DOWNLOADS = Path(__file__).with_name("material") / "packages"


@dataclass(frozen=True, slots=True)
class Package:
    """One version of a package."""

    folder: str
    """Of its source in Debian's pool, for example ``f/festvox-ru``."""
    file: str
    """NAME_VERSION_ARCHITECTURE.deb."""
    sha256: str


def unpack(packages: Sequence[Package], root: Path) -> Path:
    """Download the packages to the folder of ``root``, check them and unpack them into ``root``, unless it exists.

    Returns:
        ``root``.

    Raises:
        SystemExit: a package has another SHA-256 than expected.
    """
    if root.is_dir():
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    # Renamed at the end: the folder exists only when it is complete.
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        unpacked = Path(scratch) / "root"
        for package in packages:
            path = root.parent / package.file
            if not path.exists():
                _download(package, path)
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != package.sha256:
                path.unlink()
                raise SystemExit(f"{package.file} has SHA-256 {found}, expected {package.sha256}")
            subprocess.run(["dpkg-deb", "-x", str(path), str(unpacked)], check=True)
        unpacked.rename(root)
    return root


def _download(package: Package, path: Path) -> None:
    name, version, _ = package.file.split("_")
    with tempfile.TemporaryDirectory() as scratch:
        # apt uses the mirror and the proxy that the machine is configured with. Without apt, or where it has another
        # version, ask Debian's pool.
        command = ["apt-get", "download", "-q", f"{name}={version}"]
        try:
            apt = subprocess.run(command, cwd=scratch, check=False, capture_output=True).returncode
        except FileNotFoundError:
            apt = 1
        fetched = list(Path(scratch).glob("*.deb"))
        if apt == 0 and fetched:
            shutil.move(fetched[0], path)
            return
    url = f"{POOL}{package.folder}/{package.file}"
    with urllib.request.urlopen(url, timeout=60) as answer, path.open("wb") as file:  # noqa: S310 (scheme in POOL)
        shutil.copyfileobj(answer, file)
