"""The command line, as a person calls it."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from whisperlivekit.cli import main
from whisperlivekit.settings.documents import markdown_table


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no .env of the developer is read."""
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """In a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "whisperlivekit", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "WHISPER_DEVICE": "cpu", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def named(base_model: Path) -> dict[str, str]:
    """The settings for the model base, with the speech detector beside it."""
    return {"WLK_MODEL": "base", "WLK_MODEL_DIR": str(base_model.parents[1])}


def test_without_a_command_it_says_which_there_are() -> None:
    result = run()
    assert result.returncode == 2
    assert "COMMAND" in result.stderr


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for command in ("serve", "check", "models", "transcribe", "settings-example"):
        assert command in told


def test_wrong_settings_stop_the_start_with_all_of_them() -> None:
    """Before anything is loaded or any port opened."""
    Path(".env").write_text("WLK_PORT=abc\nWLK_PRT=1\n")
    result = run("serve")
    assert result.returncode == 2
    assert "WLK_PORT=abc (line 1): expected a whole number from 1 to 65535" in result.stderr
    assert "did you mean WLK_PORT?" in result.stderr
    assert "Traceback" not in result.stderr


def test_serve_without_model_files_says_how_to_get_them() -> None:
    result = run("serve", WLK_MODEL="tiny")
    assert result.returncode == 2
    assert "whisperlivekit models fetch tiny" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.model
def test_serve_on_a_busy_port_says_so(base_model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        result = run("serve", **named(base_model), WLK_PORT=port)
    assert result.returncode == 2
    assert f"cannot listen on port {port} of 127.0.0.1" in result.stderr


def test_check_of_wrong_settings_fails(capsys: pytest.CaptureFixture[str]) -> None:
    Path(".env").write_text("WLK_DIARIZATION=true\n")
    assert main(["check"]) == 1
    assert "BAD  settings" in capsys.readouterr().out


def test_check_fails_where_something_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 1
    told = capsys.readouterr().out
    assert "there is no .env" in told
    assert "whisperlivekit models fetch small" in told
    assert re.search(r"\d+ problems?$", told.strip())


def test_check_of_an_old_file_judges_each_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = tmp_path / "old.env"
    old.write_text("WLK_PORT=8000\nWLK_LAN=ru\nWLK_VAC=true\nWLK_BEAMS=50\n")
    assert main(["check", "--env", str(old)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "line 1: WLK_PORT: kept",
        "line 2: WLK_LAN: renamed to WLK_LANGUAGE",
        "line 3: WLK_VAC: gone: speech detection is always on: nothing is decoded on silence",
        "line 4: WLK_BEAMS: kept; its value is refused: expected a whole number from 1 to 10",
        "2 kept, 1 renamed, 1 gone",
        "1 with a value that is refused",
    ]
    old.write_text("WLK_PORT=8000\n")
    assert main(["check", "--env", str(old)]) == 0


@pytest.mark.model
@pytest.mark.slow
def test_transcribe_writes_the_words_of_a_file(base_model: Path, tmp_path: Path) -> None:
    """The same core as a live stream: silence gives no word, in every format."""
    silence = tmp_path / "silence.wav"
    _write_silence(silence)
    result = run("transcribe", str(silence), "--format", "json", **named(base_model))
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {"text": "", "words": []}


@pytest.mark.model
@pytest.mark.slow
def test_transcribe_of_no_media_file_is_an_error_in_words(base_model: Path, tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_text("no sound")
    result = run("transcribe", "x.wav", **named(base_model))
    assert result.returncode == 2
    assert "not a media file" in result.stderr
    assert "Traceback" not in result.stderr


def test_transcribe_of_a_missing_file_is_an_error_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", "nowhere.wav"]) == 2
    assert "there is no file nowhere.wav" in capsys.readouterr().err


def test_transcribe_knows_its_languages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", "nowhere.wav", "--language", "russian"]) == 2
    assert "ru" in capsys.readouterr().err


def test_the_settings_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings-example", "--markdown"]) == 0
    assert capsys.readouterr().out == markdown_table()


def _write_silence(path: Path) -> None:
    import numpy as np
    import soundfile

    soundfile.write(path, np.zeros(16_000 * 3, np.float32), 16_000)
