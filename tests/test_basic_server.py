"""``python -m whisperlivekit.basic_server``. That it serves is seen in tests/server/test_gunicorn.py."""

import pytest

from whisperlivekit import basic_server


def test_a_start_that_cannot_be_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line on standard error and status 2; tests/server/test_launch.py has the reasons."""
    monkeypatch.setenv("WLK_PORT", "many")
    assert basic_server.main() == 2
    told = capsys.readouterr().err
    assert told.startswith("whisperlivekit: ")
    assert "WLK_PORT=many" in told
