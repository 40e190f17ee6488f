"""The server and the recordings that the tests with real clients share.

Each client is installed in an environment of its own, because their requirements exclude each other's and ours:
``install.sh test`` makes ``venv/clients/NAME`` of ``tests/clients/requirements/NAME.txt``. A test runs a program of
``tests/clients/programs`` with it, which uses the client as its documentation says and prints what it got as JSON.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.serving import ROOT, Server, running_server

PROGRAMS = Path(__file__).parent / "programs"

RunClient = Callable[..., Any]


@pytest.fixture(scope="session")
def server(base_model: Path) -> Iterator[Server]:
    """Gunicorn with one worker and the base model on the CPU.

    It has a limit, because without one a slow machine measures that it is slow and refuses streams.
    """
    with running_server(workers=1, WLK_MAX_SESSIONS="8") as running:
        yield running


@pytest.fixture(scope="session")
def run_client() -> RunClient:
    """Runs ``programs/PROGRAM.py`` in the environment of a client; returns the JSON that it prints last."""

    def run(client: str, program: str, *arguments: str, within_s: float = 120) -> Any:
        python = ROOT / "venv" / "clients" / client / "bin" / "python"
        assert python.exists(), f"{client} is not installed: bash install.sh test"
        command = [str(python), str(PROGRAMS / f"{program}.py"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=within_s, check=False)
        assert done.returncode == 0, f"{program} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return json.loads(done.stdout.splitlines()[-1])

    return run
