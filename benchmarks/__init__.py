"""Programs that measure the server. They import ``whisperlivekit``, never the other way round.

Importing this package limits the thread pools of numerical libraries to one thread, as gunicorn_conf.py does for the
server. A benchmark that ends because a library is not installed prints the command that installs it: a plain
``install.sh`` leaves out what only benchmarks and tests need.
"""

import os
import sys
from types import TracebackType

INSTALL = "bash install.sh bench"
"""Installs the libraries that the benchmarks need."""

# Libraries read these variables when they are first imported.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

_previous = sys.excepthook


def _report_missing_library(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    missing = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if missing and missing not in {"benchmarks", "whisperlivekit"}:
        print(
            f"this benchmark needs the Python library {missing}, which is not installed. To install it: {INSTALL}",
            file=sys.stderr,
        )
    else:
        _previous(kind, error, traceback)


# Only where Python runs a module of this package as a program. While it looks for that module, sys.argv[0] is "-m".
if sys.argv[0] == "-m":
    sys.excepthook = _report_missing_library
