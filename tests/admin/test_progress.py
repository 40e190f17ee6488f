"""Progress of downloads and transcriptions when standard error is not a terminal."""

import pytest

from whisperlivekit.admin.progress import ProgressBar


def test_without_a_terminal_only_the_end_of_a_short_download_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """A log gets a line every ten seconds and one at the end, not one for every block."""
    bar = ProgressBar()
    for done in range(0, 2_000_001, 100_000):
        bar.report("model.bin", done, 2_000_000)
    bar.end()
    assert capsys.readouterr().err == "  model.bin: 2.0 MB of 2.0 MB\n"


def test_messages_are_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBar()
    bar.say("fetching base")
    assert capsys.readouterr().err == "fetching base\n"
