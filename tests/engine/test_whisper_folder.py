"""What a folder with a Whisper model must hold. Each fault is named before the engine meets it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.speech import sentences
from tests.tiny_whisper import write_tiny_whisper
from whisperlivekit.core.hypothesis import DecodeRequest
from whisperlivekit.engine.ct2_format import UnknownFormat
from whisperlivekit.engine.whisper import EngineConfig, WhisperModel
from whisperlivekit.engine.whisper_folder import Details, can_translate, complete_config, examine

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_whisper(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def own(tiny: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(tiny, tmp_path / "own")


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def test_base_is_described(base_model: Path) -> None:
    assert examine(base_model) == Details(n_mels=80, multilingual=True, type="float16")


def test_the_engine_runs_models_of_80_and_128_mel_bands(tiny: Path, tmp_path: Path) -> None:
    """Their number is found in model.bin, and a request is decoded."""
    large = write_tiny_whisper(tmp_path / "large", n_mels=128)
    for folder, n_mels in ((tiny, 80), (large, 128)):
        assert examine(folder).n_mels == n_mels
        model = WhisperModel(EngineConfig(folder, "cpu"))
        (hypothesis,) = model.decode([DecodeRequest(1, sentences()[0].samples, 0, "ru", final=True)])
        assert hypothesis.request_id == 1
        assert model._n_mels == n_mels
        assert model._second_ids is not None


def test_a_model_without_russian_is_recognised(own: Path) -> None:
    """The vocabulary of English models has one token less."""
    write_tiny_whisper(own.parent / "english", english=True)
    assert examine(own.parent / "english") == Details(n_mels=80, multilingual=False, type="float16")


def test_models_that_were_not_trained_to_translate_are_recognised(base_model: Path, tmp_path: Path) -> None:
    """English models by their vocabulary; large-v3-turbo and distil models because their decoder has fewer layers."""
    english = write_tiny_whisper(tmp_path / "english", english=True)
    turbo = write_tiny_whisper(tmp_path / "turbo", n_mels=128, layers=(2, 1))
    large = write_tiny_whisper(tmp_path / "large", n_mels=128, layers=(2, 2))
    assert [can_translate(folder) for folder in (base_model, large, turbo, english)] == [True, True, False, False]
    assert not WhisperModel(EngineConfig(turbo, "cpu")).translates


def cut_weights(own: Path) -> None:
    content = (own / "model.bin").read_bytes()
    (own / "model.bin").write_bytes(content[: len(content) // 2])


def rename_specification(own: Path) -> None:
    content = (own / "model.bin").read_bytes()
    (own / "model.bin").write_bytes(content.replace(b"WhisperSpec", b"ParrotsSpec", 1))


def drop_a_token(own: Path) -> None:
    tokens = json.loads((own / "vocabulary.json").read_text(encoding="utf-8"))
    (own / "vocabulary.json").write_text(json.dumps(tokens[:-1]), encoding="utf-8")


def take_another_tokenizer(own: Path) -> None:
    large = write_tiny_whisper(own.parent / "large", n_mels=128)
    shutil.copy(large / "tokenizer.json", own / "tokenizer.json")


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (lambda own: (own / "model.bin").unlink(), r"model\.bin is missing$"),
    "no vocabulary": (
        lambda own: (own / "vocabulary.json").unlink(),
        r"vocabulary\.json or vocabulary\.txt is missing$",
    ),
    "no tokenizer": (
        lambda own: (own / "tokenizer.json").unlink(),
        r"tokenizer\.json is missing \(.*AutoTokenizer\.from_pretrained\('OWNER/NAME'\)",
    ),
    "another tokenizer": (take_another_tokenizer, r"gives <\|transcribe\|> the id 50360, .* has it at 50359"),
    "an empty file": (lambda own: (own / "model.bin").write_bytes(b""), r"model\.bin is empty"),
    "half a file": (cut_weights, r"model\.bin ends early"),
    "another kind of model": (rename_specification, "is a ParrotsSpec, expected a WhisperSpec"),
    "another vocabulary": (drop_a_token, r"embeddings of 51865 tokens, but vocabulary\.json has 51864"),
    "a list instead of a config": (lambda own: (own / "config.json").write_text("[]"), "not a JSON object"),
    "a broken config": (lambda own: (own / "config.json").write_text("{"), r"config\.json cannot be read"),
    "no list of tokens": (
        lambda own: change(own / "config.json", suppress_ids=None),
        "suppress_ids null, expected a list",
    ),
    "a token of a larger vocabulary": (
        lambda own: change(own / "config.json", suppress_ids=[-1, 7, 51865]),
        "51865 in suppress_ids, expected ids of its 51865 tokens",
    ),
    "a language that is no id": (
        lambda own: change(own / "config.json", lang_ids=[50259, "ru"]),
        '"ru" in lang_ids, expected ids of its 51865 tokens',
    ),
    "no languages": (lambda own: change(own / "config.json", lang_ids=[]), "no lang_ids"),
    "no alignment": (lambda own: change(own / "config.json", alignment_heads=None), "no alignment_heads"),
    "alignment of a larger model": (
        lambda own: change(own / "config.json", alignment_heads=[[0, 0], [7, 3]]),
        r"alignment head \[7, 3\], but the decoder has layers 0 to 0 with heads 0 to 1",
    ),
    "other mel bands": (
        lambda own: (own / "preprocessor_config.json").write_text('{"feature_size": 128}'),
        r"feature_size 128, but model\.bin has 80 mel bands",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named(own: Path, fault: str) -> None:
    """Otherwise it would fail when the model is loaded. Alignment with a head that is not there ends the process."""
    damage, message = FAULTS[fault]
    examine(own)
    damage(own)
    with pytest.raises(UnknownFormat, match=message):
        examine(own)


def test_all_faults_are_named_at_once(own: Path) -> None:
    change(own / "config.json", suppress_ids=None, alignment_heads=[])
    with pytest.raises(UnknownFormat, match=r"suppress_ids null.*; .*no alignment_heads"):
        examine(own)


def test_lists_that_follow_from_the_model_are_completed(own: Path, base_model: Path) -> None:
    """A converter leaves them out if the original model does not have them. Those that are there stay as they are."""
    whole = complete_config(base_model)
    assert whole == json.loads((base_model / "config.json").read_text())
    change(own / "config.json", suppress_ids=None, lang_ids=[])
    completed = complete_config(own)
    assert completed["suppress_ids"] == []
    assert completed["lang_ids"] == whole["lang_ids"]
    examine(own, completed)
