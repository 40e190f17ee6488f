"""Reports the state of the service to systemd: a datagram to the socket that systemd names. Otherwise nothing happens.

Gunicorn would report READY when its master listens, before a worker has loaded a model. So gunicorn_conf.py moves the
socket's name to another variable, and the first worker with a loaded model reports READY.
"""

import logging
import os
import socket

log = logging.getLogger(__name__)

THEIRS = "NOTIFY_SOCKET"
OURS = "WHISPERLIVEKIT_NOTIFY_SOCKET"


def take_socket() -> None:
    """Hide the socket's name from Gunicorn. To be called in the master, before Gunicorn reports READY."""
    address = os.environ.pop(THEIRS, "")
    if address:
        os.environ[OURS] = address


def notify(state: str) -> bool:
    """Send one state such as ``READY=1``. Returns whether it was sent; never raises, because the service must go on."""
    address = os.environ.get(OURS, "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]  # abstract
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto(state.encode(), address)
    except OSError as error:
        log.warning("could not report %s to systemd: %s", state.split("=", 1)[0], error)
        return False
    return True
