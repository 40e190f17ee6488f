"""Limits the memory that libraries keep without using it."""

import ctypes
import os
from typing import Any

ARENAS = 1
"""Heaps of all threads together. By default glibc gives each thread its own, up to eight for each core, and memory that
is freed in one heap cannot be used by another. One heap saves 45 MB in a worker with one stream and costs no time."""

PRIMITIVES = 16
"""Kernels in oneDNN's cache. It makes one for each input shape, and windows differ in length: with the default of 1024
a worker grew by 70 MB in 100 windows, and no decode was faster. Source: oneDNN, "Primitive Cache"."""

_M_ARENA_MAX = -8
"""Source: glibc, ``malloc.h``."""


def limit() -> None:
    """Set the limits. Call it before threads are started and model libraries are imported. Only glibc has arenas."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(PRIMITIVES))
    if hasattr(_libc(), "mallopt"):
        _libc().mallopt(_M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Return free memory to the system. Loading a model leaves 100 MB of it."""
    if hasattr(_libc(), "malloc_trim"):
        _libc().malloc_trim(0)


def _libc() -> Any:
    return ctypes.CDLL(None)
