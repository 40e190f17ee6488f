"""Reads models in CTranslate2's format: the vocabulary, and the tensors of model.bin without loading them."""

import json
import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FORMAT = 6
"""The version of model.bin that this module can read. Source: CTranslate2 3 and 4, ``specs/model_spec.py``."""

VOCABULARIES = ("vocabulary.json", "vocabulary.txt")


class UnknownFormat(Exception):
    """The model's files have another format."""


@dataclass(slots=True)
class Variable:
    """A tensor of model.bin."""

    name: str
    shape: tuple[int, ...]
    type: int
    """CTranslate2's number of the type of its elements."""
    data: list[memoryview]
    """The tensor's bytes, in pieces."""


@dataclass(slots=True)
class ModelBin:
    """The content of a model.bin."""

    specification: str
    """The kind of model, for example WhisperSpec."""
    revision: int
    """The revision of the specification."""
    variables: list[Variable]
    aliases: list[tuple[str, str]]
    """(another name, the name of the variable that it stands for)."""

    def variable(self, name: str) -> Variable:
        """The variable of this name.

        Raises:
            UnknownFormat: there is none.
        """
        for variable in self.variables:
            if variable.name == name:
                return variable
        raise UnknownFormat(f"model.bin has no {name}")


def read_vocabulary(folder: Path) -> tuple[str, list[str]]:
    """The name of the vocabulary's file, and its tokens in the order of their ids.

    Raises:
        UnknownFormat: there is no such file, or it is no list of tokens.
        OSError: it cannot be read.
    """
    for name in VOCABULARIES:
        if (folder / name).is_file():
            try:
                content = (folder / name).read_text(encoding="utf-8")
                tokens = json.loads(content) if name.endswith(".json") else content.removesuffix("\n").split("\n")
            except ValueError as error:
                raise UnknownFormat(f"{name} cannot be read: {error}") from error
            if not isinstance(tokens, list):
                raise UnknownFormat(f"{name} is not a list")
            return name, tokens
    raise UnknownFormat(f"no {' or '.join(VOCABULARIES)} in {folder}")


@contextmanager
def open_model(path: Path) -> Iterator[ModelBin]:
    """The content of a model.bin. The file is mapped: its tensors can be used inside the ``with`` block only.

    Raises:
        UnknownFormat: the file has another format, or ends early.
        OSError: it cannot be read.
    """
    if path.stat().st_size == 0:
        raise UnknownFormat(f"{path.name} is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        reader = _Reader(memoryview(mapped))
        variables: list[Variable] = []
        try:
            try:
                version = reader.number("I")
                if version != FORMAT:
                    raise UnknownFormat(f"model.bin has format {version}, expected {FORMAT}")
                specification, revision = reader.string(), reader.number("I")
                variables += (reader.variable() for _ in range(reader.number("I")))
                aliases = [(reader.string(), reader.string()) for _ in range(reader.number("I"))]
            except (struct.error, UnicodeDecodeError) as error:
                raise UnknownFormat(f"model.bin cannot be read: {error!r}") from error
            yield ModelBin(specification, revision, variables, aliases)
        finally:
            # A mapped file cannot be closed while there are views of it.
            for variable in variables:
                for view in variable.data:
                    view.release()
            reader.release()


class _Reader:
    """Reads the numbers, strings and tensors of a model.bin in order."""

    def __init__(self, file: memoryview) -> None:
        self._file = file
        self._position = 0
        self._views: list[memoryview] = [file]

    def number(self, kind: str) -> int:
        (value,) = struct.unpack_from(f"<{kind}", self._file, self._position)
        self._position += struct.calcsize(kind)
        return int(value)

    def string(self) -> str:
        """A string is stored as its length, which counts the final zero byte, then its bytes."""
        content = bytes(self._bytes(self.number("H")))
        return content.removesuffix(b"\0").decode()

    def variable(self) -> Variable:
        name = self.string()
        shape = tuple(self.number("I") for _ in range(self.number("B")))
        kind = self.number("B")
        data = self._bytes(self.number("I"))
        return Variable(name, shape, kind, [data])

    def release(self) -> None:
        for view in self._views:
            view.release()

    def _bytes(self, size: int) -> memoryview:
        if self._position + size > len(self._file):
            raise UnknownFormat("model.bin ends early")
        view = self._file[self._position : self._position + size]
        self._views.append(view)
        self._position += size
        return view
