"""Gives every text token a second id, so that CTranslate2 reads a forced prefix in one pass.

CTranslate2's ``generate`` runs a prompt in one parallel pass, but only as far as its ids lie between those of
``<|startoftranscript|>`` and ``<|notimestamps|>``. The ids of text tokens are smaller, so each token of a forced prefix
costs a whole decoder step, output layer included, and the prefix of a live window is longer than its new text. For this
reason the model is loaded from a copy whose embedding table repeats the rows of all text tokens in that range. The
output layer keeps the first ids only, so generated tokens have their usual ids.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from whisperlivekit.engine.ct2_format import FORMAT, ModelBin, UnknownFormat, Variable, open_model, read_vocabulary

EMBEDDINGS = "decoder/embeddings/"
PROJECTION = "decoder/projection/"


@dataclass(frozen=True, slots=True)
class SecondIds:
    """Where the second ids begin."""

    first: int
    """The second id of text token 0."""
    no_timestamps: int
    """The id of ``<|notimestamps|>``, which is the last id."""

    def of(self, tokens: list[int]) -> list[int]:
        """The second ids of text tokens."""
        return [self.first + token for token in tokens]


def copy_model(source: Path, target: Path) -> SecondIds:
    """Write the model in the folder ``source`` into the empty folder ``target``, with second ids.

    Raises:
        UnknownFormat: the model's files have another format.
        OSError: reading or writing failed.
    """
    name, tokens = read_vocabulary(source)
    rows = len(tokens)
    try:
        text = tokens.index("<|endoftext|>")
        no_timestamps = tokens.index("<|notimestamps|>")
    except ValueError as error:
        raise UnknownFormat(f"{name}: {error}") from error
    tokens[no_timestamps] = "<|unused|>"
    tokens += [f"<|second {token}|>" for token in range(text)]
    tokens.append("<|notimestamps|>")
    content = json.dumps(tokens) if name.endswith(".json") else "".join(f"{token}\n" for token in tokens)
    (target / name).write_text(content, encoding="utf-8")
    (target / "config.json").write_bytes((source / "config.json").read_bytes())
    with open_model(source / "model.bin") as model, (target / "model.bin").open("wb") as out:
        _copy_weights(model, out, rows, text, no_timestamps)
    return SecondIds(rows, rows + text)


def _copy_weights(model: ModelBin, out: BinaryIO, rows: int, text: int, no_timestamps: int) -> None:
    # The output layer shares the embedding table in the file. In the copy it has a table of its own.
    for alias, name in model.aliases:
        if alias.startswith(PROJECTION) and name.startswith(EMBEDDINGS):
            shared = model.variable(name)
            model.variables.append(Variable(alias, shared.shape, shared.type, list(shared.data)))
    aliases = [pair for pair in model.aliases if not pair[1].startswith(EMBEDDINGS)]
    tables = [variable for variable in model.variables if variable.name.startswith(EMBEDDINGS)]
    if not any(variable.shape[:1] == (rows,) for variable in tables):
        raise UnknownFormat(f"model.bin has no {EMBEDDINGS}weight with {rows} rows")
    for variable in tables:
        if variable.shape[:1] == (rows,):
            (data,) = variable.data
            width = len(data) // rows
            row = data[no_timestamps * width : (no_timestamps + 1) * width]
            variable.shape = (rows + text + 1, *variable.shape[1:])
            variable.data = [data, data[: text * width], row]
    out.write(struct.pack("<I", FORMAT) + _string(model.specification))
    out.write(struct.pack("<II", model.revision, len(model.variables)))
    for variable in model.variables:
        shape = struct.pack(f"<B{len(variable.shape)}I", len(variable.shape), *variable.shape)
        size = sum(map(len, variable.data))
        out.write(_string(variable.name) + shape + struct.pack("<BI", variable.type, size))
        out.writelines(variable.data)
    out.write(struct.pack("<I", len(aliases)))
    for alias, name in aliases:
        out.write(_string(alias) + _string(name))


def _string(text: str) -> bytes:
    return struct.pack("<H", len(text.encode()) + 1) + text.encode() + b"\0"
