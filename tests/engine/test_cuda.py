"""Loading cuBLAS: its wheel comes first, and without it the error names the command that installs it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from whisperlivekit.engine.cuda import LIBRARIES, find_cublas, load_cublas
from whisperlivekit.errors import ModelUnavailable


def wheel(tmp_path: Path) -> Path:
    """The layout of nvidia-cublas-cu12; for loading, any shared object will do."""
    folder = tmp_path / "nvidia" / "cublas" / "lib"
    folder.mkdir(parents=True)
    some_library = next(Path(sys.prefix).rglob("_soundfile_data/*.so"))
    for name in LIBRARIES:
        (folder / name).write_bytes(some_library.read_bytes())
    return folder


def run(program: str, tmp_path: Path) -> str:
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from whisperlivekit.engine.cuda import *; {program}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_wheel_comes_first(tmp_path: Path) -> None:
    folder = wheel(tmp_path)
    assert run("print(find_cublas())", tmp_path) == str(folder / "libcublas.so.12")


def test_both_libraries_are_loaded_from_the_wheel(tmp_path: Path) -> None:
    folder = wheel(tmp_path)
    loaded = run("load_cublas(); print(open('/proc/self/maps').read())", tmp_path)
    assert all(str(folder / name) in loaded for name in LIBRARIES)


def test_without_it_the_message_says_what_to_install() -> None:
    if find_cublas() is not None:
        pytest.skip("this machine has cuBLAS 12")
    with pytest.raises(ModelUnavailable, match="pip install nvidia-cublas-cu12"):
        load_cublas()
