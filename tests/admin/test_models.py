"""`whisperlivekit models`: list, fetch and verify."""

import re
from pathlib import Path

import pytest

from tests.test_cli import in_an_empty_folder, run
from whisperlivekit.cli import main

__all__ = ["in_an_empty_folder"]


def test_list_marks_the_downloaded_models(base_model: Path) -> None:
    result = run("models", "list", WLK_MODEL_DIR=str(base_model.parents[1]), WLK_MODEL="base")
    assert re.search(r"^base +148 MB +downloaded .*<- WLK_MODEL$", result.stdout, re.MULTILINE)
    assert len(result.stdout.splitlines()) == 6


def test_verify_names_every_problem_and_the_command_that_helps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "models" / "whisper" / "small"
    broken.mkdir(parents=True)
    (broken / "model.bin").write_bytes(b"broken")
    assert main(["models", "verify"]) == 1
    output = capsys.readouterr().out
    assert "small: config.json is missing; " in output
    assert "model.bin has 6 bytes, expected 483546902" in output
    assert "whisperlivekit models fetch small" in output
    assert "silero_vad" in output


def test_fetch_without_a_connection_is_an_error_without_a_traceback() -> None:
    result = run("models", "fetch", "small", HF_ENDPOINT="http://127.0.0.1:9")
    assert result.returncode == 2
    assert "cannot download the model small" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.model
def test_fetch_downloads_nothing_if_all_files_are_correct(base_model: Path) -> None:
    """The hub cannot be reached in this test, and no download is attempted."""
    result = run("models", "fetch", "base", WLK_MODEL_DIR=str(base_model.parents[1]), HF_ENDPOINT="http://127.0.0.1:9")
    assert (result.returncode, result.stderr) == (0, "")
