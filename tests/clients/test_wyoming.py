"""Wyoming with the package that Home Assistant uses, unmodified, and real speech."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

from benchmarks.serving import Server, free_port, running_server
from tests.clients.conftest import RunClient
from tests.speech import assert_says, clip

pytestmark = [pytest.mark.model, pytest.mark.slow]

PHRASE = clip("phrase_3s")
PROMPTS = clip("prompts_24s")

PORT = free_port()


@pytest.fixture(scope="module")
def wyoming(base_model: Path) -> Iterator[Server]:
    """Two workers with one Wyoming port. One stream fits into each: more would be refused."""
    with running_server(
        2, WLK_WYOMING_PORT=str(PORT), WLK_MAX_SESSIONS="1", WLK_GUNICORN_GRACEFUL_TIMEOUT="50"
    ) as running:
        yield running


@pytest.fixture(scope="module")
def phrase(tmp_path_factory: pytest.TempPathFactory) -> str:
    return wave_file(tmp_path_factory, "phrase_3s")


def wave_file(folder: pytest.TempPathFactory, name: str) -> str:
    path = folder.mktemp("wyoming") / f"{name}.wav"
    soundfile.write(path, clip(name).samples, 16_000, subtype="PCM_16")
    return str(path)


def test_home_assistants_flow(wyoming: Server, run_client: RunClient, phrase: str) -> None:
    """Describe within a second with Russian among the languages; then the text of a spoken command."""
    found = run_client("wyoming", "wyoming_home_assistant", str(PORT), phrase, "ru")
    assert found["describe_s"] < 1
    assert "ru" in found["languages"]
    assert found["streaming"] is True
    assert found["error"] is None
    assert_says(found["text"], PHRASE.text)
    assert "".join(found["chunks"]).strip() == found["text"]


def test_a_full_server_answers_describe(wyoming: Server, run_client: RunClient, phrase: str) -> None:
    """Two commands in real time fill both workers. describe is still answered within a second, and a third command
    gets an error that Home Assistant shows.
    """
    results: list[Any] = []

    def speak() -> None:
        results.append(run_client("wyoming", "wyoming_home_assistant", str(PORT), phrase, "ru", "1"))

    # The kernel gives connections to any worker: of four, both workers have refused or taken some.
    threads = [threading.Thread(target=speak) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(result["describe_s"] < 1 for result in results)
    texts = [result["text"] for result in results if result["error"] is None]
    assert 1 <= len(texts) <= 2
    assert {result["error"] for result in results if result["text"] is None} == {"server_full"}
    for text in texts:
        assert_says(text, PHRASE.text)


def test_no_word_is_lost_when_workers_are_replaced(
    wyoming: Server, run_client: RunClient, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """HUP in the middle of a command: the old worker hears it to its end, which no pause of the speaker is."""
    replacing = threading.Timer(3, os.kill, (wyoming.pid, signal.SIGHUP))
    replacing.start()
    long = wave_file(tmp_path_factory, "prompts_24s")
    found = run_client("wyoming", "wyoming_home_assistant", str(PORT), long, "ru", "4")
    replacing.join()
    assert found["error"] is None
    assert_says(found["text"], PROMPTS.text)
