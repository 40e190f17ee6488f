"""The offline measurement with the real weights."""

from pathlib import Path

import pytest

from benchmarks.offline import main, transcribe
from benchmarks.scoring import count_errors

pytestmark = pytest.mark.model


def test_a_phrase_is_transcribed_and_its_cost_measured(base_model: Path) -> None:
    """Most of the clip's words are recognised, and the CPU time is measured."""
    from faster_whisper import WhisperModel

    model = WhisperModel(str(base_model), device="cpu", compute_type="int8", local_files_only=True)
    clip = Path(__file__).parents[1] / "data" / "phrase_3s.flac"
    text, cpu_s = transcribe(model, clip, beams=1, language="ru")
    # Two of six words may differ by a letter: the text depends on the processor.
    assert count_errors(["извините", "но", "голосовой", "ящик", "абонента", "переполнен"], text).wer < 0.35
    assert cpu_s > 0


@pytest.mark.slow
def test_groups_are_reported_for_each_beam_size(base_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table of the files, then a table of the groups for each beam size."""
    data = Path(__file__).parents[1] / "data"
    groups = ["--group", f"clean={data}/phrase_3s.flac", "--group", f"phone={data}/telephone_8k.wav"]
    main(["--model", str(base_model), "--beams", "1", "2", *groups])
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("| phrase_3s |")]) == 2
    assert [line for line in lines if line.startswith("Beam")] == ["Beam 1:", "Beam 2:"]
    assert len([line for line in lines if line.startswith("| clean | 1 | 1 | 6 | ")]) == 2
    assert len([line for line in lines if line.startswith("| all | 2 | 2 | 22 | ")]) == 2
