"""``python -m whisperlivekit.basic_server``. tests/server/test_gunicorn.py tests that it serves."""

import pytest

from whisperlivekit import basic_server


def test_wrong_settings_end_the_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One message on standard error, and exit status 2."""
    monkeypatch.setenv("WLK_PORT", "many")
    assert basic_server.main() == 2
    output = capsys.readouterr().err
    assert output.startswith("whisperlivekit: ")
    assert "WLK_PORT=many" in output
