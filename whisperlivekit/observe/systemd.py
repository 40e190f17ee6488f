"""Tells systemd how the service is: a datagram to the socket that it names. Elsewhere nothing happens.

Gunicorn would say READY when its master listens, before a worker has loaded anything. So gunicorn_conf.py takes the
socket's name away from it, keeps it under another, and the first worker with a loaded model says READY.
"""

import logging
import os
import socket

log = logging.getLogger(__name__)

THEIRS = "NOTIFY_SOCKET"
OURS = "WHISPERLIVEKIT_NOTIFY_SOCKET"


def take_socket() -> None:
    """Keep the socket's name for ourselves. To be called in the master, before Gunicorn's READY."""
    address = os.environ.pop(THEIRS, "")
    if address:
        os.environ[OURS] = address


def notify(state: str) -> bool:
    """Send one state such as ``READY=1``; whether somebody took it. Never fails: a service must not end for this."""
    address = os.environ.get(OURS, "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]  # abstract
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.sendto(state.encode(), address)
    except OSError as error:
        log.warning("systemd was not told %s: %s", state.split("=", 1)[0], error)
        return False
    return True
