"""`models add`: a model appears under its name when it is whole, and is what was in its source.

Long because each way in which a source can be wrong, or adding be interrupted, is a test.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.model_hub import COMMIT, Hub, Told, hub
from tests.tiny_whisper import write_tiny_whisper
from whisperlivekit.admin import downloads
from whisperlivekit.admin.add import Source, add, parse_source, remove
from whisperlivekit.engine.models import added_names, find, find_problems, read_added
from whisperlivekit.engine.whisper_folder import examine
from whisperlivekit.errors import ModelFileError

__all__ = ["hub"]

pytestmark = pytest.mark.model

HUB_SOURCE = "hf:owner/toy@main"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_whisper(tmp_path_factory.mktemp("models") / "tiny-ru")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another fine-tuning of the same model."""
    return write_tiny_whisper(tmp_path_factory.mktemp("models") / "other", seed=1)


@pytest.fixture
def toy_hub(hub: Hub, tiny: Path) -> Hub:
    """The hub has the tiny model, and files that a model does not need."""
    hub.files = {path.name: path.read_bytes() for path in tiny.iterdir()} | {"README.md": b"# Toy"}
    return hub


def put(
    tmp_path: Path, source: Path | str, name: str = "ours", told: Told | None = None, *, replace_other: bool = False
) -> Path:
    """Add the model to ``tmp_path / "models"``."""
    told = told or Told()
    path, details = add(
        parse_source(str(source)),
        name,
        tmp_path / "models",
        tmp_path / "cache",
        report=told.report,
        say=told.say,
        replace_other=replace_other,
    )
    assert details == examine(path)
    return path


