"""Examines a folder with a Whisper model in CTranslate2's format. For models whose files are not pinned.

What is refused here would otherwise fail when the model is loaded, or end the process while it decodes. Only the small
files and the names and shapes in model.bin are read, so this takes a fraction of a second for any model.
"""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whisperlivekit.engine.ct2_format import VOCABULARIES, ModelBin, UnknownFormat, open_model, read_vocabulary

SPECIFICATION = "WhisperSpec"
CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
PREPROCESSOR = "preprocessor_config.json"
REQUIRED = (CONFIG, "model.bin", TOKENIZER)
MULTILINGUAL_TOKENS = 51865
"""Models with a smaller vocabulary know English only. Source: CTranslate2, ``src/models/whisper.cc``."""
TYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")
"""CTranslate2's types of tensors by their number. Source: ``include/ctranslate2/types.h``."""
_COMMON_TOKENS = ("<|endoftext|>", "<|startoftranscript|>", "<|transcribe|>", "<|notimestamps|>")


@dataclass(frozen=True, slots=True)
class Details:
    """What a model is."""

    n_mels: int
    """Mel bands of the audio that it reads: 80, and 128 from large-v3 on."""
    multilingual: bool
    type: str
    """The type of most of its numbers, see ``TYPES``."""

    def __str__(self) -> str:
        return f"{self.n_mels} mel bands, {'multilingual' if self.multilingual else 'English only'}, {self.type}"


def choose_files(names: Collection[str]) -> list[str]:
    """The names of the model's files among those of a folder.

    Raises:
        UnknownFormat: a file is missing; the message says how to get it.
    """
    vocabulary = [name for name in VOCABULARIES if name in names][:1]
    missing = [name for name in REQUIRED if name not in names] + ([] if vocabulary else [" or ".join(VOCABULARIES)])
    if missing:
        how = f" ({_GET_TOKENIZER})" if missing == [TOKENIZER] else ""
        verb = "is" if len(missing) == 1 else "are"
        raise UnknownFormat(f"{', '.join(missing)} {verb} missing{how}")
    return [*REQUIRED, *vocabulary, *(name for name in (PREPROCESSOR,) if name in names)]


_GET_TOKENIZER = (
    f"{TOKENIZER} is in the repository that the model was converted from; if not, run with transformers installed: "
    """python -c "from transformers import AutoTokenizer; """
    """AutoTokenizer.from_pretrained('OWNER/NAME').save_pretrained('FOLDER')\""""
)


