"""What every test gets: no settings from outside, and where the model is."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from whisperlivekit.engine.models import find_silero
from whisperlivekit.settings.declarations import variables

ROOT = Path(__file__).resolve().parents[1]

# A busy machine is no failure; every other machine finds the same examples.
hypothesis_settings.register_profile("project", deadline=None, derandomize=True)
hypothesis_settings.load_profile("project")

# Before any test, also for fixtures of a whole session: what the developer's shell says must not decide a test.
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests first. The browser's come last for a second reason: Playwright leaves its event loop running in the
    main thread, in which no test of asyncio could run after it.
    """
    items.sort(key=lambda item: (item.get_closest_marker("browser") is not None, bool(item.get_closest_marker("slow"))))
