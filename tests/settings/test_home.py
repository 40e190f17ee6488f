"""The home folder does not depend on where a command is started."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from whisperlivekit.settings.home import checkout, home


def test_in_a_checkout_the_home_folder_is_its_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the current folder is another one."""
    monkeypatch.delenv("WLK_HOME")
    monkeypatch.chdir(tmp_path)
    assert checkout() == ROOT
    assert home() == ROOT


def test_a_variable_names_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative value is relative to the current folder, as in other programs."""
    monkeypatch.setenv("WLK_HOME", str(tmp_path))
    assert home() == tmp_path
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WLK_HOME", "here")
    assert home() == tmp_path / "here"


@pytest.mark.parametrize("project", [None, "[project]\nname = 'another'\n"])
def test_without_a_checkout_it_is_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: str | None
) -> None:
    """As in an environment into which pip has copied the package, whatever other packages put beside it."""
    site_packages = tmp_path / "site-packages"
    site_packages.mkdir()
    if project:
        (site_packages / "pyproject.toml").write_text(project)
    monkeypatch.setattr("whisperlivekit.settings.home.PACKAGE", site_packages / "whisperlivekit")
    monkeypatch.delenv("WLK_HOME")
    monkeypatch.chdir(tmp_path)
    assert checkout() is None
    assert home() == tmp_path


def test_a_command_in_any_folder_reads_the_same_settings(tmp_path: Path) -> None:
    """`check`, started in an empty folder, reports the .env of the home folder, a line of which is wrong."""
    (tmp_path / "home").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "home" / ".env").write_text("WLK_PORT=many\n")
    run = subprocess.run(
        [sys.executable, "-m", "whisperlivekit", "check"],
        cwd=tmp_path / "elsewhere",
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "WLK_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "WLK_PORT=many (line 1)" in run.stdout
    assert str(tmp_path / "home" / ".env") in run.stdout
