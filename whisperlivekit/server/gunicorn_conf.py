"""Gunicorn's configuration, made from the same settings as everything else (.env and the environment).

What runs here before the fork must not touch CUDA, torch, onnxruntime or CTranslate2: none of them survives a fork.
"""

# ruff: noqa: E402 - libraries read these when they are first imported, which the settings' modules already do.
import os

# Libraries that are not told take every core, in every worker, for products too small to share; the model's own threads
# are counted in its configuration. A second thread of OpenBLAS alone cost 0.2 CPU seconds a second of speech.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import sys
import tempfile
from pathlib import Path
from shutil import rmtree
from typing import Any

from whisperlivekit.engine import models
from whisperlivekit.errors import StartError
from whisperlivekit.observe import gpu, logs, systemd
from whisperlivekit.settings.configs import library_environment
from whisperlivekit.settings.env_file import describe_source, load_settings
from whisperlivekit.settings.machine import (
    need_device,
    resolved_compute_type,
    resolved_device,
    threads_per_worker,
    worker_count,
)

try:
    _settings = load_settings()
except StartError as error:
    sys.exit(f"whisperlivekit: {error.message}")

# Gunicorn would tell systemd that it is ready before a worker has its model.
systemd.take_socket()

# Libraries of the workers read these at import; prometheus_client decides at import whether it counts for many.
os.environ.update(library_environment(_settings))
# Memory, where there is such a folder: a write into a file that is mapped from a full disk kills the worker.
_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="whisperlivekit-metrics-", dir=_memory)
_metrics_folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])

_address = f"[{_settings.host}]" if ":" in _settings.host else _settings.host
_log_file = _settings.log_dir / "server.log"

wsgi_app = "whisperlivekit.server.launch:build()"
worker_class = "whisperlivekit.server.worker.SpeechWorker"
proc_name = "whisperlivekit"
bind = f"{_address}:{_settings.port}"
workers = worker_count(_settings)
preload_app = _settings.gunicorn_preload
timeout = _settings.gunicorn_timeout
graceful_timeout = _settings.gunicorn_graceful_timeout
keepalive = 5
max_requests = _settings.gunicorn_max_requests
# Workers that started together must not be replaced together.
max_requests_jitter = max_requests // 5
certfile = str(_settings.ssl_certfile) if _settings.ssl_certfile else None
keyfile = str(_settings.ssl_keyfile) if _settings.ssl_keyfile else None
# Its heartbeat file must not wait for a disk.
worker_tmp_dir = _memory
# A thread in the master, started before later forks, and a socket in the home folder: nobody here uses them.
control_socket_disable = True
accesslog = None
logconfig_dict = logs.config(_settings.log_level, _settings.log_format, _log_file)

_settings.log_dir.mkdir(parents=True, exist_ok=True)


def on_starting(_: Any) -> None:
    """Say what is there and stop here if something is missing, before any worker is started."""
    import logging

    log = logging.getLogger("whisperlivekit.start")
    _empty(_metrics_folder)
    log.info("settings: %s", describe_source())
    log.info("%s", gpu.describe())
    try:
        need_device(_settings)
        path = models.find(_settings.model, _settings.model_dir)
        models.find_silero(_settings.model_dir)
        device = resolved_device(_settings)
    except StartError as error:
        log.critical("cannot start: %s", error.message)
        sys.exit(2)
    log.info(
        "starting",
        extra={
            "model": _settings.model,
            "files": str(path),
            "device": device,
            "compute_type": resolved_compute_type(_settings),
            "workers": workers,
            "threads": threads_per_worker(_settings),
        },
    )


def when_ready(_: Any) -> None:
    """Listening; the workers load their models now."""
    import logging

    scheme = "https" if certfile else "http"
    host = "localhost" if _settings.host in {"0.0.0.0", "::", "127.0.0.1", "::1"} else _address
    logging.getLogger("whisperlivekit.start").info("listening on %s://%s:%d", scheme, host, _settings.port)


def on_reload(_: Any) -> None:
    """Tell the old workers that new ones are coming: they serve until one of those is warm."""
    # A reload has read this file again: a folder named by the environment is still the same.
    (_metrics_folder / "reloaded").touch()


def pre_fork(server: Any, worker: Any) -> None:
    """Give the worker the lowest number that no living sibling has: its GPU follows from it."""
    taken = {sibling.slot for sibling in server.WORKERS.values()}
    worker.slot = next(slot for slot in range(len(taken) + 1) if slot not in taken)


def post_fork(_: Any, worker: Any) -> None:
    """Say which process a worker is."""
    worker.log.debug("worker %d is process %d", worker.slot, worker.pid)


def child_exit(_: Any, worker: Any) -> None:
    """A worker is gone: its live streams are no longer counted."""
    from whisperlivekit.observe import metrics

    metrics.forget_process(worker.pid)


def on_exit(_: Any) -> None:
    """Leave nothing behind."""
    systemd.notify("STOPPING=1")
    rmtree(_metrics_folder, ignore_errors=True)


def _empty(folder: Path) -> None:
    """Counts of an earlier run are not this one's."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink(missing_ok=True)
