"""Log lines."""

import io
import json
import logging
import logging.config
from collections.abc import Iterator
from pathlib import Path

import pytest

from whisperlivekit.observe import logs


@pytest.fixture(autouse=True)
def untouched_logging() -> Iterator[None]:
    """The test runner's own handlers come back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def captured(log_format: str, level: str = "INFO") -> io.StringIO:
    stream = io.StringIO()
    config = logs.config(level, log_format)
    config["handlers"]["stderr"]["stream"] = stream
    logging.config.dictConfig(config)
    return stream


def test_text_lines_carry_session_and_fields() -> None:
    """For people: time, level, process, session, logger, message, fields; one event is one line."""
    stream = captured("text")
    with logs.session_context("7f3a"):
        logging.getLogger("whisperlivekit.server.socket").info("session closed", extra={"words": 12})
    line = stream.getvalue()
    assert " INFO [" in line
    assert "] session=7f3a server.socket: session closed words=12\n" in line
    assert line.count("\n") == 1


def test_what_a_client_sent_cannot_look_like_a_log_line() -> None:
    """A line break in a message does not begin a line."""
    stream = captured("text")
    logging.getLogger("x").warning("bad\n2026-01-01 00:00:00.000 INFO [1] fake: line\rmore")
    first, second, rest = stream.getvalue().split("\n")
    assert first.endswith("bad")
    assert second.startswith("    2026-01-01")
    assert "\\r" in second
    assert rest == ""


def test_json_lines_are_objects() -> None:
    """For collectors: one JSON object a line with the same fields, exceptions included, Cyrillic readable."""
    stream = captured("json")
    with logs.session_context("7f3a"):
        try:
            raise ValueError("нет")
        except ValueError:
            logging.getLogger("whisperlivekit.x").exception("failed", extra={"path": Path("a")})
    told = json.loads(stream.getvalue())
    assert (told["session"], told["level"], told["logger"], told["path"]) == ("7f3a", "ERROR", "whisperlivekit.x", "a")
    assert "ValueError: нет" in told["exception"]
    assert "нет" in stream.getvalue()


def test_addresses_with_keys_are_not_logged() -> None:
    """Lines of uvicorn with the query, where a browser has to put its key, stay out even at DEBUG."""
    stream = captured("text", "DEBUG")
    for name in ("uvicorn.error", "uvicorn.access", "websockets.server"):
        logging.getLogger(name).info("WebSocket /ws?token=secret [accepted]")
        logging.getLogger(name).debug("> GET /ws?token=secret")
    assert stream.getvalue() == ""


def test_a_large_file_is_put_aside(tmp_path: Path) -> None:
    """At most one old file; a small or missing one stays as it is."""
    file = tmp_path / "server.log"
    logs.put_aside_if_large(file, 3)
    for content in ("1234", "5678", "9"):
        file.write_text(content)
        logs.put_aside_if_large(file, 3)
    assert file.read_text() == "9"
    assert {path.name for path in tmp_path.iterdir()} == {"server.log", "server.log.1"}
    assert (tmp_path / "server.log.1").read_text() == "5678"


def test_a_file_gets_the_lines_too(tmp_path: Path) -> None:
    """With a file both it and standard error have every line."""
    file = tmp_path / "server.log"
    logs.configure("INFO", "text", file)
    logging.getLogger("x").warning("hello")
    for handler in logging.getLogger().handlers:
        handler.close()
    assert "x: hello" in file.read_text(encoding="utf-8")
