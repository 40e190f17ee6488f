"""The model hub: which files a repository has, and their download, which continues where an earlier one ended.

The hub is huggingface.co, or the mirror that the environment variable ``HF_ENDPOINT`` names. A token in ``HF_TOKEN``
opens repositories that are not public. It is sent to the hub and to no other host, and is in no message.
"""

import errno
import json
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from whisperlivekit.admin.downloads import Report, difference
from whisperlivekit.engine.models import File
from whisperlivekit.errors import ModelFileError

HUB = "https://huggingface.co"
CONNECT_TIMEOUT_S = 10.0
"""A hub that does not answer within this time is unreachable. An attempt also ends after this time without data."""
ATTEMPTS = 5
_BLOCK_BYTES = 1 << 18
_MAX_ANSWER_BYTES = 32 << 20
"""Longest list of files that is read."""


def endpoint() -> str:
    """The URL of the hub, without a slash at the end."""
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def list_files(repository: str, revision: str) -> tuple[str, dict[str, File]]:
    """The commit that a branch, tag or commit of a repository stands for, and the files in it by their names.

    Only files in Git LFS, which the weights are, have a digest.

    Raises:
        ModelFileError: the hub does not answer, or has no such repository or revision, or does not show it.
    """
    url = f"{endpoint()}/api/models/{repository}/revision/{quote(revision, safe='')}?blobs=true"
    try:
        with _open(urllib.request.Request(url)) as answer:  # noqa: S310 (https, or the operator's mirror)
            found = json.loads(answer.read(_MAX_ANSWER_BYTES))
        files = (_to_file(entry) for entry in found["siblings"])
        return _commit(found["sha"]), {file.name: file for file in files}
    except urllib.error.HTTPError as error:
        error.close()
        raise ModelFileError(f"{endpoint()}: {repository}@{revision}: {_refusal(error)}") from error
    except (OSError, HTTPException) as error:
        raise ModelFileError(f"{endpoint()} is unreachable ({_short(error)})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{endpoint()} answered something else than a list of files: {error!r}") from error


def _to_file(entry: dict[str, Any]) -> File:
    stored = entry.get("lfs") or {}
    return File(str(entry["rfilename"]), stored.get("size", entry.get("size")), stored.get("sha256"))


def _commit(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}", text):
        raise ValueError(f"{text!r} is not a commit")
    return text


def _refusal(error: urllib.error.HTTPError) -> str:
    answered = f"the server answered {error.code} {error.reason}"
    match error.code:
        case 401 | 403:
            token = "HF_TOKEN may not read it" if _token() else "HF_TOKEN is not set"
            return (
                f"{answered}: the repository does not exist, or it is not public and {token}. For a private or gated "
                "one, set HF_TOKEN in the environment to the token of an account that may read it"
            )
        case 404:
            return f"{answered}: there is no such repository, revision or file"
        case _:
            return answered


def download(repository: str, commit: str, files: Iterable[File], place: Path, report: Report) -> None:
    """Download files of a repository into the folder ``place``, unless they are there and correct.

    Raises:
        ModelFileError: the hub does not answer, a file is wrong, or the disk is full.
    """
    base = f"{endpoint()}/{repository}/resolve/{commit}"
    place.mkdir(parents=True, exist_ok=True)
    for file in files:
        path = place / file.name
        if path.exists() and difference(path, file) is None:
            continue
        part = path.with_name(path.name + ".part")
        _download(f"{base}/{file.name}", part, file, report)
        problem = difference(part, file)
        if problem:
            part.unlink()
            raise ModelFileError(problem)
        part.replace(path)


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
                raise ModelFileError(f"{file.name}: {_refusal(error)}") from error
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
    request = urllib.request.Request(url)  # noqa: S310 (https, or the operator's mirror)
    if done:
        request.add_header("Range", f"bytes={done}-")
    with _open(request) as answer:
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


class _SameHostAuthorization(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and sends the token along only if the next address is on the same host as the first one.

    The hub redirects to other hosts for large files. Such an address has a signature of its own.
    """

    def redirect_request(self, req: urllib.request.Request, *arguments: Any) -> urllib.request.Request | None:
        following = super().redirect_request(req, *arguments)
        token = req.get_header("Authorization")
        if following is not None and token and _origin(following.full_url) == _origin(req.full_url):
            following.add_unredirected_header("Authorization", token)
        return following


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _open(request: urllib.request.Request) -> Any:
    request.add_header("User-Agent", "whisperlivekit")
    if token := _token():
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    return urllib.request.build_opener(_SameHostAuthorization).open(request, timeout=CONNECT_TIMEOUT_S)


def _token() -> str:
    token = os.environ.get("HF_TOKEN", "").strip()
    if not re.fullmatch(r"[!-~]*", token):  # the HTTP library's own message would contain the token
        raise ModelFileError("HF_TOKEN has spaces or other characters that no token has, expected hf_...")
    return token
