"""The command line, as a person calls it."""

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
    """It is the home folder too, so that the .env of a test is read and the developer's is not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WLK_HOME", str(tmp_path))


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "whisperlivekit", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "WHISPER_DEVICE": "cpu", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def model_settings(base_model: Path) -> dict[str, str]:
    """The settings for the model base and the speech detector beside it."""
    return {"WLK_MODEL": "base", "WLK_MODEL_DIR": str(base_model.parents[1])}


def test_without_a_command_it_prints_the_usage() -> None:
    result = run()
    assert result.returncode == 2
    assert "COMMAND" in result.stderr


def test_help_names_every_command_and_where_settings_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for word in ("serve", "check", "models", "transcribe", "settings-example", ".env", "WLK_HOME"):
        assert word in told


def test_serve_reports_all_wrong_settings(tmp_path: Path) -> None:
    """Before anything is loaded or a port is opened."""
    Path(".env").write_text("WLK_PORT=abc\nWLK_PRT=1\n")
    result = run("serve")
    assert result.returncode == 2
    assert f"2 wrong settings in {tmp_path}/.env" in result.stderr
    assert "WLK_PORT=abc (line 1): expected a whole number from 1 to 65535" in result.stderr
    assert "did you mean WLK_PORT?" in result.stderr
    assert "Traceback" not in result.stderr


def test_serve_without_model_files_names_the_command_that_downloads_them() -> None:
    result = run("serve", WLK_MODEL="tiny")
    assert result.returncode == 2
    assert "whisperlivekit models fetch tiny" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.model
def test_serve_reports_a_busy_port(base_model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        result = run("serve", **model_settings(base_model), WLK_PORT=port)
    assert result.returncode == 2
    assert f"cannot listen on port {port} of 127.0.0.1" in result.stderr


def test_check_fails_if_settings_are_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    Path(".env").write_text("WLK_DIARIZATION=true\n")
    assert main(["check"]) == 1
    assert "BAD  settings" in capsys.readouterr().out


def test_check_fails_if_something_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each problem has its remedy; without an .env the first line says where one would be read."""
    assert main(["check"]) == 1
    told = capsys.readouterr().out
    assert f"there is no {tmp_path}/.env" in told
    assert "whisperlivekit models fetch small" in told
    assert re.search(r"\d+ problems?$", told.strip())


def test_a_reader_of_the_output_may_end_first() -> None:
    """`whisperlivekit check | head -1` prints no traceback."""
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "whisperlivekit", "check"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_check_names_the_file_that_was_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path(".env").write_text("WLK_MODEL=tiny\n")
    main(["check"])
    assert f"ok   settings: {tmp_path}/.env and the environment" in capsys.readouterr().out


def test_check_of_an_older_file_exits_with_1_unless_it_can_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old.env"
    old.write_text("WLK_PORT=8000\nWLK_LAN=ru\nWLK_VAC=true\nWLK_BEAMS=50\n")
    assert main(["check", "--env", str(old)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "line 1: WLK_PORT: kept",
        "line 2: WLK_LAN: renamed to WLK_LANGUAGE",
        "line 3: WLK_VAC: removed: voice activity detection is always on: silence is not decoded",
        "line 4: WLK_BEAMS: kept; its value is not allowed: expected a whole number from 1 to 10",
        "2 kept, 1 renamed, 1 removed",
        "1 with a value that is not allowed",
    ]
    old.write_text("WLK_PORT=8000\n")
    assert main(["check", "--env", str(old)]) == 0


def test_transcribe_reports_a_missing_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", "nowhere.wav"]) == 2
    assert "there is no file nowhere.wav" in capsys.readouterr().err


def test_transcribe_reports_an_unknown_language(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", "nowhere.wav", "--language", "russian"]) == 2
    assert "ru" in capsys.readouterr().err


def test_the_settings_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings-example", "--markdown"]) == 0
    assert capsys.readouterr().out == markdown_table()
