"""Loads a renewed certificate into a running server: new connections get it, open streams are not interrupted."""

import logging
import ssl
from pathlib import Path

log = logging.getLogger(__name__)

LOOK_EVERY_S = 10.0


class CertificateFiles:
    """The files of the certificate and key in an SSL context, watched by size and modification time."""

    def __init__(self, context: ssl.SSLContext, certificate: Path, key: Path) -> None:
        self._context = context
        self._paths = (certificate, key)
        self._seen = self._state()

    def refresh(self) -> bool:
        """Load the files if they have changed. Returns whether they were loaded; logs why they do not load."""
        state = self._state()
        if state is None or state == self._seen:
            return False
        self._seen = state
        try:
            # First into a separate context: a certificate that does not match its key would break the one in use.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self._paths)
            self._context.load_cert_chain(*self._paths)
        except (OSError, ssl.SSLError) as error:
            log.error("the new certificate does not load, the old one stays in use: %s", error)  # noqa: TRY400
            return False
        log.info("loaded the new certificate")
        return True

    def _state(self) -> tuple[tuple[int, int], ...] | None:
        """None while a file is missing, because it is being replaced."""
        try:
            stats = [path.stat() for path in self._paths]
        except OSError:
            return None
        return tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)
