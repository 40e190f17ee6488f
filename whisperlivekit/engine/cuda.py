"""Finds and loads cuBLAS 12. CTranslate2 needs it, but its wheel neither contains it nor looks for its wheel."""

import ctypes
from importlib.util import find_spec
from pathlib import Path

from whisperlivekit.errors import ModelUnavailable

LIBRARIES = ("libcublasLt.so.12", "libcublas.so.12")
"""In loading order: the second library depends on the first."""


def find_cublas() -> str | None:
    """Where cuBLAS 12 would be loaded from: its wheel, else the system's library path. None: it is not installed."""
    if folder := _wheel():
        return str(folder / LIBRARIES[-1])
    try:
        ctypes.CDLL(LIBRARIES[-1])
    except OSError:
        return None
    return f"the system's {LIBRARIES[-1]}"


def load_cublas() -> None:
    """Loads cuBLAS 12 for the whole process. Call it in a worker, before a model is loaded on a GPU.

    Raises:
        ModelUnavailable: it is not installed; the message says how to install it.
    """
    folder = _wheel()
    for name in LIBRARIES:
        try:
            # RTLD_GLOBAL: CTranslate2 opens the library by its name without a path, and then gets the loaded one.
            ctypes.CDLL(str(folder / name) if folder else name, mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise ModelUnavailable(
                f"{name} does not load ({error}): a GPU needs cuBLAS of CUDA 12; "
                "install it with: venv/bin/pip install nvidia-cublas-cu12"
            ) from error


def _wheel() -> Path | None:
    """The folder of the libraries of the wheel nvidia-cublas-cu12; None: it is not installed."""
    spec = find_spec("nvidia")
    for root in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(root) / "cublas" / "lib"
        if (folder / LIBRARIES[-1]).is_file():
            return folder
    return None
