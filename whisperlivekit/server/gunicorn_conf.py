"""Gunicorn's configuration, made from the same settings as everything else (.env and the environment).

Nothing that runs here before the fork may touch CUDA, onnxruntime or CTranslate2: none of them survives a fork.
"""

# ruff: noqa: E402 - libraries read these when they are first imported, which the settings' modules already do.
import os

# By default each of these libraries uses every core, in every worker, for operations too small to be worth it. The
# model's own threads are set in its configuration. A second OpenBLAS thread cost 0.2 CPU seconds a second of speech.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
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

# Otherwise Gunicorn tells systemd that it is ready before a worker has loaded its model.
systemd.take_socket()

# The workers' libraries read these at import. prometheus_client decides at import whether it counts in files.
os.environ.update(library_environment(_settings))
# In memory if possible: writing to a file that is mapped from a full disk kills the worker.
_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="whisperlivekit-metrics-", dir=_memory)
_metrics_folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])

_address = f"[{_settings.host}]" if ":" in _settings.host else _settings.host
_log_file = _settings.log_dir / "server.log"

wsgi_app = "whisperlivekit.server.launch:build()"
worker_class = "whisperlivekit.server.worker.SpeechWorker"
proc_name = "whisperlivekit"
# The workers tell the ports apart.
bind = [f"{_address}:{port}" for port in _settings.ports.values()]
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
# The heartbeat file must not wait for a disk.
worker_tmp_dir = _memory
# It would start a thread in the master before later forks and a socket in the home folder, and nothing here uses it.
control_socket_disable = True
accesslog = None
logconfig_dict = logs.config(_settings.log_level, _settings.log_format, _log_file)

_settings.log_dir.mkdir(parents=True, exist_ok=True)


def on_starting(_: Any) -> None:
    """Log the device and the model, and stop if one of them is missing, before any worker starts."""
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
    """The server listens; the workers load their models now."""
    import logging

    scheme = "https" if certfile else "http"
    host = "localhost" if _settings.host in {"0.0.0.0", "::", "127.0.0.1", "::1"} else _address
    log = logging.getLogger("whisperlivekit.start")
    for port in _settings.http_ports.values():
        log.info("listening on %s://%s:%d", scheme, host, port)
    if _settings.wyoming_port:
        log.info("listening on tcp://%s:%d for Wyoming, which needs no key", host, _settings.wyoming_port)


def on_reload(_: Any) -> None:
    """Tell the old workers that they are being replaced: they serve until a new one is warm."""
    # A reload reads this file again; the folder stays the same, because its name is in the environment.
    (_metrics_folder / "reloaded").touch()


def pre_fork(server: Any, worker: Any) -> None:
    """Give the worker the lowest number that no running sibling has; it decides which GPU the worker uses."""
    taken = {sibling.slot for sibling in server.WORKERS.values()}
    worker.slot = next(slot for slot in range(len(taken) + 1) if slot not in taken)


def post_fork(_: Any, worker: Any) -> None:
    """Log which process a worker is."""
    worker.log.debug("worker %d is process %d", worker.slot, worker.pid)


def child_exit(_: Any, __: Any) -> None:
    """A worker has ended: what it was doing is no longer counted, what it has done still is."""
    from whisperlivekit.observe import processes

    processes.retire_ended_processes()


def on_exit(_: Any) -> None:
    """Remove the files of the metrics."""
    systemd.notify("STOPPING=1")
    rmtree(_metrics_folder, ignore_errors=True)


def _empty(folder: Path) -> None:
    """Remove the counts of an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink(missing_ok=True)
