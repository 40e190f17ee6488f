"""The offline measurement with the real weights."""

from pathlib import Path

import pytest

from benchmarks.offline import main

pytestmark = [pytest.mark.model, pytest.mark.slow]


def test_groups_are_reported_for_each_method(
    base_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table of the files, then a table of the groups for each method; most words are recognised by all of them."""
    data = Path(__file__).parents[1] / "data"
    groups = ["--group", f"clean={data}/phrase_3s.flac", "--group", f"phone={data}/telephone_8k.wav"]
    main(["--model", str(base_model), "--beams", "1", "2", "--texts", str(tmp_path), *groups])
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| phrase_3s |")]
    assert [row[3] for row in rows] == ["beam 1", "beam 2", "files"]
    # Two of six words may differ by a letter: the text depends on the processor.
    assert all(float(row[4]) < 0.35 and float(row[7]) > 0 and float(row[8]) > 0 for row in rows)
    assert [line for line in lines if line.endswith(":")] == ["beam 1:", "beam 2:", "files:"]
    assert len([line for line in lines if line.startswith("| clean | 1 | 1 | 6 | ")]) == 3
    assert len([line for line in lines if line.startswith("| all | 2 | 2 | 22 | ")]) == 3
    texts = {path.name for path in tmp_path.iterdir()}
    assert texts == {
        f"{name}-{method}.txt" for name in ("phrase_3s", "telephone_8k") for method in ("beam1", "beam2", "files")
    }


def test_a_method_can_be_left_out(base_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the server's way."""
    data = Path(__file__).parents[1] / "data"
    main(["--model", str(base_model), str(data / "phrase_3s.flac"), "--beams"])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| phrase_3s |")]
    assert len(rows) == 1
    assert "| files |" in rows[0]
