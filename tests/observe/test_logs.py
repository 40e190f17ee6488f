"""Log lines."""

import io
import json
import logging
import logging.config
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
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


def test_old_files_move_up(tmp_path: Path) -> None:
    """The newest is .1, and no more are kept than said."""
    file = tmp_path / "server.log"
    for number in range(logs.KEPT_FILES + 3):
        file.write_text(str(number))
        logs.rotate(file)
    assert not file.exists()
    assert (tmp_path / "server.log.1").read_text() == str(logs.KEPT_FILES + 2)
    assert len(list(tmp_path.iterdir())) == logs.KEPT_FILES


MANY_WORKERS = """
import logging, os, sys
from whisperlivekit.observe.logs import LogFile
handler = LogFile(sys.argv[1], limit_bytes=1200)
log = logging.getLogger()
log.addHandler(handler)
for worker in range(3):
    if os.fork() == 0:
        for number in range(100):
            log.warning("worker %d line %03d", worker, number)
        os._exit(0)
for worker in range(3):
    os.wait()
"""


def test_several_processes_share_a_file_that_is_rotated(tmp_path: Path) -> None:
    """No line is lost or torn when one of them puts the file aside, and the files stay small."""
    file = tmp_path / "server.log"
    subprocess.run([sys.executable, "-c", MANY_WORKERS, str(file)], cwd=ROOT, check=True)
    files = [path for path in tmp_path.iterdir() if path.name.startswith("server.log")]
    assert 2 < len(files) <= logs.KEPT_FILES + 1
    # Lines are short of the limit, but each process may write one after another has found the file too large.
    assert all(path.stat().st_size < 1200 + 10 * 30 for path in files)
    lines = sorted(line for path in files for line in path.read_text().splitlines())
    assert lines == [f"worker {worker} line {number:03d}" for worker in range(3) for number in range(100)]


def test_a_full_disk_stops_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines that cannot be written are lost, which is said once, and later lines are written when there is room."""
    file = tmp_path / "server.log"
    file.symlink_to("/dev/full")  # every write says ENOSPC
    handler = logs.LogFile(str(file))
    log = logging.getLogger("full")
    log.addHandler(handler)
    log.propagate = False
    for _ in range(100):
        log.warning("a line")
    told = capsys.readouterr().err
    assert told.count("log lines are missing") == 1
    assert "No space left on device" in told
    assert "Traceback" not in told
    file.unlink()
    log.warning("room again")
    handler.close()
    log.removeHandler(handler)
    assert file.read_text() == "room again\n"


def test_a_folder_that_is_gone_stops_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler = logs.LogFile(str(tmp_path / "gone" / "server.log"))
    handler.handle(logging.makeLogRecord({"msg": "a line"}))
    assert "No such file or directory" in capsys.readouterr().err


def test_a_file_gets_the_lines_too(tmp_path: Path) -> None:
    """With a file both it and standard error have every line."""
    file = tmp_path / "server.log"
    logs.configure("INFO", "text", file)
    logging.getLogger("x").warning("hello")
    for handler in logging.getLogger().handlers:
        handler.close()
    assert "x: hello" in file.read_text(encoding="utf-8")


def test_a_session_can_get_another_id() -> None:
    """Lines after the change carry the new id, and lines outside the session carry none."""
    found = []
    record = logging.makeLogRecord({})

    def session() -> str:
        logs.SessionFilter().filter(record)
        return str(vars(record)["session"])

    with logs.session_context("first"):
        found.append(session())
        logs.rename_session("second")
        found.append(session())
    found.append(session())
    assert found == ["first", "second", ""]
