"""Fixtures of every test: no settings from the environment, and one loaded model for all tests of a run."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from whisperlivekit.engine.models import find_silero
from whisperlivekit.engine.whisper import EngineConfig, WhisperModel
from whisperlivekit.settings.declarations import variables

ROOT = Path(__file__).resolve().parents[1]

# No deadline: a slow machine must not fail a test. Derandomised: every machine tries the same examples.
hypothesis_settings.register_profile("project", deadline=None, derandomize=True)
hypothesis_settings.load_profile("project")

# The developer's environment must not change a test's result. At import time, because session-wide fixtures read
# settings too.
for _name in [*variables(), *(name for name in os.environ if name.startswith("WLK_"))]:
    os.environ.pop(_name, None)

# An empty home folder: commands in tests do not read the developer's .env.
_home = tempfile.TemporaryDirectory(prefix="whisperlivekit-tests-")
os.environ["WLK_HOME"] = _home.name


@pytest.fixture(scope="session")
def base_model() -> Path:
    """The folder of Whisper base."""
    folder = ROOT / "models" / "whisper" / "base"
    if not (folder / "model.bin").is_file():
        pytest.fail("the tests need the model base: venv/bin/whisperlivekit models fetch base", pytrace=False)
    return folder


@pytest.fixture(scope="session")
def silero_dir() -> Path:
    """The folder of the speech detector's file."""
    return find_silero(ROOT / "models")


@pytest.fixture(scope="session")
def whisper_base(base_model: Path) -> WhisperModel:
    """Whisper base on one CPU thread. Loading takes seconds, so tests share it: change ``whisper_base.lane()`` only."""
    return WhisperModel(EngineConfig(base_model, "cpu"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run quick tests first: they fail early.

    With several processes the slow files come first. A long file that is started last would leave the others idle.
    """

    def order(item: pytest.Item) -> tuple[bool, bool]:
        return item.get_closest_marker("browser") is not None, item.get_closest_marker("slow") is not None

    items.sort(key=order, reverse=bool(config.getoption("numprocesses", None) or os.environ.get("PYTEST_XDIST_WORKER")))
