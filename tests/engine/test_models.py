"""Model files: nothing broken is ever used, and what is wrong is said with its remedy."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
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
    """A revision, a size and a digest for each; serving anything unpinned would be serving whatever the hub has."""
    assert models.NAMES == ("tiny", "base", "small", "medium", "large-v3", "large-v3-turbo")
    for model in models.MODELS.values():
        assert len(model.revision) == 40
        for edition in model.editions:
            (weights,) = [file for file in edition.files if file.name == "model.bin"]
            assert len(weights.sha256 or "") == 64
            assert (weights.size_bytes or 0) > 70_000_000


def test_good_files_pass_and_are_remembered(place: Path) -> None:
    assert list(find_problems(place, MODEL)) == []
    assert json.loads((place / models.RECORD).read_text())["model.bin"]["sha256"] == HELLO


def test_a_changed_file_is_read_again(place: Path) -> None:
    """Even if its size stays: the record holds only while size and time do."""
    assert list(find_problems(place, MODEL)) == []
    (place / "model.bin").write_bytes(b"jello")
    (problem,) = find_problems(place, MODEL)
    assert "model.bin has SHA-256" in problem


def test_a_file_without_published_digest_must_stay_what_it_was(place: Path) -> None:
    assert list(find_problems(place, MODEL)) == []
    (place / "config.json").write_text("[]")
    (problem,) = find_problems(place, MODEL)
    assert "config.json has SHA-256" in problem


def test_damage_behind_the_record_s_back_is_found_by_verify(place: Path) -> None:
    """`models verify` trusts no record."""
    assert list(find_problems(place, MODEL)) == []
    before = (place / "model.bin").stat()
    (place / "model.bin").write_bytes(b"jello")
    os.utime(place / "model.bin", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert list(find_problems(place, MODEL)) == []
    assert list(find_problems(place, MODEL, trust_record=False)) != []


@pytest.mark.parametrize("record", ["", "nonsense", "[]", '{"model.bin": 5}', '{"model.bin": {"bytes": 5}}'])
def test_a_broken_record_counts_as_none(place: Path, record: str) -> None:
    (place / models.RECORD).write_text(record)
    assert list(find_problems(place, MODEL)) == []


def test_missing_and_short_files_are_named(place: Path) -> None:
    (place / "config.json").unlink()
    (place / "model.bin").write_bytes(b"hell")
    assert list(find_problems(place, MODEL)) == ["config.json is missing", "model.bin has 4 bytes, expected 5"]


def test_the_edition_with_most_files_is_meant() -> None:
    base = models.MODELS["base"]
    assert models.edition_in(Path("/nowhere"), base) is base.editions[0]


def test_an_error_says_how_to_get_the_model(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="whisperlivekit models fetch small"):
        find("small", tmp_path)


def test_a_model_of_one_s_own_is_a_path(tmp_path: Path) -> None:
    own = tmp_path / "own"
    assert folder(str(own), Path("models")) == own
    own.mkdir()
    with pytest.raises(ModelFileError, match=r"config\.json is missing or empty; model\.bin .*vocabulary"):
        check(own)
    for name in ("config.json", "model.bin", "tokenizer.json", "vocabulary.json"):
        (own / name).write_text("x")
    assert find(str(own), Path("models")) == own


def test_a_folder_that_cannot_be_written_is_read_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server without rights to its model folder still serves. (For root no folder is read-only: hence the patch.)"""
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert list(find_problems(place, MODEL)) == []
    assert not (place / models.RECORD).exists()


@pytest.mark.model
def test_base_is_what_the_table_says(base_model: Path) -> None:
    assert find("base", base_model.parents[1]) == base_model


@pytest.mark.model
def test_finding_a_model_opens_no_connection(base_model: Path) -> None:
    """Serving never downloads: the search for the model runs here with every connection forbidden."""
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


def test_a_missing_or_broken_speech_detector_comes_with_its_command(tmp_path: Path) -> None:
    """The server refuses to start; the message names the file and the command."""
    with pytest.raises(ModelFileError, match=r"not exist; to download it, run: \S*whisperlivekit models fetch$"):
        find_silero(tmp_path)
    (tmp_path / SILERO.name).mkdir()
    (tmp_path / SILERO.name / SILERO_FILE).write_bytes(b"broken")
    with pytest.raises(ModelFileError, match=f"{SILERO_FILE} has 6 bytes, expected 1246165; to download it, run"):
        find_silero(tmp_path)


def test_two_may_check_at_once(place: Path) -> None:
    """Workers start together: each writes its own record and renames it whole."""
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
