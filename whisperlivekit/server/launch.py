"""Starts the server: checks what would stop every worker, then becomes Gunicorn's master."""

import errno
import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

from fastapi import FastAPI

from whisperlivekit.engine import models
from whisperlivekit.errors import StartError
from whisperlivekit.server.app import create_app
from whisperlivekit.server.service import ServedEngine
from whisperlivekit.settings.configs import engine_config
from whisperlivekit.settings.declarations import Settings
from whisperlivekit.settings.env_file import load_settings
from whisperlivekit.settings.machine import need_device

GUNICORN_CONF = Path(__file__).with_name("gunicorn_conf.py")


def serve(settings: Settings) -> NoReturn:
    """Replace this process by Gunicorn's master. gunicorn_conf.py reads the environment and ``.env`` again.

    Raises:
        StartError: the port is in use, or a model file or the GPU is missing.
    """
    need_device(settings)
    models.find(settings.model, settings.model_dir)
    models.find_silero(settings.model_dir)
    for variable, port in settings.ports.items():
        need_free_port(settings.host, port, variable)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "--config", str(GUNICORN_CONF)])  # noqa: S606


def need_free_port(host: str, port: int, variable: str) -> None:
    """Check that the server can listen on the port, which the variable sets.

    Raises:
        StartError: it cannot; the message says why and what to do.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As Gunicorn does: ignore connections of a server that has just ended.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            match error.errno:
                case errno.EADDRINUSE:
                    reason = f"another program uses it; stop that program, or set {variable} to another port"
                case errno.EACCES:
                    reason = f"ports below 1024 need privileges; set {variable} to a higher one"
                case errno.EADDRNOTAVAIL | socket.EAI_NONAME:
                    reason = "this machine has no such address; set WLK_HOST to 127.0.0.1 or 0.0.0.0"
                case _:
                    reason = str(error.strerror)
            raise StartError(f"cannot listen on port {port} of {host}: {reason}") from None


def build() -> FastAPI:
    """The application, as named in gunicorn_conf.py."""
    settings = load_settings()

    def make_engine(worker: int) -> ServedEngine:
        # Imported here, because the master imports this module and must not load a model library.
        from whisperlivekit.engine.batcher import Engine

        return Engine(engine_config(settings, worker))

    return create_app(settings, make_engine)
