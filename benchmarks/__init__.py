"""Programs that measure. They import the package, never the other way round."""

import os

# As gunicorn_conf.py does for the server: libraries read these when they are first imported.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
