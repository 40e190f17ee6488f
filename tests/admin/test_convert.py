"""Conversion from transformers' format: done where its libraries are installed, otherwise explained."""

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.model_hub import Told
from whisperlivekit.admin.convert import convert, explain, weights_among
from whisperlivekit.engine.whisper_folder import complete_config, examine

FILES = ("config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json")


def test_weights_in_transformers_format_are_recognised() -> None:
    """In one file or in several."""
    assert weights_among(FILES) == "model.safetensors"
    assert weights_among(["pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"])
    assert weights_among(["config.json", "model.bin"]) is None


def test_the_commands_of_a_conversion_are_named() -> None:
    """With the files that are there: the converter fails if it is to copy one that is not."""
    told = explain(FILES, "/srv/whisper-ru")
    assert "found model.safetensors, which is transformers' format; expected model.bin" in told
    assert "pip install ctranslate2 transformers torch" in told
    assert (
        "ct2-transformers-converter --model /srv/whisper-ru --output_dir whisper-ru-ct2 --quantization float16 "
        "--copy_files tokenizer.json preprocessor_config.json\n"
    ) in told
    assert told.endswith("whisperlivekit models add whisper-ru-ct2 --name whisper-ru")


def test_a_missing_tokenizer_is_made_from_the_original_files() -> None:
    told = explain(["config.json", "pytorch_model.bin"], "owner/whisper-ru", "a" * 40)
    assert f"--model owner/whisper-ru --revision {'a' * 40} --output_dir whisper-ru-ct2" in told
    assert "copy_files" not in told
    assert "save_pretrained(sys.argv[2])' owner/whisper-ru whisper-ru-ct2\n" in told


@pytest.mark.model
@pytest.mark.skipif(
    not (find_spec("transformers") and find_spec("torch")),
    reason="needs transformers and torch, which the server does not install",
)
def test_a_folder_is_converted(tmp_path: Path, base_model: Path) -> None:
    """To float16. The result has what the engine needs."""
    write = (
        "import sys; from transformers import WhisperConfig, WhisperForConditionalGeneration as Whisper\n"
        "config = WhisperConfig(vocab_size=51865, d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=32,\n"
        "    decoder_ffn_dim=32, encoder_attention_heads=2, decoder_attention_heads=2)\n"
        "Whisper(config).save_pretrained(sys.argv[1])"
    )
    source, target = tmp_path / "source", tmp_path / "target"
    subprocess.run([sys.executable, "-c", write, str(source)], check=True)
    shutil.copy(base_model / "tokenizer.json", source)
    convert(source, target, Told().say)
    assert str(examine(target, complete_config(target))) == "80 mel bands, multilingual, float16"
