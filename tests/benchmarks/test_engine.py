"""The simulated clock, with the real core and the real engine."""

import json
from pathlib import Path

import pytest

from benchmarks import engine
from benchmarks.speech import read_recording
from whisperlivekit.core.commands import Start
from whisperlivekit.core.session import SessionConfig
from whisperlivekit.engine import silero
from whisperlivekit.engine.whisper import EngineConfig, WhisperModel

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "tests/data/phrase_3s.flac"


def test_every_value_of_every_setting_makes_a_row() -> None:
    """Two settings with two values each make four combinations; values are JSON."""
    rows = list(engine.combinations(["step_s=0.5,1", "whisper.PADDING_S=1.0,2.0"]))
    assert len(rows) == 4
    assert rows[0] == {"step_s": 0.5, "whisper.PADDING_S": 1.0}


@pytest.mark.parametrize("name", ["step", "whisper.NOTHING"])
def test_an_unknown_setting_is_named(name: str) -> None:
    """A misspelt setting ends the program instead of measuring the defaults."""
    with pytest.raises(SystemExit, match=name.rpartition(".")[2]):
        engine.run([], None, {name: 1})  # type: ignore[arg-type]


@pytest.mark.model
def test_a_phrase_is_played_to_its_end(tmp_path: Path) -> None:
    """Most words are right, nothing is retracted, every decode's cost is counted, and the rows can be drawn."""
    stream = engine.stream_of(read_recording(CLIP), silero.SileroModel(ROOT / "models/silero_vad"))
    model = WhisperModel(EngineConfig(ROOT / "models/whisper/base", "cpu"))
    transcript, cpu, decodes = engine.play(stream, model, SessionConfig())
    assert decodes >= 2
    assert cpu > 0
    result = engine.run([stream], model, {"step_s": 0.5}, decode_s=0.1)
    assert result["wer"] < 0.3
    assert result["retracted"] == 0
    assert transcript.committed.strip()
    engine.plot([result], tmp_path / "frontier.svg")
    assert (tmp_path / "frontier.svg").stat().st_size > 1000


@pytest.mark.model
def test_decodes_of_a_fixed_length_make_a_run_repeatable() -> None:
    """Two runs give the same snapshots at the same times, however busy the machine is."""
    stream = engine.stream_of(read_recording(CLIP), silero.SileroModel(ROOT / "models/silero_vad"))
    model = WhisperModel(EngineConfig(ROOT / "models/whisper/base", "cpu"))
    first, second = (engine.play(stream, model, SessionConfig(), decode_s=0.15)[0] for _ in range(2))
    assert first == second


@pytest.mark.model
def test_text_by_utterance_and_refined_text_are_measured() -> None:
    """The last words of an utterance are final soon after its end; the refined text comes after it and is as good."""
    stream = engine.stream_of(read_recording(CLIP), silero.SileroModel(ROOT / "models/silero_vad"))
    model = WhisperModel(EngineConfig(ROOT / "models/whisper/base", "cpu"))
    result = engine.run([stream], model, {}, decode_s=0.1, start=Start(commit="utterance", refine=True))
    assert 0 < result["final_p50_s"] < 1.5
    assert 0 < result["refine_p50_s"] < 4
    assert result["wer_refined"] < 0.3


@pytest.mark.model
@pytest.mark.slow
def test_groups_are_reported_after_the_streams(
    base_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recording at 16 kHz and one at 8 kHz, each in its group: a row for each and one for all words."""
    data = ROOT / "tests/data"
    groups = ["--group", f"clean={data}/phrase_3s.flac", "--group", f"phone={data}/telephone_8k.wav"]
    output = ["--decode-s", "0.1", "--json", str(tmp_path / "out.json")]
    monkeypatch.setattr("sys.argv", ["engine", "--model", str(base_model), *groups, *output])
    engine.main()
    [result] = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [(row["group"], row["words"]) for row in result["groups"]] == [("clean", 6), ("phone", 16), ("all", 22)]
    assert all(row["low"] <= row["wer"] <= row["high"] for row in result["groups"])
    assert result["groups"][-1]["wer"] < 0.35
    assert "| all | 2 | 2 | 22 | " in capsys.readouterr().out
