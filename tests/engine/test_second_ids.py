"""The copy of a model in which text tokens have a second id."""

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.speech import assert_continues, says, sentences, text_of
from whisperlivekit.core.hypothesis import DecodeRequest
from whisperlivekit.engine import whisper
from whisperlivekit.engine.ct2_format import UnknownFormat
from whisperlivekit.engine.second_ids import SecondIds, copy_model
from whisperlivekit.engine.whisper import EngineConfig, WhisperModel

SENTENCE = sentences()[0]
PREFIX = " Все наши операторы заняты,"
LONGER = f"{PREFIX} пожалуйста,"
REST = SENTENCE.text.removeprefix("все наши операторы заняты ")
SHORTER_REST = REST.removeprefix("пожалуйста ")


@pytest.fixture
def folder(tmp_path: Path, base_model: Path) -> Path:
    """Copies of a model's small files, for tests that change them."""
    for name in ("config.json", "vocabulary.txt"):
        shutil.copy(base_model / name, tmp_path / name)
    return tmp_path


@pytest.mark.model
@pytest.mark.parametrize("beams", [1, 3])
def test_a_prefix_read_in_one_pass_gives_the_same_words(
    whisper_base: WhisperModel, monkeypatch: pytest.MonkeyPatch, beams: int
) -> None:
    """As a prefix that is forced token by token: alone, in a final decode, and in a batch of different prefixes."""
    model = whisper_base.lane()
    model._config = replace(model._config, beams=beams)
    short = DecodeRequest(1, SENTENCE.samples, 0, "ru", prefix=PREFIX)
    batches = [
        [short],
        [replace(short, final=True)],
        [short, DecodeRequest(2, SENTENCE.samples, 0, "ru", prefix=LONGER)],
    ]

    def texts() -> list[str]:
        return [text_of(hypothesis) for batch in batches for hypothesis in model.decode(batch)]

    in_one_pass = texts()
    monkeypatch.setattr(whisper, "MIN_PARALLEL", 1000)
    step_by_step = texts()
    for one_pass, forced, said in zip(in_one_pass, step_by_step, (REST, REST, REST, SHORTER_REST), strict=True):
        assert_continues(one_pass, said)
        assert_continues(forced, said)
        assert says(one_pass, forced)


@pytest.mark.model
def test_prefixes_are_read_in_one_pass(whisper_base: WhisperModel) -> None:
    """The batch begins with the blank row, and only the last token of the prefix is left to be forced."""
    calls: list[list[list[int]]] = []

    class Spy:
        def __getattr__(self, name: str) -> object:
            return getattr(whisper_base._model, name)

        def generate(self, encoded: object, prompts: list[list[int]], **options: object) -> object:
            calls.append(prompts)
            return whisper_base._model.generate(encoded, prompts, **options)

    model = whisper_base.lane()
    model._model = Spy()
    model.decode([DecodeRequest(1, SENTENCE.samples, 0, "ru", prefix=PREFIX)])
    ((blank, prompt),) = calls
    assert len(blank) == len(prompt) - 1
    assert all(token > 51864 for token in prompt[3:-1])
    assert blank[-1] == blank[3] == prompt[3]


@pytest.mark.model
def test_second_ids_follow_the_first(tmp_path: Path, base_model: Path) -> None:
    """The last one is the second id of ``<|notimestamps|>``, which occurs once in the vocabulary and ends it."""
    second = copy_model(base_model, tmp_path)
    assert second == SecondIds(first=51865, no_timestamps=51865 + 50257)
    assert second.of([0, 7]) == [51865, 51872]
    tokens = (tmp_path / "vocabulary.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert len(tokens) == second.no_timestamps + 1
    assert tokens.count("<|notimestamps|>") == 1
    assert tokens[second.no_timestamps] == "<|notimestamps|>"


def test_an_unknown_format_is_refused(folder: Path, tmp_path: Path) -> None:
    """The copy is not made; the model is then loaded from its own folder."""
    (folder / "model.bin").write_bytes(b"\x06\0\0\0")
    target = tmp_path / "copy"
    target.mkdir()
    with pytest.raises(UnknownFormat):
        copy_model(folder, target)


def test_a_vocabulary_without_the_tokens_is_refused(tmp_path: Path) -> None:
    """The model is not a Whisper model."""
    (tmp_path / "vocabulary.json").write_text(json.dumps(["a", "b"]))
    with pytest.raises(UnknownFormat, match="endoftext"):
        copy_model(tmp_path, tmp_path)


@pytest.mark.model
def test_without_disk_space_for_the_copy_the_model_works(
    base_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk is logged and makes decoding slower. The words are the same."""

    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    model = WhisperModel(EngineConfig(base_model, "cpu"))
    assert "No space left" in caplog.text
    assert model._second_ids is None
    (hypothesis,) = model.decode([DecodeRequest(1, SENTENCE.samples, 0, "ru", prefix=PREFIX)])
    assert_continues(text_of(hypothesis), REST)
