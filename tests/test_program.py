"""Commands in messages can be pasted into a shell."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from whisperlivekit.program import command


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program's script, in a virtual environment whose path has a space."""
    folder = tmp_path / "my venv"
    folder.mkdir()
    script = folder / "whisperlivekit"
    script.write_text('#!/bin/sh\necho "$@"\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    return script


def test_the_script_is_named_with_its_path(script: Path) -> None:
    """Because it is usually not on the PATH. A shell runs the command as it is printed."""
    run = subprocess.run(command("models", "fetch", "base"), shell=True, capture_output=True, text=True, check=True)
    assert str(script) in command()
    assert run.stdout == "models fetch base\n"


def test_on_the_path_its_name_is_enough(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(script.parent))
    assert command("check") == "whisperlivekit check"


def test_a_script_of_another_installation_on_the_path_is_not_meant(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(script, other / "whisperlivekit")
    monkeypatch.setenv("PATH", str(other))
    assert str(script) in command("check")


def test_without_a_script_python_runs_the_module(script: Path) -> None:
    script.unlink()
    assert command("check").endswith("python' -m whisperlivekit check")
