"""Log lines as text for people or JSON for collectors, each with the id of the session it belongs to.

What people said is logged at DEBUG only.
"""

import json
import logging
import logging.config
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_session: ContextVar[str] = ContextVar("session", default="")

MAX_FILE_BYTES = 20 * 1024 * 1024
"""A log file that is larger at start is put aside as ``.1``, where the last one is overwritten."""

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "session", "taskName"}


@contextmanager
def session_context(session: str) -> Iterator[None]:
    """Log lines of this task and of those it starts carry the session's id."""
    token = _session.set(session)
    try:
        yield
    finally:
        _session.reset(token)


class SessionFilter(logging.Filter):
    """Gives each record the id of the session that it was logged in."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.session = _session.get()
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
        # One event is one line: what a client sent must not look like another line.
        line = " ".join(parts).replace("\r", "\\r").replace("\n", "\n    ")
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

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


def config(level: str, log_format: str, file: Path | None = None) -> dict[str, Any]:
    """A configuration for ``logging.config.dictConfig``: standard error and, with ``file``, that file too.

    Several processes append to the file; it may be moved away while they run (logrotate).
    """
    handlers: dict[str, Any] = {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["session"]},
    }
    if file is not None:
        handlers["file"] = {
            "class": "logging.handlers.WatchedFileHandler",
            "filename": str(file),
            "encoding": "utf-8",
            "delay": True,
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
            # They log every request's address with its query: that is where a browser has to put its key.
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


def put_aside_if_large(file: Path, limit_bytes: int = MAX_FILE_BYTES) -> None:
    """Keep the log folder small on machines without logrotate: at most this file and one before it."""
    if file.exists() and file.stat().st_size > limit_bytes:
        file.replace(file.with_name(f"{file.name}.1"))


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}