def complete_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json with the lists that converters leave out if the original model does not have them.

    A list of tokens that are never generated may be empty, and the tokens of the languages follow from the vocabulary.

    Raises:
        UnknownFormat: config.json or the vocabulary is malformed.
        OSError: one of them cannot be read.
    """
    config = _read_object(folder / CONFIG)
    for name in ("suppress_ids", "suppress_ids_begin"):
        if config.get(name) is None:
            config[name] = []
    if not config.get("lang_ids"):
        _, tokens = read_vocabulary(folder)
        if "<|startoftranscript|>" in tokens and "<|translate|>" in tokens:
            # Whisper's vocabularies have the languages' tokens, and only these, between the two.
            config["lang_ids"] = list(range(tokens.index("<|startoftranscript|>") + 1, tokens.index("<|translate|>")))
    return config


def examine(folder: Path, config: dict[str, Any] | None = None) -> Details:
    """What the model in this folder is. ``config``: what to take for its config.json; None: the file itself.

    Raises:
        UnknownFormat: it is not a Whisper model that the engine can run; the message has every problem that was found.
        OSError: a file cannot be read.
    """
    choose_files([path.name for path in folder.iterdir() if path.is_file()])
    vocabulary_name, tokens = read_vocabulary(folder)
    multilingual = len(tokens) >= MULTILINGUAL_TOKENS
    with open_model(folder / "model.bin") as model:
        if model.specification != SPECIFICATION:
            raise UnknownFormat(f"model.bin is a {model.specification}, expected a {SPECIFICATION}")
        details = Details(_mel_bands(model), multilingual, _main_type(model))
        problems = [
            *_check_config(config or _read_object(folder / CONFIG), model, len(tokens), multilingual=multilingual),
            *_check_embeddings(model, vocabulary_name, len(tokens)),
        ]
    problems += _check_tokenizer(_read_object(folder / TOKENIZER), vocabulary_name, tokens)
    if (folder / PREPROCESSOR).is_file():
        bands = _read_object(folder / PREPROCESSOR).get("feature_size", details.n_mels)
        if bands != details.n_mels:
            problems.append(f"{PREPROCESSOR} has feature_size {bands}, but model.bin has {details.n_mels} mel bands")
    if problems:
        raise UnknownFormat("; ".join(problems))
    return details


def can_translate(folder: Path) -> bool:
    """Whether the model was trained to translate into English, as far as its files show.

    English models were not. Nor was large-v3-turbo, nor the distil models: each has fewer layers in its decoder than in
    its encoder, and every model that was trained to translate has as many. A fine-tuned model may have forgotten it,
    which its files do not show.

    Raises:
        UnknownFormat: the folder has files of another format.
        OSError: a file cannot be read.
    """
    _, tokens = read_vocabulary(folder)
    with open_model(folder / "model.bin") as model:
        return len(tokens) >= MULTILINGUAL_TOKENS and len(_layers(model, "decoder")) == len(_layers(model, "encoder"))


def _layers(model: ModelBin, part: str) -> set[int]:
    """The numbers of the layers of a part."""
    return {int(found[1]) for item in model.variables if (found := re.match(rf"{part}/layer_(\d+)/", item.name))}


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UnknownFormat(f"{path.name} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UnknownFormat(f"{path.name} is not a JSON object")
    return content


def _mel_bands(model: ModelBin) -> int:
    shape = model.variable("encoder/conv1/weight").shape
    if len(shape) != 3:
        raise UnknownFormat(f"model.bin: encoder/conv1/weight has shape {shape}, expected three axes")
    return shape[1]


def _main_type(model: ModelBin) -> str:
    number = max(model.variables, key=lambda variable: len(variable.data[0])).type
    return TYPES[number] if number < len(TYPES) else f"type {number}"


def _check_config(config: dict[str, Any], model: ModelBin, tokens: int, *, multilingual: bool) -> Iterator[str]:
    """CTranslate2 raises an error for a list that is missing. It reads and writes any memory for a token or a head that
    does not exist.
    """
    for name in ("suppress_ids", "suppress_ids_begin"):
        if not isinstance(config.get(name), list):
            yield f"config.json has {name} {json.dumps(config.get(name))}, expected a list, which may be empty"
    for name in ("suppress_ids", "suppress_ids_begin", "lang_ids"):
        ids = config.get(name)
        for id_ in ids if isinstance(ids, list) else ():
            # -1 stands for Whisper's own list of symbols.
            if not (type(id_) is int and -1 <= id_ < tokens):
                yield f"config.json has {json.dumps(id_)} in {name}, expected ids of its {tokens} tokens"
                break
    if multilingual and not (isinstance(config.get("lang_ids"), list) and config["lang_ids"]):
        yield "config.json has no lang_ids, expected the ids of the languages' tokens"
    layers = _layers(model, "decoder")
    heads = int.from_bytes(model.variable("decoder/num_heads").data[0], "little")
    aligned = config.get("alignment_heads")
    if not isinstance(aligned, list) or not aligned:
        yield "config.json has no alignment_heads: words would have no times; convert the model with CTranslate2 4"
        return
    for pair in aligned:
        match pair:
            case [int(layer), int(head)] if layer in layers and 0 <= head < heads:
                pass
            case _:
                yield (
                    f"config.json has the alignment head {json.dumps(pair)}, but the decoder has layers 0 to "
                    f"{max(layers)} with heads 0 to {heads - 1}; the list was probably copied from a larger model"
                )
                return


def _check_embeddings(model: ModelBin, vocabulary_name: str, tokens: int) -> Iterator[str]:
    rows = model.variable("decoder/embeddings/weight").shape[:1]
    if rows != (tokens,):
        yield f"model.bin has embeddings of {rows[0] if rows else 0} tokens, but {vocabulary_name} has {tokens}"


def _check_tokenizer(tokenizer: dict[str, Any], vocabulary_name: str, tokens: list[str]) -> Iterator[str]:
    """Whether the tokenizer and the model number their tokens in the same way."""
    try:
        ids = {**tokenizer["model"]["vocab"], **{token["content"]: token["id"] for token in tokenizer["added_tokens"]}}
    except (KeyError, TypeError):
        yield f"{TOKENIZER} has no vocabulary or no list of added_tokens"
        return
    for token in _COMMON_TOKENS:
        if token not in tokens:
            yield f"{vocabulary_name} has no {token}: this is not a Whisper model"
        elif ids.get(token) != tokens.index(token):
            found = f"gives {token} the id {ids[token]}" if token in ids else f"has no {token}"
            yield f"{TOKENIZER} {found}, but {vocabulary_name} has it at {tokens.index(token)}: it is another model's"
            return
