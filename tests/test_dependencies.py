"""pyproject.toml declares what the code imports, and nothing else."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions

import pytest

from tests.conftest import ROOT

USED_WITHOUT_IMPORT = {
    "python-multipart": "Starlette uses it to read multipart forms",
    "websockets": "uvicorn uses it as its WebSocket implementation",
    "nvidia-cublas-cu12": "CTranslate2 loads its shared library",
    "httpx2": "Starlette's TestClient uses it if it is installed",
    "ruff": "a command",
    "mypy": "a command",
    "import-linter": "a command",
    "pytest-xdist": "pytest uses it to run tests in two processes",
    "setuptools": "tests/test_wheel.py runs it in a process of its own",
}
"""Distribution -> who uses it."""

OPTIONAL_IMPORTS = {
    "nvidia": "the package of nvidia-cublas-cu12, looked for only where there is a GPU",
}
"""Module -> why it need not be installed."""

CLIENTS = ROOT / "tests" / "clients" / "programs"
"""Programs that run in environments of their own: tests/clients/requirements has what they import."""

DISTRIBUTIONS = packages_distributions()
"""Module -> the distributions that install it."""

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*extras: str) -> set[str]:
    """The distributions of the dependencies, or of extras."""
    requirements = [r for extra in extras for r in PROJECT["optional-dependencies"][extra]]
    names = {canonical(re.split(r"[\[<>=!~; ]", requirement)[0]) for requirement in requirements}
    return names - {PROJECT["name"]}


def imported(folders: Iterable[str]) -> set[str]:
    """The distributions of all modules that are imported in these folders, also inside functions."""
    modules: set[str] = set()
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            if path.parent == CLIENTS:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    modules |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    modules.add(node.module.partition(".")[0])
    own = {path.name for path in ROOT.iterdir() if path.is_dir()}
    modules -= set(sys.stdlib_module_names) | own | set(OPTIONAL_IMPORTS)
    distributions = DISTRIBUTIONS
    unknown = {module for module in modules if module not in distributions}
    assert not unknown, f"not installed: {unknown}"
    return {canonical(distributions[module][0]) for module in modules}


SERVER = {canonical(re.split(r"[\[<>=!~; ]", requirement)[0]) for requirement in PROJECT["dependencies"]}


@pytest.mark.parametrize(
    ("folders", "allowed"),
    [
        (["whisperlivekit"], SERVER),
        (["benchmarks"], SERVER | declared("bench")),
        (["tests"], SERVER | declared("bench", "dev")),
    ],
    ids=["server", "benchmarks", "tests"],
)
def test_every_import_is_declared(folders: list[str], allowed: set[str]) -> None:
    assert imported(folders) - allowed == set()


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["whisperlivekit"], SERVER),
        (["benchmarks", "tests"], declared("bench")),
        (["benchmarks", "tests"], declared("dev")),
    ],
    ids=["server", "bench", "dev"],
)
def test_every_declared_dependency_is_used(folders: list[str], names: set[str]) -> None:
    assert names - imported(folders) - set(USED_WITHOUT_IMPORT) == set()


def test_exceptions_are_still_needed() -> None:
    """Each is declared, and the code for which it is declared does not import it."""
    extras = declared(*PROJECT["optional-dependencies"])
    assert set(USED_WITHOUT_IMPORT) <= SERVER | extras
    assert not set(USED_WITHOUT_IMPORT) & SERVER & imported(["whisperlivekit"])
    assert not set(USED_WITHOUT_IMPORT) & (extras - SERVER) & imported(["benchmarks", "tests"])


def test_every_constraint_is_exact() -> None:
    """install.sh installs the versions that the tests ran with: each declared distribution has one."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {canonical(line.partition("==")[0]) for line in lines if "==" in line and not line.startswith("#")}
    assert SERVER | declared(*PROJECT["optional-dependencies"]) <= pinned
