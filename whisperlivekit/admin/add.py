"""Adds the operator's own models, for example fine-tuned ones: from a folder, or from the model hub.

The files are copied, and their digests are recorded. A model appears under its name with one rename, when it is whole.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from whisperlivekit.admin import hub
from whisperlivekit.admin.convert import convert, explain, weights_among
from whisperlivekit.admin.downloads import Report, Say, need_space, only_one
from whisperlivekit.engine.ct2_format import VOCABULARIES, UnknownFormat, read_vocabulary
from whisperlivekit.engine.models import (
    NAME_ALLOWED,
    NAMES,
    File,
    Model,
    find_problems,
    folder,
    is_name,
    read_added,
    sha256_of,
    write_added,
)
from whisperlivekit.engine.whisper_folder import CONFIG, TOKENIZER, Details, choose_files, complete_config, examine
from whisperlivekit.errors import ModelFileError

HUB_PREFIX = "hf:"
_HUB_SOURCE = re.compile(r"hf:(?P<repository>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\S+))?", re.ASCII)
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model comes from."""

    folder: Path | None
    """None: the hub."""
    repository: str = ""
    revision: str = ""

    @property
    def name(self) -> str:
        """The name of the model, unless another one is given."""
        return self.repository.partition("/")[2] if self.folder is None else self.folder.name

    def __str__(self) -> str:
        return f"{HUB_PREFIX}{self.repository}@{self.revision}" if self.folder is None else str(self.folder)


def parse_source(text: str) -> Source:
    """The source that the text names: the path of a folder, or ``hf:OWNER/NAME@REVISION``.

    Raises:
        ModelFileError: it names neither.
    """
    if not text.startswith(HUB_PREFIX):
        path = Path(text).expanduser().resolve()
        if not path.is_dir():
            raise ModelFileError(f"there is no folder {path}, expected the path of one, or hf:OWNER/NAME@REVISION")
        return Source(path)
    found = _HUB_SOURCE.fullmatch(text)
    if not found:
        raise ModelFileError(f"found {text!r}, expected hf:OWNER/NAME@REVISION")
    if not found["revision"]:
        raise ModelFileError(
            f"found {text!r} without a revision, expected for example {text}@main. A repository can change at any "
            "time: the revision, a branch or a commit, says which of its states is meant, and its commit is recorded"
        )
    return Source(None, found["repository"], found["revision"])


def add(
    source: Source,
    name: str,
    model_dir: Path,
    cache_dir: Path,
    *,
    report: Report,
    say: Say,
    replace_other: bool = False,
) -> tuple[Path, Details]:
    """Copy a model into the folder of this name and record its source. Returns the folder, and what the model is.

    Nothing is changed if the same files are there already. Files that were damaged since are replaced by the same ones.

    Raises:
        ModelFileError: the name is not allowed or taken by a model with other files, the source has no model that the
            engine can run, the hub does not answer, or the disk is full.
    """
    if not is_name(name):
        raise ModelFileError(f"found the name {name!r}, expected {NAME_ALLOWED}; choose one with --name")
    target = folder(name, model_dir)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = cache_dir / "downloads" / f"add-{name}"
    unfinished.mkdir(parents=True, exist_ok=True)
    with only_one(unfinished):
        try:
            if source.folder is None:
                source, files = _look_up(source)
                if _is_new(source, files, target, replace_other=replace_other):
                    place = _download(source, files, unfinished / source.revision[:12], report, say)
                else:
                    say(f"the same files are in {target} already")
                    return target, examine(target)
            else:
                place = _converted(source.folder, unfinished / "converted", say)
        finally:
            if not any(unfinished.iterdir()):  # otherwise an unfinished download, which the next call continues
                unfinished.rmdir()
        try:
            details, config = _examine(place, model_dir)
            with _staged(place, source, target, config, report) as staged:
                if _is_new(source, read_added(staged).editions[0].files, target, replace_other=replace_other):
                    _put(staged, target)
                else:
                    say(f"the same files are in {target} already")
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return target, details


def remove(name: str, model_dir: Path) -> None:
    """Delete the files of a model, pinned or added.

    Raises:
        ModelFileError: there is no model of this name.
    """
    target = folder(name, model_dir)
    if not (is_name(name) or name in NAMES) or not target.is_dir():
        raise ModelFileError(f"there is no model {name!r} in {model_dir / 'whisper'}")
    # Renamed first, so that an interruption leaves no half of a model under its name.
    leaving = _removed(target)
    _delete(leaving)
    target.rename(leaving)
    _delete(leaving)


def _removed(target: Path) -> Path:
    return target.with_name(f".{target.name}.removed")


def _delete(path: Path) -> None:
    """Delete a folder, if it is there. Of a link to one only the link."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


# ----------------------------------------------------------------------------------------------------------- sources


def _look_up(source: Source) -> tuple[Source, tuple[File, ...]]:
    """The source with the commit for its revision, and the files of the model there. Not all of them have digests."""
    commit, files = hub.list_files(source.repository, source.revision)
    if weights_among(files) and "model.bin" not in files:
        raise ModelFileError(explain(list(files), source.repository, commit))
    try:
        return replace(source, revision=commit), tuple(files[name] for name in choose_files(files))
    except UnknownFormat as error:
        listed = ", ".join(sorted(files)[:20]) or "no files"
        raise ModelFileError(f"cannot add {source}: {error}; found {listed}") from error


def _download(source: Source, files: tuple[File, ...], place: Path, report: Report, say: Say) -> Path:
    place.mkdir(exist_ok=True)
    have = sum(path.stat().st_size for path in place.iterdir())
    need_space(sum(file.size_bytes or 0 for file in files) - have, place, str(source))
    say(f"downloading {source} from {hub.endpoint()}")
    hub.download(source.repository, source.revision, files, place, report)
    return place


def _converted(place: Path, target: Path, say: Say) -> Path:
    """The folder itself, or ``target`` with the converted model if the folder has transformers' format."""
    names = [path.name for path in place.iterdir()]
    if "model.bin" in names or not weights_among(names):
        return place
    shutil.rmtree(target, ignore_errors=True)
    convert(place, target, say)
    return target


