"""The server that the streaming tests talk to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.serving import Server, running_server


@pytest.fixture
def anyio_backend() -> str:
    """The loop that the client is written for."""
    return "asyncio"


@pytest.fixture(scope="session")
def server(base_model: Path) -> Iterator[Server]:
    """One worker with base on the CPU, behind Gunicorn, for all tests that do not harm it."""
    with running_server(workers=1) as running:
        yield running
