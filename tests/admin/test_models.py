"""`whisperlivekit models`: list, fetch, add, verify and remove."""

import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_cli import in_an_empty_folder, run
from tests.tiny_whisper import write_tiny_whisper
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


@pytest.fixture
def ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The folder of an added model with the name ours."""
    assert main(["models", "add", str(write_tiny_whisper(tmp_path / "source")), "--name", "ours"]) == 0
    told = capsys.readouterr().out
    assert f"model ours: {tmp_path}/models/whisper/ours, 5 MB, 80 mel bands, multilingual, float16\n" in told
    assert "to use it, set WLK_MODEL=ours in .env and restart the server" in told
    return tmp_path / "models" / "whisper" / "ours"


@pytest.mark.model
def test_an_added_model_is_listed_with_its_source(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WLK_MODEL", "ours")
    assert main(["models", "list"]) == 0
    assert re.search(rf"^ours +5 MB  added +{tmp_path}/source  <- WLK_MODEL$", capsys.readouterr().out, re.MULTILINE)
    (ours / "config.json").unlink()
    main(["models", "list"])
    assert re.search(r"^ours +5 MB  incomplete ", capsys.readouterr().out, re.MULTILINE)
    (ours / "added.json").write_text("{")
    main(["models", "list"])
    assert re.search(r"^ours: cannot read .*added\.json", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.model
def test_verify_reads_added_models(ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A changed byte is found, and the message has the command that adds the model again."""
    main(["models", "verify"])
    assert "ours: all files are correct" in capsys.readouterr().out
    with (ours / "tokenizer.json").open("r+b") as file:
        file.write(b"[")
    assert main(["models", "verify"]) == 1
    told = capsys.readouterr().out
    assert "ours: tokenizer.json has SHA-256" in told
    assert re.search(rf"to add it again, run: \S*whisperlivekit models add {tmp_path}/source --name ours\n", told)
    (ours / "added.json").write_text("{")
    assert main(["models", "verify"]) == 1
    assert "ours: cannot read" in capsys.readouterr().out


@pytest.mark.model
def test_an_added_model_is_never_downloaded(ours: Path) -> None:
    """`models fetch`, which install.sh runs, checks its files. The hub cannot be reached in this test."""
    shutil.copytree(ROOT / "models" / "silero_vad", ours.parents[1] / "silero_vad")
    for arguments in ((), ("ours",)):
        result = run("models", "fetch", *arguments, WLK_MODEL="ours", HF_ENDPOINT="http://127.0.0.1:9")
        assert (result.returncode, result.stderr) == (0, "")
        assert f"model ours: {ours}\n" in result.stdout
    (ours / "model.bin").unlink()
    result = run("models", "fetch", WLK_MODEL="ours", HF_ENDPOINT="http://127.0.0.1:9")
    assert result.returncode == 2
    assert "model.bin is missing; to add it again, run: " in result.stderr


@pytest.mark.model
def test_wlk_model_may_be_set_before_its_model_is_added(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The other commands name the command that adds it, and that command works."""
    Path(".env").write_text("WLK_MODEL=ours\n")
    assert main(["models", "verify"]) == 2
    assert "models add SOURCE --name ours" in capsys.readouterr().err
    assert main(["models", "add", str(write_tiny_whisper(tmp_path / "source")), "--name", "ours"]) == 0
    assert "to use it" not in capsys.readouterr().out
    main(["models", "verify"])
    assert "ours: all files are correct" in capsys.readouterr().out


@pytest.mark.model
def test_a_model_of_another_language_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_tiny_whisper(tmp_path / "english", english=True)
    main(["models", "add", str(source)])
    assert "this model knows English only, but WLK_LANGUAGE is ru" in capsys.readouterr().out


@pytest.mark.model
def test_the_model_in_use_is_not_removed(
    ours: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WLK_MODEL", "ours")
    assert main(["models", "remove", "ours"]) == 2
    assert "WLK_MODEL is ours: the server could not start without it" in capsys.readouterr().err
    monkeypatch.delenv("WLK_MODEL")
    assert main(["models", "remove", "ours"]) == 0
    assert not ours.exists()


def test_a_source_that_cannot_be_read_is_an_error_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As is a folder of the models that cannot be written: here a file is in its place."""
    (tmp_path / "models").write_text("")
    assert main(["models", "add", str(tmp_path), "--name", "ours"]) == 2
    assert f"cannot add {tmp_path}: " in capsys.readouterr().err
