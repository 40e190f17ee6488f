"""How found, missed and invented hotwords are counted, and the whole program on a clip."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import hotwords
from benchmarks.hotwords import Row, Spotter, Utterance, count, decode, start_of
from benchmarks.scoring import normalise
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.engine.whisper import WhisperModel

DATA = Path(__file__).parents[1] / "data"
NAMES = ["Казань", "Красная площадь", "Лев Толстой", "Лев"]


def counted(reference: str, text: str) -> Row:
    row = Row("test")
    count(row, Spotter(NAMES), reference.split(), text)
    return row


def test_hotwords_are_spotted_in_every_form() -> None:
    """Whole words only; the longest hotword wins, and none is counted twice."""
    words = normalise("В Казани на Красной площади Лев Толстой и казанский лев")
    found = list(Spotter(NAMES).spot(words))
    assert found == [(1, 2, "Казань"), (3, 5, "Красная площадь"), (5, 7, "Лев Толстой"), (9, 10, "Лев")]


def test_found_missed_and_invented_hotwords() -> None:
    """One is found, one in another form, one is missed, one was not said."""
    row = counted("в казани и на красной площади был лев", "В Казани и на красная площадь был лес. Казань.")
    assert (row.said, row.found, row.same_form, row.not_said) == (3, 2, 1, 1)


def test_errors_in_hotwords_are_not_counted_elsewhere() -> None:
    """All other words are, also those in a clip without hotwords."""
    row = counted("мы были в казани вчера", "мы была в резани вчера")
    assert (row.elsewhere.all, row.elsewhere.reference_words) == (1, 4)
    assert row.none_said.reference_words == 0
    other = counted("мы были вчера", "мы была вчера")
    assert other.elsewhere == other.none_said
    assert (other.none_said.all, other.none_said.reference_words) == (1, 3)
    assert (counted("казань", "").said, counted("казань", "").elsewhere.reference_words) == (1, 0)


def test_the_ways_to_give_hotwords() -> None:
    """As nothing, as the text of a prompt, and as hotwords."""
    assert start_of("without", NAMES).hotwords == ()
    assert start_of("prompt", NAMES).prompt == "Казань, Красная площадь, Лев Толстой, Лев."
    assert start_of("hotwords", NAMES).hotwords == tuple(NAMES)


@pytest.mark.model
def test_a_clip_too_long_for_one_decode_is_named(whisper_base: WhisperModel) -> None:
    """Instead of being cut."""
    long = Utterance("long", np.zeros(31 * SAMPLE_RATE, np.float32), ())
    with pytest.raises(SystemExit, match="long has 31 s, expected up to 30 s, or the option --live"):
        decode(whisper_base, long, start_of("without", NAMES))


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("live", [False, True])
def test_every_way_is_a_row(
    base_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    """With the words said, found and not said, at once and on the simulated clock."""
    names = tmp_path / "names.txt"
    names.write_text("Абонент\n\nЧайковский\n", encoding="utf-8")
    monkeypatch.chdir(Path(__file__).parents[2])
    options = ["--words", str(names), "--group", f"clean={DATA}/phrase_3s.flac", "--model", str(base_model)]
    hotwords.main([*options, *(["--live"] if live else [])])
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[1].strip() for row in rows] == ["without", "prompt", "hotwords"]
    assert [row[2].strip() for row in rows] == ["1", "1", "1"]
    assert rows[2][3].strip() == "1 (100%)"
    assert rows[2][5].strip() == "0"
    assert all(float(row[8]) > 0 for row in rows)


def test_words_and_recordings_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty list measures nothing."""
    names = tmp_path / "names.txt"
    names.write_text("\n", encoding="utf-8")
    with pytest.raises(SystemExit):
        hotwords.main(["--words", str(names), "--group", f"clean={DATA}/phrase_3s.flac"])
    assert "expected at least one --group and one hotword" in capsys.readouterr().err
