"""Wrong model files are never used, and each problem is reported with the command that helps."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.tiny_whisper import write_tiny_whisper
from whisperlivekit.engine import models
from whisperlivekit.engine.models import (
    SILERO,
    SILERO_FILE,
    Edition,
    File,
    Model,
    check,
    find,
    find_problems,
    find_silero,
    folder,
    write_added,
)
from whisperlivekit.errors import ModelFileError

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # of b"hello"
MODEL = Model("m", "r/m", "0" * 40, (Edition((File("config.json"), File("model.bin", 5, HELLO))),))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "whisper" / "m"
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "model.bin").write_bytes(b"hello")
    return path


def test_the_table_pins_every_model() -> None:
    """Each model has a revision, and its weights have a size and a digest."""
    assert models.NAMES == ("tiny", "base", "small", "medium", "large-v3", "large-v3-turbo")
    for model in models.MODELS.values():
        assert len(model.revision) == 40
        for edition in model.editions:
            (weights,) = [file for file in edition.files if file.name == "model.bin"]
            assert len(weights.sha256 or "") == 64
            assert (weights.size_bytes or 0) > 70_000_000


def test_correct_files_are_recorded(place: Path) -> None:
    assert list(find_problems(place, MODEL)) == []
    assert json.loads((place / models.RECORD).read_text())["model.bin"]["sha256"] == HELLO


def test_a_changed_file_is_read_again(place: Path) -> None:
    """Even if its size is the same: the record counts only for the recorded size and time."""
    assert list(find_problems(place, MODEL)) == []
    (place / "model.bin").write_bytes(b"jello")
    (problem,) = find_problems(place, MODEL)
    assert "model.bin has SHA-256" in problem


def test_a_file_without_a_published_digest_must_not_change(place: Path) -> None:
    assert list(find_problems(place, MODEL)) == []
    (place / "config.json").write_text("[]")
    (problem,) = find_problems(place, MODEL)
    assert "config.json has SHA-256" in problem


def test_verify_finds_damage_that_size_and_time_do_not_show(place: Path) -> None:
    """`models verify` does not use the record."""
    assert list(find_problems(place, MODEL)) == []
    before = (place / "model.bin").stat()
    (place / "model.bin").write_bytes(b"jello")
    os.utime(place / "model.bin", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert list(find_problems(place, MODEL)) == []
    assert list(find_problems(place, MODEL, trust_record=False)) != []


@pytest.mark.parametrize("record", ["", "nonsense", "[]", '{"model.bin": 5}', '{"model.bin": {"bytes": 5}}'])
def test_a_malformed_record_is_ignored(place: Path, record: str) -> None:
    (place / models.RECORD).write_text(record)
    assert list(find_problems(place, MODEL)) == []


def test_missing_and_short_files_are_named(place: Path) -> None:
    (place / "config.json").unlink()
    (place / "model.bin").write_bytes(b"hell")
    assert list(find_problems(place, MODEL)) == ["config.json is missing", "model.bin has 4 bytes, expected 5"]


def test_the_edition_with_the_most_files_is_compared() -> None:
    base = models.MODELS["base"]
    assert models.edition_in(Path("/nowhere"), base) is base.editions[0]


def test_an_error_names_the_command_that_downloads_the_model(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="whisperlivekit models fetch small"):
        find("small", tmp_path)


@pytest.mark.model
def test_an_own_model_is_named_by_its_path(tmp_path: Path) -> None:
    """Without being added. Its digests are unknown, but what is in the folder is examined."""
    own = tmp_path / "own"
    assert folder(str(own), Path("models")) == own
    with pytest.raises(ModelFileError, match="the folder does not exist"):
        check(own)
    own.mkdir()
    with pytest.raises(ModelFileError, match=r"config\.json, model\.bin, tokenizer\.json, vocabulary.* are missing"):
        check(own)
    own.rmdir()
    write_tiny_whisper(own)
    assert find(str(own), Path("models")) == own


@pytest.fixture
def added(tmp_path: Path) -> Path:
    """The folder of an added model with the name ours."""
    path = tmp_path / "whisper" / "ours"
    path.mkdir(parents=True)
    (path / "model.bin").write_bytes(b"hello")
    write_added(path, "hf:owner/ours@" + "0" * 40, (File("model.bin", 5, HELLO),))
    return path


def test_the_files_of_an_added_model_are_compared_with_its_record(added: Path, tmp_path: Path) -> None:
    """As those of a pinned model. The message has the command that adds it again."""
    assert find("ours", tmp_path) == added
    (added / "model.bin").write_bytes(b"jello")
    with pytest.raises(ModelFileError, match=r"SHA-256 .*whisperlivekit models add hf:owner/ours@0+ --name ours$"):
        find("ours", tmp_path)


def test_only_whole_added_models_have_a_name(added: Path, tmp_path: Path) -> None:
    """Not an unfinished copy, nor a folder without a record."""
    shutil.copytree(added, added.with_name(".theirs.new"))
    (added.parent / "theirs").mkdir()
    assert models.added_names(tmp_path) == ("ours",)
    assert models.added_names(tmp_path / "nowhere") == ()


@pytest.mark.parametrize("record", ["", "[]", '{"source": "/x"}', '{"source": "/x", "files": {"model.bin": {}}}'])
def test_a_malformed_record_of_an_added_model_is_an_error(added: Path, tmp_path: Path, record: str) -> None:
    """Without it the files cannot be compared with anything."""
    (added / models.ADDED).write_text(record)
    with pytest.raises(ModelFileError, match=r"cannot read .*added\.json: .*models add SOURCE --name ours --replace"):
        find("ours", tmp_path)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("podlodka-turbo_v1.2", True),
        ("1", True),
        ("", False),
        ("base", False),
        (".hidden", False),
        ("-x", False),
        ("a/b", False),
        ("..", False),
        ("a b", False),
        ("модель", False),
        ("a\n", False),
        ("x" * 101, False),
    ],
)
def test_names_of_added_models(name: str, good: bool) -> None:
    assert models.is_name(name) == good


def test_in_a_read_only_folder_nothing_is_recorded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that may not write to its model folder still starts. (root may write everywhere, hence the patch.)"""
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert list(find_problems(place, MODEL)) == []
    assert not (place / models.RECORD).exists()