def here(tmp_path: Path) -> list[str]:
    """Everything in the folder of the models, hidden names too."""
    folder = tmp_path / "models" / "whisper"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def unfinished(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache" / "downloads").iterdir() if path.is_dir()]


# ------------------------------------------------------------------------------------------------------------ folders


def test_a_folder_is_copied_and_recorded(tmp_path: Path, tiny: Path) -> None:
    """The model's files and no others. The copy needs the source no longer, and every user can read it."""
    source = shutil.copytree(tiny, tmp_path / "source")
    (source / "README.md").write_text("# Ours")
    (source / "model.bin").chmod(0o600)
    target = put(tmp_path, source)
    assert target == tmp_path / "models" / "whisper" / "ours"
    files = {path.name for path in target.iterdir()}
    assert files == {
        "added.json", "config.json", "model.bin", "tokenizer.json", "verified.json", "vocabulary.json",
    }  # fmt: skip
    assert (target / "model.bin").read_bytes() == (tiny / "model.bin").read_bytes()
    assert (target / "config.json").read_bytes() == (tiny / "config.json").read_bytes()
    assert target.stat().st_mode & 0o777 == 0o777 & ~_umask()
    assert (target / "model.bin").stat().st_mode & 0o777 == 0o666 & ~_umask()
    assert read_added(target).source == str(source)
    shutil.rmtree(source)
    assert find("ours", tmp_path / "models") == target
    assert (here(tmp_path), unfinished(tmp_path)) == (["ours"], [])


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_changed_byte_is_found(tmp_path: Path, tiny: Path) -> None:
    """Also if the size and the time of the file do not show it."""
    target = put(tmp_path, tiny)
    before = (target / "model.bin").stat()
    content = bytearray((target / "model.bin").read_bytes())
    content[-1] ^= 1
    (target / "model.bin").write_bytes(content)
    os.utime(target / "model.bin", ns=(before.st_atime_ns, before.st_mtime_ns))
    (problem,) = find_problems(target, read_added(target), trust_record=False)
    assert "model.bin has SHA-256" in problem


def test_adding_the_same_files_again_changes_nothing(tmp_path: Path, tiny: Path) -> None:
    """Even from another folder."""
    target = put(tmp_path, tiny)
    before = (target / "model.bin").stat()
    told = Told()
    put(tmp_path, shutil.copytree(tiny, tmp_path / "again"), told=told)
    assert (target / "model.bin").stat() == before
    assert told.lines == [f"the same files are in {target} already"]
    assert read_added(target).source == str(tiny)


def test_damaged_files_are_repaired(tmp_path: Path, tiny: Path) -> None:
    target = put(tmp_path, tiny)
    (target / "model.bin").write_bytes(b"damaged")
    put(tmp_path, tiny)
    assert find("ours", tmp_path / "models") == target
    assert here(tmp_path) == ["ours"]


def test_a_model_with_other_files_is_replaced_only_on_request(tmp_path: Path, tiny: Path, other: Path) -> None:
    """The error names both sources and the files that differ."""
    target = put(tmp_path, tiny)
    with pytest.raises(ModelFileError) as error:
        put(tmp_path, other)
    assert f"the model ours was added from {tiny}, and {other} has other files: model.bin; " in str(error.value)
    assert "--name" in str(error.value)
    assert "--replace" in str(error.value)
    assert (target / "model.bin").read_bytes() == (tiny / "model.bin").read_bytes()
    put(tmp_path, other, replace_other=True)
    assert (target / "model.bin").read_bytes() == (other / "model.bin").read_bytes()
    assert read_added(target).source == str(other)
    assert here(tmp_path) == ["ours"]


def test_a_folder_that_was_put_there_by_hand_is_replaced_only_on_request(tmp_path: Path, tiny: Path) -> None:
    """It may be the source itself: then it is recorded from now on."""
    place = shutil.copytree(tiny, tmp_path / "models" / "whisper" / "ours")
    with pytest.raises(ModelFileError, match=r"exists and was not added by this command; .*--replace"):
        put(tmp_path, place)
    put(tmp_path, place, replace_other=True)
    assert find("ours", tmp_path / "models") == place


@pytest.mark.parametrize("name", ["base", "large-v3-turbo", ".x", "a/b", ""])
def test_other_names_are_rejected(tmp_path: Path, tiny: Path, name: str) -> None:
    """Above all those of the pinned models."""
    with pytest.raises(ModelFileError, match=f"found the name {name!r}, expected letters .*--name"):
        put(tmp_path, tiny, name)
    assert here(tmp_path) == []


def test_the_default_name_is_that_of_the_source(tiny: Path) -> None:
    assert parse_source(str(tiny)).name == "tiny-ru"
    assert parse_source("hf:owner/whisper-small-ru@main").name == "whisper-small-ru"


def test_ctrl_c_leaves_nothing(tmp_path: Path, tiny: Path) -> None:
    """In the middle of a copy."""

    class Interrupted(Told):
        def report(self, name: str, done: int, total: int | None) -> None:
            if name == "model.bin":
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        put(tmp_path, tiny, told=Interrupted())
    assert (here(tmp_path), unfinished(tmp_path)) == ([], [])


def test_what_a_killed_process_left_is_no_model_and_is_removed(tmp_path: Path, tiny: Path) -> None:
    """By the next call for the same name."""
    left = tmp_path / "models" / "whisper" / ".ours.new"
    left.mkdir(parents=True)
    (left / "model.bin").write_bytes(b"half")
    (left / "added.json").write_text("{}")
    assert added_names(tmp_path / "models") == ()
    put(tmp_path, tiny)
    assert here(tmp_path) == ["ours"]


def test_a_full_disk_is_an_error_before_the_copy(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "SPARE_BYTES", 1 << 60)
    with pytest.raises(ModelFileError, match=r"found \d+ MB free .*expected \d+ MB for ours"):
        put(tmp_path, tiny)
    assert (here(tmp_path), unfinished(tmp_path)) == ([], [])


def test_a_folder_without_a_model_is_an_error(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(ModelFileError, match="there is no folder /nowhere, expected the path of one, or hf:OWNER"):
        put(tmp_path, "/nowhere")
    broken = shutil.copytree(tiny, tmp_path / "broken")
    (broken / "model.bin").write_bytes((tiny / "model.bin").read_bytes()[:1000])
    with pytest.raises(ModelFileError, match=r"cannot add the model in .*/broken: model\.bin ends early"):
        put(tmp_path, broken)
    assert (here(tmp_path), unfinished(tmp_path)) == ([], [])


def test_a_tokenizer_that_fits_is_named(tmp_path: Path, tiny: Path, base_model: Path) -> None:
    """Conversions often leave the tokenizer out. That of a pinned model with the same vocabulary is the same."""
    source = shutil.copytree(tiny, tmp_path / "source")
    (source / "tokenizer.json").unlink()
    shutil.copytree(base_model, tmp_path / "models" / "whisper" / "base", copy_function=os.symlink)
    with pytest.raises(ModelFileError) as error:
        put(tmp_path, source)
    assert "tokenizer.json is missing (" in str(error.value)
    command = str(error.value).rpartition("fits this vocabulary: ")[2]
    subprocess.run(command, shell=True, check=True)
    put(tmp_path, source)


def test_lists_that_a_converter_left_out_are_completed(tmp_path: Path, tiny: Path) -> None:
    """The engine needs them. The source is not changed."""
    source = shutil.copytree(tiny, tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "suppress_ids": None, "lang_ids": []}))
    before = (source / "config.json").read_bytes()
    target = put(tmp_path, source)
    assert json.loads((target / "config.json").read_text()) == config
    assert (source / "config.json").read_bytes() == before
    told = Told()
    put(tmp_path, source, told=told)
    assert told.lines == [f"the same files are in {target} already"]


