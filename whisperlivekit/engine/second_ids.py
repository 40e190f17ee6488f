"""Gives every text token a second id, so that CTranslate2 reads a forced prefix in one pass.

CTranslate2's ``generate`` runs a prompt in one parallel pass, but only as far as its ids lie between those of
``<|startoftranscript|>`` and ``<|notimestamps|>``. The ids of text tokens are smaller, so each token of a forced prefix
costs a whole decoder step, output layer included, and the prefix of a live window is longer than its new text. For this
reason the model is loaded from a copy whose embedding table repeats the rows of all text tokens in that range. The
output layer keeps the first ids only, so generated tokens have their usual ids.
"""

import json
import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

FORMAT = 6
"""The version of model.bin that this module can read. Source: CTranslate2 3 and 4, ``specs/model_spec.py``."""

EMBEDDINGS = "decoder/embeddings/"
PROJECTION = "decoder/projection/"
VOCABULARIES = ("vocabulary.json", "vocabulary.txt")


class UnknownFormat(Exception):
    """The model's files have a format that this module cannot copy."""


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


@dataclass(slots=True)
class _Variable:
    name: str
    shape: tuple[int, ...]
    type: int
    data: list[memoryview]
    """The tensor's bytes, in pieces."""


def copy_model(source: Path, target: Path) -> SecondIds:
    """Write the model in the folder ``source`` into the empty folder ``target``, with second ids.

    Raises:
        UnknownFormat: the model's files have another format.
        OSError: reading or writing failed.
    """
    name, tokens = _read_vocabulary(source)
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
    with _mapped(source / "model.bin") as file, (target / "model.bin").open("wb") as out:
        _copy_weights(file, out, rows, text, no_timestamps)
    return SecondIds(rows, rows + text)


def _read_vocabulary(folder: Path) -> tuple[str, list[str]]:
    for name in VOCABULARIES:
        if (folder / name).is_file():
            content = (folder / name).read_text(encoding="utf-8")
            return name, json.loads(content) if name.endswith(".json") else content.removesuffix("\n").split("\n")
    raise UnknownFormat(f"no {' or '.join(VOCABULARIES)} in {folder}")


@contextmanager
def _mapped(path: Path) -> Iterator[memoryview]:
    """The file's bytes without reading them into memory."""
    if path.stat().st_size == 0:
        raise UnknownFormat(f"{path.name} is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        view = memoryview(mapped)
        try:
            yield view
        finally:
            view.release()


def _copy_weights(file: memoryview, out: BinaryIO, rows: int, text: int, no_timestamps: int) -> None:
    reader = _Reader(file)
    try:
        version = reader.number("I")
        if version != FORMAT:
            raise UnknownFormat(f"model.bin has format {version}, expected {FORMAT}")
        specification, revision = reader.string(), reader.number("I")
        variables = [reader.variable() for _ in range(reader.number("I"))]
        aliases = [(reader.string(), reader.string()) for _ in range(reader.number("I"))]
        by_name = {variable.name: variable for variable in variables}
        # The output layer shares the embedding table in the file. In the copy it has a table of its own.
        for alias, name in aliases:
            if alias.startswith(PROJECTION) and name.startswith(EMBEDDINGS):
                shared = by_name[name]
                variables.append(_Variable(alias, shared.shape, shared.type, list(shared.data)))
        aliases = [pair for pair in aliases if not pair[1].startswith(EMBEDDINGS)]
        tables = [variable for variable in variables if variable.name.startswith(EMBEDDINGS)]
        if not any(variable.shape[:1] == (rows,) for variable in tables):
            raise UnknownFormat(f"model.bin has no {EMBEDDINGS}weight with {rows} rows")
        for variable in tables:
            if variable.shape[:1] == (rows,):
                (data,) = variable.data
                width = len(data) // rows
                row = data[no_timestamps * width : (no_timestamps + 1) * width]
                variable.shape = (rows + text + 1, *variable.shape[1:])
                variable.data = [data, data[: text * width], row]
        out.write(struct.pack("<I", version) + _string(specification) + struct.pack("<II", revision, len(variables)))
        for variable in variables:
            shape = struct.pack(f"<B{len(variable.shape)}I", len(variable.shape), *variable.shape)
            size = sum(map(len, variable.data))
            out.write(_string(variable.name) + shape + struct.pack("<BI", variable.type, size))
            out.writelines(variable.data)
        out.write(struct.pack("<I", len(aliases)))
        for alias, name in aliases:
            out.write(_string(alias) + _string(name))
    except (struct.error, UnicodeDecodeError, KeyError) as error:
        raise UnknownFormat(f"model.bin cannot be read: {error!r}") from error
    finally:
        reader.release()


class _Reader:
    """Reads the numbers, strings and tensors of a model.bin in order."""

    def __init__(self, file: memoryview) -> None:
        self._file = file
        self._position = 0
        self._views: list[memoryview] = []

    def number(self, kind: str) -> int:
        (value,) = struct.unpack_from(f"<{kind}", self._file, self._position)
        self._position += struct.calcsize(kind)
        return int(value)

    def string(self) -> str:
        """A string is stored as its length, which counts the final zero byte, then its bytes."""
        content = bytes(self._bytes(self.number("H")))
        return content.removesuffix(b"\0").decode()

    def variable(self) -> _Variable:
        name = self.string()
        shape = tuple(self.number("I") for _ in range(self.number("B")))
        kind = self.number("B")
        data = self._bytes(self.number("I"))
        return _Variable(name, shape, kind, [data])

    def release(self) -> None:
        """Release all views: a mapped file cannot be closed while there are views of it."""
        for view in self._views:
            view.release()

    def _bytes(self, size: int) -> memoryview:
        if self._position + size > len(self._file):
            raise UnknownFormat("model.bin ends early")
        view = self._file[self._position : self._position + size]
        self._views.append(view)
        self._position += size
        return view


def _string(text: str) -> bytes:
    return struct.pack("<H", len(text.encode()) + 1) + text.encode() + b"\0"
