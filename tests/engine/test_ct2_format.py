"""The reader of models in CTranslate2's format."""

import json
from pathlib import Path

import pytest

from tests.tiny_whisper import WIDTH, write_tiny_whisper
from whisperlivekit.engine.ct2_format import UnknownFormat, open_model, read_vocabulary


@pytest.mark.model
def test_names_shapes_and_aliases_are_read(tmp_path: Path) -> None:
    """Of a file that CTranslate2 wrote. The tensors lie in the file one after the other."""
    path = write_tiny_whisper(tmp_path / "tiny") / "model.bin"
    with open_model(path) as model:
        assert model.specification == "WhisperSpec"
        weight = model.variable("encoder/conv1/weight")
        assert weight.shape == (WIDTH, 80, 3)
        assert sum(map(len, weight.data)) == WIDTH * 80 * 3 * 2
        assert ("decoder/projection/weight", "decoder/embeddings/weight") in model.aliases
        with pytest.raises(UnknownFormat, match="no encoder/conv9/weight"):
            model.variable("encoder/conv9/weight")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"\x06\0\0\0", "cannot be read"),
        (b"\x05\0\0\0" + b"\0" * 64, "has format 5, expected 6"),
        (b"\x06\0\0\0\x05\0Spec\0\x03\0\0\0\xff\0\0\0", "cannot be read"),
        (b"\x06\0\0\0\xff\0Spec\0", "ends early"),
        (b"\x06\0\0\0\x02\0\xff\0\x03\0\0\0", "cannot be read"),
    ],
    ids=["empty", "only a version", "another version", "no variables", "truncated", "not UTF-8"],
)
def test_an_unknown_format_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(UnknownFormat, match=problem), open_model(path):
        pass


def test_both_kinds_of_vocabulary_are_read(tmp_path: Path) -> None:
    """One token a line, or a JSON list, which comes first if there are both."""
    with pytest.raises(UnknownFormat, match="no vocabulary"):
        read_vocabulary(tmp_path)
    (tmp_path / "vocabulary.txt").write_text("a\nбв\n", encoding="utf-8")
    assert read_vocabulary(tmp_path) == ("vocabulary.txt", ["a", "бв"])
    (tmp_path / "vocabulary.json").write_text(json.dumps(["a", "\n"]))
    assert read_vocabulary(tmp_path) == ("vocabulary.json", ["a", "\n"])


@pytest.mark.parametrize("content", ["{", "{}", "7"])
def test_a_malformed_vocabulary_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "vocabulary.json").write_text(content)
    with pytest.raises(UnknownFormat, match=r"vocabulary\.json "):
        read_vocabulary(tmp_path)
