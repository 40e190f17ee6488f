"""The server that the end-to-end tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.serving import Server, running_server


@pytest.fixture
def anyio_backend() -> str:
    """The client of the benchmarks needs asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def server(base_model: Path) -> Iterator[Server]:
    """Gunicorn with one worker and the base model on the CPU, for all tests that leave it as it was.

    It has a limit, because without one a slow machine measures that it is slow and refuses streams.
    """
    with running_server(workers=1, WLK_MAX_SESSIONS="8") as running:
        yield running
