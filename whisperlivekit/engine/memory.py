"""Keeps libraries from holding memory that nobody uses."""

import ctypes
import os
from typing import Any

ARENAS = 1
"""Heaps for all threads together. glibc gives each thread its own, up to eight a core, and what one has freed no other
can use. Measured: 45 MB of a worker with one stream; no decode takes longer."""

PRIMITIVES = 16
"""Kernels that oneDNN keeps. It makes one for each shape of its input, and every window has another length: its
own limit of 1024 a worker grew by 70 MB in 100 windows, and no decode was faster. Source: oneDNN, "Primitive Cache"."""

_M_ARENA_MAX = -8
"""Source: glibc, ``malloc.h``."""


def limit() -> None:
    """To be called before threads are started and model libraries imported. What is not glibc has no arenas."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(PRIMITIVES))
    if hasattr(_libc(), "mallopt"):
        _libc().mallopt(_M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Return to the system what is free. Loading a model leaves 100 MB of it."""
    if hasattr(_libc(), "malloc_trim"):
        _libc().malloc_trim(0)


def _libc() -> Any:
    return ctypes.CDLL(None)
