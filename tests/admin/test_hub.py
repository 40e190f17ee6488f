"""The client of the model hub, against a hub on this machine. Resumed downloads are tested in test_fetch.py."""

import hashlib
from pathlib import Path

import pytest

from tests.model_hub import COMMIT, CONTENT, Hub, Told, hub
from whisperlivekit.admin.hub import download, endpoint, list_files
from whisperlivekit.engine.models import File
from whisperlivekit.errors import ModelFileError

__all__ = ["hub"]

WEIGHTS = File("model.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


def test_a_revision_is_resolved_and_its_files_are_listed(hub: Hub) -> None:
    """Files in Git LFS have a digest, the others have not."""
    files = {"model.bin": WEIGHTS, "config.json": File("config.json", 2)}
    assert list_files("owner/toy", "main") == (COMMIT, files)
    assert list_files("owner/toy", COMMIT) == (COMMIT, files)


def test_a_slash_in_a_revision_is_part_of_its_name(hub: Hub) -> None:
    """As in refs/pr/1."""
    hub.branches["refs/pr/1"] = COMMIT
    assert list_files("owner/toy", "refs/pr/1")[0] == COMMIT
    assert hub.asked == [("/api/models/owner/toy/revision/refs%2Fpr%2F1", None)]


@pytest.mark.parametrize(("repository", "revision"), [("owner/toy", "v9"), ("owner/none", "main")])
def test_an_unknown_repository_or_revision_is_an_error(hub: Hub, repository: str, revision: str) -> None:
    with pytest.raises(
        ModelFileError, match=rf"{repository}@{revision}: .* 404 .*no such repository, revision or file"
    ):
        list_files(repository, revision)


@pytest.mark.parametrize(
    "answer",
    [b"<html>", b"[]", b"{}", b'{"sha": "main", "siblings": []}', b'{"sha": 5, "siblings": []}', b'{"siblings": [7]}'],
)
def test_something_else_than_a_hub_is_an_error(hub: Hub, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    """A proxy may answer every request with a page of its own."""
    monkeypatch.setattr(Hub, "listing", lambda _: answer)
    with pytest.raises(ModelFileError, match="answered something else than a list of files"):
        list_files("owner/toy", "main")


def test_a_hub_that_cannot_be_reached_or_fails_is_an_error(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.status = 500
    with pytest.raises(ModelFileError, match="the server answered 500"):
        list_files("owner/toy", "main")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9/")
    assert endpoint() == "http://127.0.0.1:9"
    with pytest.raises(ModelFileError, match=r"http://127\.0\.0\.1:9 is unreachable"):
        list_files("owner/toy", "main")


def test_the_token_opens_private_repositories(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes with redirects on the hub and not to the host that stores large files, which would reject it."""
    hub.token, hub.redirects = "hf_secret", True
    with pytest.raises(ModelFileError, match=r"answered 401 .*not public and HF_TOKEN is not set\. .*set HF_TOKEN"):
        list_files("owner/toy", "main")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(ModelFileError, match="HF_TOKEN may not read it") as error:
        list_files("owner/toy", "main")
    assert "hf_wrong" not in str(error.value)
    monkeypatch.setenv("HF_TOKEN", "hf_secret\n")
    commit, files = list_files("owner/toy", "main")
    download("owner/toy", commit, files.values(), tmp_path, Told().report)
    assert (tmp_path / "model.bin").read_bytes() == CONTENT
    assert {"/stored/model.bin", "/stored/config.json"} <= {path for path, _ in hub.asked}


def test_a_token_with_other_characters_is_not_shown(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The HTTP library would show it in its message."""
    monkeypatch.setenv("HF_TOKEN", "hf_se\ncret")
    with pytest.raises(ModelFileError, match="HF_TOKEN has spaces or other characters") as error:
        list_files("owner/toy", "main")
    assert "cret" not in str(error.value)
    assert hub.asked == []