def _examine(place: Path, model_dir: Path) -> tuple[Details, dict[str, Any]]:
    """What the model is, and its config.json, completed."""
    try:
        choose_files([path.name for path in place.iterdir()])
        config = complete_config(place)
        return examine(place, config), config
    except (OSError, UnknownFormat) as error:
        raise ModelFileError(
            f"cannot add the model in {place}: {error}{_fitting_tokenizer(place, model_dir)}"
        ) from error


def _fitting_tokenizer(place: Path, model_dir: Path) -> str:
    """A sentence that names the tokenizer of a pinned model with the same vocabulary; empty if there is none.

    Fine-tuning rarely changes the tokenizer, and conversions often leave it out.
    """
    if (place / TOKENIZER).is_file() or not any((place / name).is_file() for name in VOCABULARIES):
        return ""
    for name in NAMES:
        other = folder(name, model_dir)
        try:
            if (other / TOKENIZER).is_file() and read_vocabulary(other)[1] == read_vocabulary(place)[1]:
                return f". The one of the model {name} fits this vocabulary: cp {other / TOKENIZER} {place}"
        except (OSError, UnknownFormat):
            continue
    return ""


# ----------------------------------------------------------------------------------------------------------- placing


@contextmanager
def _staged(place: Path, source: Source, target: Path, config: dict[str, Any], report: Report) -> Iterator[Path]:
    """A complete copy of the model beside ``target``, which is deleted at the end of the block if it is still there."""
    staged = target.with_name(f".{target.name}.new")
    shutil.rmtree(staged, ignore_errors=True)  # of a process that was killed
    paths = [place / name for name in choose_files([path.name for path in place.iterdir()])]
    ours = place != source.folder
    if not ours:
        need_space(sum(path.stat().st_size for path in paths), target.parent, target.name)
    staged.mkdir()
    try:
        take = _move if ours else _copy
        files = [take(path, staged / path.name, report) for path in paths if path.name != CONFIG]
        write_added(staged, str(source), (*files, _write_config(place / CONFIG, config, staged / CONFIG)))
        # Reads every file again, and records that it did: the first start need not.
        problems = list(find_problems(staged, read_added(staged)))
        if problems:
            raise ModelFileError(f"the copy of {place} is wrong: {'; '.join(problems)}")
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _write_config(source: Path, config: dict[str, Any], target: Path) -> File:
    """Copy config.json as it is if nothing had to be added to it."""
    original = source.read_bytes()
    content = original if json.loads(original) == config else f"{json.dumps(config, indent=2)}\n".encode()
    target.write_bytes(content)
    return File(CONFIG, len(content), hashlib.sha256(content).hexdigest())


def _move(source: Path, target: Path, _: Report) -> File:
    shutil.move(source, target)
    return File(source.name, target.stat().st_size, sha256_of(target))


def _copy(source: Path, target: Path, report: Report) -> File:
    # Not shutil.copy: the copy gets this user's usual permissions, so that the service can read it.
    digest, done, total = hashlib.sha256(), 0, source.stat().st_size
    with source.open("rb") as file, target.open("wb") as out:
        while block := file.read(_BLOCK_BYTES):
            out.write(block)
            digest.update(block)
            done += len(block)
            report(source.name, done, total)
    return File(source.name, done, digest.hexdigest())


def _is_new(source: Source, files: tuple[File, ...], target: Path, *, replace_other: bool) -> bool:
    """Whether these files shall take the place of what is at ``target``; not if the same ones are there already.

    Raises:
        ModelFileError: another model is there, and shall not be replaced.
    """
    if not target.exists():
        return True
    old = _existing(target)
    differing = _differing(files, old.editions[0].files) if old else []
    if old and not differing:
        # Small files on the hub have no digest, but those of one commit never change.
        compared = old.source == str(source) or all(file.sha256 for file in files)
        return not compared or bool(list(find_problems(target, old)))
    if replace_other:
        return True
    what = f"{target} exists and was not added by this command"
    if old:
        what = f"the model {target.name} was added from {old.source}, and {source} has other files"
        what += f": {', '.join(differing)}"
    raise ModelFileError(f"{what}; choose another name with --name, or replace the model with --replace")


def _differing(files: tuple[File, ...], others: tuple[File, ...]) -> list[str]:
    """The names of the files that only one side has, or that have another digest. No digest: not compared."""
    left, right = ({file.name: file.sha256 for file in side} for side in (files, others))
    return sorted(
        name
        for name in left.keys() | right.keys()
        if name not in left or name not in right or left[name] not in {None, right[name]}
    )


def _put(staged: Path, target: Path) -> None:
    """Rename the staged model to its name."""
    leaving = _removed(target)
    _delete(leaving)
    if target.exists():
        target.rename(leaving)  # a folder that is not empty cannot be replaced by one rename
    staged.rename(target)
    _delete(leaving)


def _existing(target: Path) -> Model | None:
    try:
        return read_added(target)
    except ModelFileError:
        return None
