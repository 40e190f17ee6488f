"""The structure of the project: every module has a test module, and the core is pure."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "whisperlivekit"

TESTED_ELSEWHERE = {
    "whisperlivekit/__main__.py": "tests/test_cli.py runs it",
    "whisperlivekit/settings/__main__.py": "tests/settings/test_documents.py runs it",
    "whisperlivekit/server/gunicorn_conf.py": "tests/server/test_gunicorn.py starts servers with it",
    "whisperlivekit/errors.py": "declarations only; every test of an error reads them",
    "whisperlivekit/engine/api.py": "Protocols; tests/contract holds what implements them",
    "whisperlivekit/wire/adapter.py": "a Protocol",
    "whisperlivekit/core/commands.py": "plain values",
    "whisperlivekit/core/events.py": "plain values",
    "whisperlivekit/core/hypothesis.py": "plain values",
}

MODULES = sorted(
    str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"
)  # packages hold a docstring only: see below

RUN = ("__main__.py", "gunicorn_conf.py")
"""Programs, which do something when they are imported."""

CORE_MAY_IMPORT = {
    "collections", "collections.abc", "dataclasses", "enum", "functools", "itertools", "math", "numpy", "numpy.typing",
    "re", "typing", "unicodedata",
}  # fmt: skip


def expected_test(module: str) -> Path:
    relative = Path(module).relative_to("whisperlivekit")
    return ROOT / "tests" / relative.parent / f"test_{relative.name}"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_its_test_module(module: str) -> None:
    if module in TESTED_ELSEWHERE:
        return
    assert expected_test(module).is_file(), f"expected {expected_test(module).relative_to(ROOT)}"


def test_exceptions_are_still_needed() -> None:
    for module in TESTED_ELSEWHERE:
        assert (ROOT / module).is_file(), f"{module} is gone: remove it from the list"
        assert not expected_test(module).is_file(), f"{module} has its test now: remove it from the list"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_packages_do_nothing_when_imported(path: Path) -> None:
    """They have a docstring and constants at most, so that importing one module does not import its neighbours."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    assert all(isinstance(node, ast.Expr | ast.Assign) and isinstance(node.value, ast.Constant) for node in body)


@pytest.mark.parametrize("path", sorted((PACKAGE / "core").glob("*.py")), ids=lambda path: path.name)
def test_the_core_imports_only_what_is_pure(path: Path) -> None:
    """import-linter forbids listed modules. Here only listed modules are allowed, so that no new library is missed."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    foreign = {name for name in imported if not name.startswith(("whisperlivekit.core", "whisperlivekit.errors"))}
    assert foreign <= CORE_MAY_IMPORT


def test_no_model_library_is_imported_with_the_program() -> None:
    """No import loads a model library. The master forks after its imports, and no model library survives a fork."""
    names = [module.removesuffix(".py").replace("/", ".") for module in MODULES if not module.endswith(RUN)]
    program = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print([name for name in ('ctranslate2', 'onnxruntime', 'faster_whisper', 'av')"
        " if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_nothing_names_a_path_of_some_machine() -> None:
    """The checkout works in any folder."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    forbidden = [f"/{folder}/" for folder in ("work", "root", "home")]
    for name in filter(None, listed.split("\0")):
        content = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        found = [path for path in forbidden if path.encode() in content]
        assert not found, f"{name} names {found}"


def test_documents_named_in_messages_exist() -> None:
    """Also their chapters, which messages name as: FILE, chapter 'TITLE'."""
    named = set()
    for module in MODULES:
        for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named |= set(re.findall(r"((?:\w+/)*\w[\w.]*\.md)(?:, chapter '([^']+)')?", node.value))
                assert not re.search(r"chapter (?!')", node.value), f"{module}: name the chapter by its title"
    assert named
    for file, chapter in named:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert not chapter or re.search(rf"^#+ {re.escape(chapter)}$", text, re.MULTILINE), f"{file} has no {chapter}"
