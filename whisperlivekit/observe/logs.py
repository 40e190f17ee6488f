"""Log lines as text for people or as JSON for collectors, each with the id of the session that it belongs to.

Transcript text is logged at DEBUG only.
"""

import fcntl
import json
import logging
import logging.config
import logging.handlers
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_session: ContextVar[list[str]] = ContextVar("session")
"""The session's id, in a list of one: the tasks of a connection share it, so that one of them can change it for all."""

MAX_FILE_BYTES = 20 * 1024 * 1024
"""A larger log file is renamed to ``.1``, and the older ones move up by one."""

KEPT_FILES = 5
"""Old files that are kept beside the current one: at most 120 MB in total."""

COMPLAIN_EVERY_S = 60.0

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "session", "taskName"}


@contextmanager
def session_context(session: str) -> Iterator[None]:
    """Log lines of this task, and of tasks that it starts, carry the session's id."""
    token = _session.set([session])
    try:
        yield
    finally:
        _session.reset(token)


def rename_session(session: str) -> None:
    """From here on, log lines inside the same ``session_context`` carry this id instead."""
    _session.get()[0] = session


class SessionFilter(logging.Filter):
    """Adds the session's id to each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.session = _session.get([""])[0]
        return True


class TextFormatter(logging.Formatter):
    """``2026-11-22 14:03:05.123 INFO [1234] session=7f3a... server.socket: message key=value``."""

    def format(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        moment = datetime.fromtimestamp(record.created).astimezone()
        session = getattr(record, "session", "")
        parts = [
            f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d} {record.levelname} [{record.process}]",
            *([f"session={session}"] if session else []),
            f"{record.name.removeprefix('whisperlivekit.')}: {record.message}",
            *(f"{name}={value}" for name, value in _extra(record).items()),
        ]
        # Text from a client must not look like another log line.
        line = " ".join(parts).replace("\r", "\\r").replace("\n", "\n    ")
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if session := getattr(record, "session", ""):
            fields["session"] = session
        fields |= _extra(record)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False, default=str)


class LogFile(logging.handlers.WatchedFileHandler):
    """A file that several processes append to, that is rotated when it is large, and whose faults stop nothing.

    The process that finds the file too large renames it under a lock. The others notice at their next line.
    """

    def __init__(self, filename: str, limit_bytes: int = MAX_FILE_BYTES) -> None:
        super().__init__(filename, encoding="utf-8", delay=True)
        self._path = Path(filename)
        self._limit_bytes = limit_bytes
        self._complained_s = -COMPLAIN_EVERY_S

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._is_large():
                self._rotate()
            super().emit(record)
        except OSError:  # a folder that is gone, a disk that is full
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802  (logging's form)
        """Lose the line and report that once a minute: a full disk must not end a stream."""
        error = sys.exc_info()[1]
        # The line stays in the file object's buffer, so the next line gets a new file object.
        stream, self.stream = self.stream, None
        if stream is not None:
            with suppress(OSError):
                stream.close()
        now = time.monotonic()
        if now - self._complained_s < COMPLAIN_EVERY_S:
            return
        self._complained_s = now
        with suppress(OSError):  # standard error may be closed
            sys.stderr.write(f"whisperlivekit: log lines are missing in {self._path}: {error}\n")

    def _is_large(self) -> bool:
        try:
            return self._path.stat().st_size > self._limit_bytes
        except OSError:
            return False

    def _rotate(self) -> None:
        with self._path.with_name(f".{self._path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._is_large():  # unless another process was faster
                rotate(self._path)


def config(level: str, log_format: str, file: Path | None = None) -> dict[str, Any]:
    """A configuration for ``logging.config.dictConfig``: standard error and, with ``file``, that file too.

    Several processes append to the file; see ``LogFile``.
    """
    handlers: dict[str, Any] = {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["session"]},
    }
    if file is not None:
        handlers["file"] = {
            "()": LogFile,
            "filename": str(file),
            "formatter": "line",
            "filters": ["session"],
        }
    formatter = JsonFormatter if log_format == "json" else TextFormatter
    quiet = {"level": "WARNING", "handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"session": {"()": SessionFilter}},
        "formatters": {"line": {"()": formatter}},
        "handlers": handlers,
        "root": {"level": level, "handlers": list(handlers)},
        "loggers": {
            "gunicorn.error": {"level": level, "handlers": [], "propagate": True},
            # They log the URL of every request with its query, which may contain an API key.
            "gunicorn.access": quiet,
            "uvicorn": quiet,
            "uvicorn.error": quiet,
            "uvicorn.access": quiet,
            # At DEBUG they log every frame.
            "websockets": quiet,
            "asyncio": quiet,
            "multipart": quiet,
            "python_multipart": quiet,
            "faster_whisper": quiet,
            "numba": quiet,
        },
    }


def configure(level: str, log_format: str, file: Path | None = None) -> None:
    """Set up logging of this process. See ``config``."""
    logging.config.dictConfig(config(level, log_format, file))


def rotate(file: Path) -> None:
    """Rename ``file`` to ``file.1``, ``.1`` to ``.2`` and so on; the oldest one is overwritten."""
    numbered = [file, *(file.with_name(f"{file.name}.{number}") for number in range(1, KEPT_FILES + 1))]
    for older, newer in zip(reversed(numbered[1:]), reversed(numbered[:-1]), strict=True):
        if newer.exists():
            newer.replace(older)


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}
