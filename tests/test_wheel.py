"""The wheel, which `pip install .` installs, has everything that the server reads at run time."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, because the build writes beside its sources."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    shutil.copytree(ROOT / "whisperlivekit", source / "whisperlivekit", ignore=shutil.ignore_patterns("__pycache__"))
    program = "from setuptools.build_meta import build_wheel; build_wheel('dist')"
    subprocess.run([sys.executable, "-c", program], cwd=source, capture_output=True, check=True)
    (built,) = (source / "dist").glob("*.whl")
    return built


def test_it_has_the_whole_package_and_nothing_else(wheel: Path) -> None:
    """Every file of the package that is in git: code, the page, the unit's template, py.typed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "whisperlivekit"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    expected = {name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()}
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == expected


def test_commands_run_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """The home folder is the current folder then. The unit's template comes from the wheel."""
    site = tmp_path / "site"
    home = tmp_path / "home"
    home.mkdir()
    (home / ".env").write_text("WLK_LOG_DIR=speech-logs\n")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # Before everything else in the path: an editable installation may have put the checkout there.
    program = (
        f"import sys; sys.path.insert(0, {str(site)!r}); sys.argv = ['unit', 'speech'];"
        "import runpy; runpy.run_module('whisperlivekit.admin.unit', run_name='__main__')"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=home,
        env={name: value for name, value in os.environ.items() if name != "WLK_HOME"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"ReadWritePaths={home}/models {home}/speech-logs" in run.stdout
    assert f"Environment=WLK_HOME={home}\n" in run.stdout
