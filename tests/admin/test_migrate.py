"""Each line of an older .env is kept, renamed or removed, and the reason is given."""

from pathlib import Path

import pytest

from whisperlivekit.admin.migrate import REMOVED, RENAMED, Fate, Verdict, verdicts
from whisperlivekit.errors import SettingsError
from whisperlivekit.settings.declarations import variables


def judged(tmp_path: Path, text: str) -> list[Verdict]:
    file = tmp_path / "old.env"
    file.write_text(text, encoding="utf-8")
    return list(verdicts(file))


@pytest.mark.parametrize(
    ("line", "fate", "note"),
    [
        ("WLK_PORT=8000", Fate.KEPT, ""),
        ("WHISPER_DEVICE=cuda", Fate.KEPT, ""),
        ("WLK_LAN=ru", Fate.RENAMED, "WLK_LANGUAGE"),
        ("WLK_MODEL_SIZE=small", Fate.RENAMED, "WLK_MODEL"),
        ("FASTER_WHISPER_BEAM_SIZE=3", Fate.RENAMED, "WLK_BEAMS"),
        ("WLK_VAC=true", Fate.REMOVED, "always on"),
        ("WLK_BUFFER_TRIMMING_SEC=15", Fate.REMOVED, "window"),
        ("WLK_TASK=transcribe", Fate.REMOVED, "task in docs/protocol.md"),
        ("WLK_DIRECT_ENGLISH_TRANSLATION=false", Fate.REMOVED, "task in docs/protocol.md"),
        ("WLK_DIARIZATION_BACKEND=sortformer", Fate.REMOVED, "speakers"),
        ("TORCH_CUDNN_BENCHMARK=1", Fate.REMOVED, "speech detector"),
        ("FASTER_WHISPER_VAD_FILTER=1", Fate.REMOVED, "WLK_MODEL"),
        ("WLK_FRAME_TRESHOLD=25", Fate.UNKNOWN, "did you mean WLK_FRAME_THRESHOLD?"),
        ("WLK_QQQ=1", Fate.UNKNOWN, "no setting has a similar name"),
        ("POSTGRES_URL=x", Fate.FOREIGN, "does not read it"),
        ("just words", Fate.BROKEN, "expected NAME=value"),
    ],
)
def test_each_line_gets_its_verdict(tmp_path: Path, line: str, fate: Fate, note: str) -> None:
    (verdict,) = judged(tmp_path, line + "\n")
    assert verdict.fate is fate
    assert note in verdict.note


def test_values_are_checked_under_the_new_name(tmp_path: Path) -> None:
    kept, renamed = judged(tmp_path, "WLK_PORT=99999\nWLK_LAN=russian\n")
    assert str(kept) == "line 1: WLK_PORT: kept; its value is not allowed: expected a whole number from 1 to 65535"
    assert str(renamed).startswith("line 2: WLK_LAN: renamed to WLK_LANGUAGE; its value is not allowed: expected")


def test_lines_are_counted_with_comments_and_blanks(tmp_path: Path) -> None:
    found = judged(tmp_path, "# a comment\n\nWLK_PORT=1\n\n# another\nexport WLK_BEAMS=2\n")
    assert [(verdict.line, verdict.name) for verdict in found] == [(3, "WLK_PORT"), (6, "WLK_BEAMS")]


def test_the_table_agrees_with_the_settings() -> None:
    """New names are settings; old names are not."""
    known = variables()
    assert set(RENAMED.values()) <= set(known)
    assert not set(RENAMED) & set(known)
    assert not set(REMOVED) & set(known)
    assert not set(REMOVED) & set(RENAMED)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        list(verdicts(tmp_path / "none"))