@pytest.mark.model
def test_base_is_what_the_table_says(base_model: Path) -> None:
    assert find("base", base_model.parents[1]) == base_model


@pytest.mark.model
def test_finding_a_model_opens_no_connection(base_model: Path) -> None:
    """The search for a missing model runs here in a process that may not open any connection."""
    program = (
        "import sys\n"
        "def forbid(event, args):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'urllib.Request'): raise RuntimeError(event)\n"
        "sys.addaudithook(forbid)\n"
        "from pathlib import Path\n"
        "from whisperlivekit.engine.models import find\n"
        f"find('base', Path({str(base_model.parents[1])!r}))\n"
        "try: find('small', Path('/nowhere'))\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "ModelFileError"


@pytest.mark.model
def test_the_speech_detector_is_what_the_table_says() -> None:
    """The file under models/silero_vad has the pinned digest."""
    assert (find_silero(ROOT / "models") / SILERO_FILE).is_file()


def test_the_command_that_downloads_the_speech_detector_is_named(tmp_path: Path) -> None:
    """The server refuses to start; the message names the file and the command."""
    with pytest.raises(ModelFileError, match=r"not exist; to download it, run: \S*whisperlivekit models fetch$"):
        find_silero(tmp_path)
    (tmp_path / SILERO.name).mkdir()
    (tmp_path / SILERO.name / SILERO_FILE).write_bytes(b"broken")
    with pytest.raises(ModelFileError, match=f"{SILERO_FILE} has 6 bytes, expected 1246165; to download it, run"):
        find_silero(tmp_path)


def test_two_processes_may_check_at_the_same_time(place: Path) -> None:
    """Workers start at the same time. Each writes a whole record and renames it."""
    program = (
        "import sys; from pathlib import Path; from whisperlivekit.engine.models import write_record\n"
        f"for _ in range(300): write_record(Path({str(place)!r}), {{'model.bin': {{'bytes': 5, 'mtime_ns': 1, "
        f"'sha256': {HELLO!r}}}}})"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program], cwd=ROOT) for _ in range(2)]
    while any(writer.poll() is None for writer in writers):
        if (place / models.RECORD).exists():
            assert json.loads((place / models.RECORD).read_text())
    assert [writer.returncode for writer in writers] == [0, 0]
    shutil.rmtree(place)
