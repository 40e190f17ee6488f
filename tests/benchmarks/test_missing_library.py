"""What a benchmark says where only the server's libraries are installed."""

import ast
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import INSTALL
from benchmarks.serving import ROOT

EXTRA = ("httpx", "jiwer", "librosa", "matplotlib", "num2words", "psutil", "scipy")
"""Libraries of the extra that benchmarks and tests use."""


def imported(path: Path, seen: set[Path]) -> set[str]:
    """The libraries of the extra that are imported with a module, directly or by other modules of benchmarks."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            other = ROOT / (name.replace(".", "/") + ".py")
            if name.startswith("benchmarks.") and other.is_file() and other not in seen:
                found |= imported(other, seen | {other})
            found |= {name.partition(".")[0]} & set(EXTRA)
    return found


PROGRAMS = [
    path.stem
    for path in sorted((ROOT / "benchmarks").glob("*.py"))
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8") and imported(path, {path})
]


def run_without(libraries: Sequence[str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process in which these libraries cannot be imported."""
    program = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in libraries)
    (folder / "sitecustomize.py").write_text(program, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_says_which_command_installs_what_it_needs(program: str, tmp_path: Path) -> None:
    """One line with the library and the command, no traceback, and an exit code that says that it failed."""
    done = run_without(EXTRA, tmp_path, "-m", f"benchmarks.{program}", "--help")
    assert done.returncode == 1
    assert INSTALL in done.stderr
    assert any(f" {name}," in done.stderr for name in EXTRA)
    assert len(done.stderr.splitlines()) == 1


def test_the_documented_programs_are_among_them() -> None:
    """The list above is found by reading source code: it must not become empty."""
    assert {"live", "load", "engine", "offline", "faults", "soak", "startup", "material"} <= set(PROGRAMS)


def test_a_library_that_is_imported_late_is_reported_too(tmp_path: Path) -> None:
    """A plot needs matplotlib, which is imported only when the plot is drawn."""
    (tmp_path / "rows.json").write_text("[]", encoding="utf-8")
    arguments = ("--results", str(tmp_path / "rows.json"), "--plot", str(tmp_path / "rows.svg"))
    done = run_without(["matplotlib"], tmp_path, "-m", "benchmarks.engine", *arguments)
    assert done.returncode == 1
    assert done.stderr.endswith(f" matplotlib, which is not installed. To install it: {INSTALL}\n")


def test_other_programs_keep_their_tracebacks(tmp_path: Path) -> None:
    """Importing the package, as tests do, changes nothing; a module that is missing here is a fault, not a hint."""
    for program in ("import benchmarks, jiwer", "import sys; sys.argv[0] = '-m'; import benchmarks.nothing"):
        done = run_without(EXTRA, tmp_path, "-c", program)
        assert done.returncode == 1
        assert "Traceback" in done.stderr
        assert INSTALL not in done.stderr
