"""The copy of a model in which text tokens have a second id."""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import ROOT
from whisperlivekit.core.hypothesis import DecodeRequest
from whisperlivekit.engine import whisper
from whisperlivekit.engine.second_ids import SecondIds, UnknownFormat, copy_model
from whisperlivekit.engine.whisper import EngineConfig, WhisperModel

PREFIX = " Извините, но голосовой"


@pytest.fixture
def folder(tmp_path: Path, base_model: Path) -> Path:
    """A model's small files, to be spoilt."""
    for name in ("config.json", "vocabulary.txt"):
        shutil.copy(base_model / name, tmp_path / name)
    return tmp_path


@pytest.mark.model
@pytest.mark.parametrize("beams", [1, 3])
def test_a_prefix_read_in_one_pass_says_the_same(base_model: Path, monkeypatch: pytest.MonkeyPatch, beams: int) -> None:
    """In a batch of one and of several prefixes of different length, greedy and with beams: the words that follow are
    those that follow a prefix forced step by step.
    """
    phrase, _ = soundfile.read(ROOT / "tests/data/phrase_3s.flac", dtype="float32")
    model = WhisperModel(EngineConfig(base_model, "cpu", beams=beams))
    longer = DecodeRequest(2, phrase, 0, "ru", prefix=f"{PREFIX} ящик")

    def words() -> list[str]:
        batches = [[DecodeRequest(1, phrase, 0, "ru", prefix=PREFIX, final=final)] for final in (False, True)]
        batches.append([DecodeRequest(1, phrase, 0, "ru", prefix=PREFIX), longer])
        hypotheses = [hypothesis for batch in batches for hypothesis in model.decode(batch)]
        return ["".join(word.text for word in hypothesis.words) for hypothesis in hypotheses]

    with_second_ids = words()
    monkeypatch.setattr(whisper, "MIN_PARALLEL", 1000)
    assert words() == with_second_ids
    assert with_second_ids == [" ящик абонента переполнен."] * 3 + [" абонента переполнен."]


@pytest.mark.model
def test_prefixes_are_read_in_one_pass(base_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blank row stands in front, and only the prefix's last token is left to be forced."""
    phrase, _ = soundfile.read(ROOT / "tests/data/phrase_3s.flac", dtype="float32")
    model = WhisperModel(EngineConfig(base_model, "cpu"))
    calls: list[list[list[int]]] = []

    class Spy:
        def __getattr__(self, name: str) -> object:
            return getattr(inner, name)

        def generate(self, encoded: object, prompts: list[list[int]], **options: object) -> object:
            calls.append(prompts)
            return inner.generate(encoded, prompts, **options)

    inner = model._model
    monkeypatch.setattr(model, "_model", Spy())
    model.decode([DecodeRequest(1, phrase, 0, "ru", prefix=PREFIX)])
    ((blank, prompt),) = calls
    assert len(blank) == len(prompt) - 1
    assert all(token > 51864 for token in prompt[3:-1])
    assert blank[-1] == blank[3] == prompt[3]


@pytest.mark.model
def test_second_ids_are_numbered_behind_the_first(tmp_path: Path, base_model: Path) -> None:
    """And the last is that of the task token that ends the range."""
    second = copy_model(base_model, tmp_path)
    assert second == SecondIds(first=51865, no_timestamps=51865 + 50257)
    assert second.of([0, 7]) == [51865, 51872]
    tokens = (tmp_path / "vocabulary.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert len(tokens) == second.no_timestamps + 1
    assert tokens.count("<|notimestamps|>") == 1
    assert tokens[second.no_timestamps] == "<|notimestamps|>"


@pytest.mark.parametrize(
    "content",
    [b"", b"\x06\0\0\0", b"\x05\0\0\0" + b"\0" * 64, b"\x06\0\0\0\x05\0Spec\0\x03\0\0\0\xff\0\0\0"],
    ids=["empty", "no more than a version", "another version", "ends early"],
)
def test_a_file_that_is_not_understood_is_refused(folder: Path, tmp_path: Path, content: bytes) -> None:
    """Nothing is guessed: the model is then loaded as it is."""
    (folder / "model.bin").write_bytes(content)
    target = tmp_path / "copy"
    target.mkdir()
    with pytest.raises(UnknownFormat):
        copy_model(folder, target)


def test_a_vocabulary_without_the_tokens_is_refused(tmp_path: Path) -> None:
    """A model that is no Whisper."""
    (tmp_path / "vocabulary.json").write_text(json.dumps(["a", "b"]))
    with pytest.raises(UnknownFormat, match="endoftext"):
        copy_model(tmp_path, tmp_path)


@pytest.mark.model
def test_without_a_place_for_the_copy_the_model_works(
    base_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk makes decoding slower and says so; it does not stop the service."""

    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    phrase, _ = soundfile.read(ROOT / "tests/data/phrase_3s.flac", dtype="float32")
    model = WhisperModel(EngineConfig(base_model, "cpu"))
    assert "No space left" in caplog.text
    (hypothesis,) = model.decode([DecodeRequest(1, np.asarray(phrase, np.float32), 0, "ru", prefix=PREFIX)])
    assert "".join(word.text for word in hypothesis.words) == " ящик абонента переполнен."
