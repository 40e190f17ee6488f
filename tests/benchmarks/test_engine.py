"""The simulated clock plays the real core and the real engine."""

from pathlib import Path

import pytest

from benchmarks import engine
from whisperlivekit.core.session import SessionConfig
from whisperlivekit.engine import silero
from whisperlivekit.engine.whisper import EngineConfig, WhisperModel

ROOT = Path(__file__).parents[2]


def test_every_value_of_every_setting_makes_a_row() -> None:
    """Two settings of two values are four combinations; values are JSON."""
    rows = list(engine.combinations(["step_s=0.5,1", "whisper.PADDING_S=1.0,2.0"]))
    assert len(rows) == 4
    assert rows[0] == {"step_s": 0.5, "whisper.PADDING_S": 1.0}


@pytest.mark.parametrize("name", ["step", "whisper.NOTHING"])
def test_an_unknown_setting_is_named(name: str) -> None:
    """A misspelt setting must not silently measure the defaults."""
    with pytest.raises(SystemExit, match=name.rpartition(".")[2]):
        engine.run([], None, {name: 1})  # type: ignore[arg-type]


@pytest.mark.model
def test_a_phrase_is_played_to_its_end(tmp_path: Path) -> None:
    """The right words, nothing retracted, and the cost of every decode counted."""
    clip = ROOT / "tests/data/phrase_3s.flac"
    stream = engine.load_stream("phrase", clip, clip.with_suffix(".json"), silero.SileroModel())
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
    """The same snapshots at the same moments, however busy the machine is."""
    clip = ROOT / "tests/data/phrase_3s.flac"
    stream = engine.load_stream("phrase", clip, clip.with_suffix(".json"), silero.SileroModel())
    model = WhisperModel(EngineConfig(ROOT / "models/whisper/base", "cpu"))
    first, second = (engine.play(stream, model, SessionConfig(), decode_s=0.15)[0] for _ in range(2))
    assert first == second