@pytest.mark.skipif(bool(find_spec("transformers") and find_spec("torch")), reason="the conversion would be tried")
def test_a_folder_in_transformers_format_is_an_error_with_the_commands_that_convert_it(tmp_path: Path) -> None:
    """The server does not install what a conversion needs. See test_convert.py for a conversion."""
    source = tmp_path / "whisper-ru"
    source.mkdir()
    (source / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(
        ModelFileError, match=rf"ct2-transformers-converter --model {source} --output_dir whisper-ru-ct2"
    ):
        put(tmp_path, source)
    assert (here(tmp_path), unfinished(tmp_path)) == ([], [])


# ---------------------------------------------------------------------------------------------------------------- hub


def test_a_branch_of_the_hub_is_resolved_and_its_commit_recorded(tmp_path: Path, toy_hub: Hub, tiny: Path) -> None:
    """Only the model's files are downloaded, and at that commit."""
    told = Told()
    target = put(tmp_path, HUB_SOURCE, told=told)
    assert read_added(target).source == f"hf:owner/toy@{COMMIT}"
    assert toy_hub.asked[0] == ("/api/models/owner/toy/revision/main", None)
    assert {path for path, _ in toy_hub.asked[1:]} == {
        f"/owner/toy/resolve/{COMMIT}/{name}"
        for name in ("config.json", "model.bin", "tokenizer.json", "vocabulary.json")
    }
    assert (target / "model.bin").read_bytes() == (tiny / "model.bin").read_bytes()
    assert told.progress
    assert find("ours", tmp_path / "models") == target
    assert (here(tmp_path), unfinished(tmp_path)) == (["ours"], [])


@pytest.mark.parametrize("revision", ["main", COMMIT])
def test_the_same_commit_is_not_downloaded_again(tmp_path: Path, toy_hub: Hub, revision: str) -> None:
    put(tmp_path, HUB_SOURCE)
    toy_hub.asked.clear()
    put(tmp_path, f"hf:owner/toy@{revision}")
    assert toy_hub.asked == [(f"/api/models/owner/toy/revision/{revision}", None)]


def test_a_commit_with_other_weights_is_an_error_before_the_download(tmp_path: Path, toy_hub: Hub, other: Path) -> None:
    """The branch has moved on. With --replace its model is used."""
    put(tmp_path, HUB_SOURCE)
    toy_hub.branches["main"] = "b" * 40
    toy_hub.files["model.bin"] = (other / "model.bin").read_bytes()
    toy_hub.asked.clear()
    with pytest.raises(ModelFileError, match=r"from hf:owner/toy@a+, and hf:owner/toy@b+ has other files: model\.bin;"):
        put(tmp_path, HUB_SOURCE)
    assert len(toy_hub.asked) == 1
    target = put(tmp_path, HUB_SOURCE, replace_other=True)
    assert read_added(target).source == f"hf:owner/toy@{'b' * 40}"


def test_a_source_without_a_revision_is_an_error() -> None:
    """The message says why one is needed."""
    with pytest.raises(ModelFileError, match=r"without a revision, expected for example hf:owner/toy@main.*can change"):
        parse_source("hf:owner/toy")
    assert parse_source("hf:owner/toy@v1") == Source(None, "owner/toy", "v1")


@pytest.mark.parametrize(
    "text", ["hf:", "hf:toy", "hf:toy@main", "hf:a/b/c@main", "hf:../x@main", "hf:a/b@", "hf:a/b@x y"]
)
def test_a_malformed_source_is_an_error(text: str) -> None:
    with pytest.raises(ModelFileError, match="expected"):
        parse_source(text)


def test_a_repository_in_transformers_format_is_not_downloaded(tmp_path: Path, toy_hub: Hub) -> None:
    """The message has the commands that convert this commit."""
    del toy_hub.files["model.bin"]
    toy_hub.files["model.safetensors"] = b"weights"
    with pytest.raises(ModelFileError) as error:
        put(tmp_path, HUB_SOURCE)
    assert f"ct2-transformers-converter --model owner/toy --revision {COMMIT} --output_dir toy-ct2" in str(error.value)
    assert len(toy_hub.asked) == 1


def test_a_repository_without_a_model_is_an_error(tmp_path: Path, hub: Hub) -> None:
    """The message lists what it has."""
    hub.files = {"README.md": b"", "ggml-small.bin": b""}
    with pytest.raises(ModelFileError, match=r"model\.bin.* are missing; found README\.md, ggml-small\.bin"):
        put(tmp_path, HUB_SOURCE)
    assert unfinished(tmp_path) == []


def test_wrong_weights_are_not_added(tmp_path: Path, toy_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub publishes their digest."""
    listing = toy_hub.listing()
    monkeypatch.setattr(Hub, "listing", lambda _: listing)
    toy_hub.files["model.bin"] = toy_hub.files["model.bin"][:-1] + b"!"
    with pytest.raises(ModelFileError, match=r"model\.bin has SHA-256"):
        put(tmp_path, HUB_SOURCE)
    assert here(tmp_path) == []


def test_an_interrupted_download_leaves_no_model_and_is_continued(tmp_path: Path, toy_hub: Hub) -> None:
    """Ctrl-C in a terminal, then the same command again."""
    toy_hub.stall_after = 500_000
    program = [sys.executable, "-m", "whisperlivekit", "models", "add", HUB_SOURCE, "--name", "ours"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "WLK_HOME": str(tmp_path),
        "WLK_CACHE_DIR": "cache",
        "WLK_MODEL": "ours",
    }
    with subprocess.Popen(program, env=environment, stderr=subprocess.PIPE, text=True) as process:
        part = tmp_path / "cache" / "downloads" / "add-ours" / COMMIT[:12] / "model.bin.part"
        deadline = time.monotonic() + 30
        while not part.exists() or part.stat().st_size < 262_144:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    assert here(tmp_path) == []
    have = part.stat().st_size
    toy_hub.released.set()
    toy_hub.asked.clear()
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
    assert [asked for path, asked in toy_hub.asked if path.endswith("model.bin")] == [f"bytes={have}-"]
    assert "model ours: " in done.stdout
    assert f"source: hf:owner/toy@{COMMIT}" in done.stdout
    assert (here(tmp_path), unfinished(tmp_path)) == (["ours"], [])


def test_the_token_is_written_nowhere(tmp_path: Path, toy_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the model's folder nor in a message."""
    toy_hub.token = "hf_secret"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    told = Told()
    target = put(tmp_path, HUB_SOURCE, told=told)
    written = "".join(path.read_text() for path in target.glob("*.json")) + "".join(told.lines)
    assert "hf_secret" not in written


# ------------------------------------------------------------------------------------------------------------- removal


def test_a_model_is_removed(tmp_path: Path, tiny: Path) -> None:
    """One that was added, and one that was downloaded."""
    put(tmp_path, tiny)
    (tmp_path / "models" / "whisper" / "small").mkdir()
    remove("ours", tmp_path / "models")
    remove("small", tmp_path / "models")
    assert here(tmp_path) == []


def test_of_a_link_only_the_link_is_removed(tmp_path: Path, tiny: Path, other: Path) -> None:
    """The operator put it there, and what it leads to may be used elsewhere. --replace does the same."""
    elsewhere = shutil.copytree(tiny, tmp_path / "elsewhere")
    link = tmp_path / "models" / "whisper" / "ours"
    link.parent.mkdir(parents=True)
    for take_away in (
        lambda: remove("ours", tmp_path / "models"),
        lambda: put(tmp_path, other, replace_other=True),
    ):
        link.symlink_to(elsewhere)
        take_away()
        assert (elsewhere / "model.bin").is_file()
        assert not link.is_symlink()
    assert here(tmp_path) == ["ours"]


@pytest.mark.parametrize("name", ["ours", "base", "..", "", "whisper/..", ".ours.new"])
def test_only_models_are_removed(tmp_path: Path, name: str) -> None:
    (tmp_path / "whisper" / ".ours.new").mkdir(parents=True)
    with pytest.raises(ModelFileError, match="there is no model"):
        remove(name, tmp_path)
    assert (tmp_path / "whisper" / ".ours.new").exists()
