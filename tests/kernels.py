"""Runs the tests that use the model under the CPU kernels of CTranslate2 that are not this machine's default.

    python -m tests.kernels --list       one line for each kernel: its name, and why it is skipped if it is
    python -m tests.kernels              the tests under each kernel that is not skipped
    python -m tests.kernels NAME         the tests under this one

CTranslate2 chooses its kernels when it is loaded: MKL on Intel processors and oneDNN on others, and the best
instruction set up to AVX2. The same model writes some words otherwise under each, so a test that passes under one may
fail under another. Source of the variables: CTranslate2's documentation and its ``cpu_isa.cc`` and ``backend.cc``.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.conftest import ROOT

VARIABLES = {
    "oneDNN": {"CT2_USE_MKL": "0"},
    "AVX2": {"CT2_FORCE_CPU_ISA": "AVX2"},
    "AVX512": {"CT2_FORCE_CPU_ISA": "AVX512"},
    "GENERIC": {"CT2_FORCE_CPU_ISA": "GENERIC"},
}
"""The environment of each kernel. MKL is not forced where it is not the default: on AMD it took ten times as long."""

SELECTION = ("-m", "model and not slow and not gpu", "tests/engine", "tests/contract", "tests/benchmarks")
"""pytest's arguments for the tests that decode in their own process."""

_LOAD = """
import sys
import ctranslate2
ctranslate2.models.Whisper(sys.argv[1], device="cpu", compute_type="int8")
"""

_CHOICES = re.compile(r"(?:Selected ISA|Use Intel MKL|[A-Z0-9]+ backend): .*")


class Unsupported(Exception):
    """The processor or the build of CTranslate2 lacks a kernel; the message says which."""


@dataclass(frozen=True, slots=True)
class Kernel:
    name: str
    """A key of ``VARIABLES``."""
    skipped: str
    """Why it is not tested on this machine; empty if it is."""


def choices(log: str) -> tuple[str, ...]:
    """The lines of CTranslate2's log that name the kernels it uses."""
    return tuple(_CHOICES.findall(log))


def describe(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Load the model base in a process with these variables, and return ``choices`` of its log.

    Raises:
        Unsupported: CTranslate2 refuses the variables.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CT2_")}
    loaded = subprocess.run(
        [sys.executable, "-c", _LOAD, str(ROOT / "models" / "whisper" / "base")],
        env={**inherited, **environment, "CT2_VERBOSE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "ValueError: " in loaded.stderr:
        raise Unsupported(loaded.stderr.strip().rpartition("ValueError: ")[2])
    loaded.check_returncode()
    return choices(loaded.stderr)


def kernels(describe: Callable[[Mapping[str, str]], tuple[str, ...]] = describe) -> list[Kernel]:
    """All kernels. Skipped: what this machine lacks, and what is the same as its default or as an earlier one."""
    seen = {describe({}): "this machine's default"}
    found = []
    for name, environment in VARIABLES.items():
        try:
            described = describe(environment)
        except Unsupported as error:
            found.append(Kernel(name, str(error)))
            continue
        same = seen.setdefault(described, name)
        found.append(Kernel(name, "" if same == name else f"the same as {same}"))
    return found


def run(name: str) -> bool:
    """Run the tests under a kernel, and return whether they passed."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", *SELECTION]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **VARIABLES[name]}, check=False).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=VARIABLES)
    parser.add_argument("--list", action="store_true", help="run nothing")
    options = parser.parse_args()
    if options.name:
        return not run(options.name)
    found = kernels()
    for kernel in found:
        if options.list:
            print(f"{kernel.name}\t{kernel.skipped}".rstrip())
        elif kernel.skipped:
            print(f"\n== {kernel.name}: skipped, {kernel.skipped}")
        else:
            print(f"\n== {kernel.name}", flush=True)
            if not run(kernel.name):
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
