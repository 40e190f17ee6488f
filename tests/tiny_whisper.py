"""Writes a Whisper model of 2 MB with random weights, as the converter writes real ones. The engine runs it.

Its words mean nothing: it is for tests of what happens to files, and for a number of mel bands that base does not have.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.conftest import ROOT

WIDTH = 16
HEADS = 2
_BASE = ROOT / "models" / "whisper" / "base"


def write_tiny_whisper(
    folder: Path,
    *,
    n_mels: int = 80,
    seed: int = 0,
    english: bool = False,
    stored: str = "float16",
    layers: tuple[int, int] = (1, 1),
) -> Path:
    """Write the model into ``folder``, which is made. With 128 mel bands it has the vocabulary of large-v3 too.

    Another ``seed`` gives other weights. The tokenizer is that of base. ``english``: the vocabulary has one token less,
    by which CTranslate2 recognises English models. ``stored``: the type of the weights in the file. ``layers``: of the
    encoder and of the decoder.
    """
    from ctranslate2.specs import WhisperSpec

    tokens = (_BASE / "vocabulary.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    tokenizer = json.loads((_BASE / "tokenizer.json").read_text(encoding="utf-8"))
    if n_mels == 128:
        # large-v3 knows Cantonese too, so later tokens have other ids.
        tokens.insert(tokens.index("<|translate|>"), "<|yue|>")
        yue = tokens.index("<|yue|>")
        added = tokenizer["added_tokens"]
        for token in added:
            token["id"] += token["id"] >= yue
        place = next(number for number, token in enumerate(added) if token["id"] > yue)
        added.insert(place, {**added[place], "id": yue, "content": "<|yue|>"})
    if english:
        tokens.pop()
    spec: Any = WhisperSpec(layers[0], HEADS, layers[1], HEADS)
    _fill(spec, np.random.default_rng(seed), n_mels, len(tokens))
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [220, tokens.index("<|endoftext|>")]
    spec.config.lang_ids = list(range(tokens.index("<|startoftranscript|>") + 1, tokens.index("<|translate|>")))
    spec.config.alignment_heads = [[0, 0], [0, 1]]
    spec.register_vocabulary(tokens)
    spec.validate()
    spec.optimize(stored)
    folder.mkdir(parents=True)
    spec.save(str(folder))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return folder


def _fill(spec: Any, random: np.random.Generator, n_mels: int, tokens: int) -> None:
    def numbers(*shape: int) -> NDArray[np.float32]:
        return random.normal(0, 0.1, shape).astype(np.float32)

    def linear(layer: Any, outputs: int, inputs: int = WIDTH) -> None:
        layer.weight, layer.bias = numbers(outputs, inputs), numbers(outputs)

    def normalised(*layers: Any) -> None:
        for layer in layers:
            layer.gamma, layer.beta = np.ones(WIDTH, np.float32), numbers(WIDTH)

    def feed_forward(layer: Any) -> None:
        linear(layer.linear_0, 2 * WIDTH)
        linear(layer.linear_1, WIDTH, 2 * WIDTH)
        normalised(layer.layer_norm)

    def attention(layer: Any, *outputs: int) -> None:
        for part, count in zip(layer.linear, outputs, strict=True):
            linear(part, count)
        normalised(layer.layer_norm)

    encoder, decoder = spec.encoder, spec.decoder
    for convolution, inputs in ((encoder.conv1, n_mels), (encoder.conv2, WIDTH)):
        convolution.weight, convolution.bias = numbers(WIDTH, inputs, 3), numbers(WIDTH)
    encoder.position_encodings.encodings = numbers(1500, WIDTH)
    decoder.position_encodings.encodings = numbers(448, WIDTH)
    decoder.embeddings.weight = numbers(tokens, WIDTH)
    decoder.projection.weight = decoder.embeddings.weight
    normalised(encoder.layer_norm, decoder.layer_norm)
    for layer in (*encoder.layer, *decoder.layer):
        attention(layer.self_attention, 3 * WIDTH, WIDTH)
        feed_forward(layer.ffn)
    for layer in decoder.layer:
        attention(layer.attention, WIDTH, 2 * WIDTH, WIDTH)
