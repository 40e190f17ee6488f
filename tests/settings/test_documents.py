"""The generated documents agree with the declarations."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from whisperlivekit.settings.declarations import Settings, variables
from whisperlivekit.settings.documents import example, markdown_table
from whisperlivekit.settings.env_file import load_settings


def test_the_example_file_is_up_to_date() -> None:
    """If this fails, run `make example`."""
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == example()


def test_the_example_file_has_the_defaults(tmp_path: Path) -> None:
    """Copying the example changes nothing."""
    shutil.copy(ROOT / ".env.example", tmp_path / ".env")
    assert load_settings(tmp_path / ".env") == load_settings(tmp_path / "none")


def test_example_explains_every_setting() -> None:
    for name in variables():
        assert f"\n{name}=" in example() or f"\n# {name}=" in example()
    assert all(field.description for field in Settings.model_fields.values())


def test_the_program_prints_an_env_file() -> None:
    """install.sh writes .env with it."""
    program = [sys.executable, "-m", "whisperlivekit.settings"]
    run = subprocess.run([*program, "WLK_MODEL=base"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "\nWLK_MODEL=base\n" in run.stdout
    assert run.stdout.replace("WLK_MODEL=base", "WLK_MODEL=small") == example()
    wrong = subprocess.run([*program, "WLK_MODLE=base"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert wrong.returncode
    assert "did you mean WLK_MODEL?" in wrong.stderr


def test_the_table_in_the_readme_is_up_to_date() -> None:
    """If this fails, run `make example`."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.partition("<!-- settings -->\n")[2].partition("<!-- /settings -->")[0]
    assert table == markdown_table()
