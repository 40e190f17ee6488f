"""Lets Home Assistant find the Wyoming server: a zeroconf (mDNS) announcement on the local network."""

import asyncio
import logging
import socket
from collections.abc import Awaitable
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

log = logging.getLogger(__name__)

SERVICE = "_wyoming._tcp.local."
"""Source: Home Assistant's integration looks for it."""

MULTICAST = ("224.0.0.251", 5353)
"""Where announcements are sent. Source: RFC 6762."""


class Announcement:
    """The announcement of one worker. All workers announce the same, and each answers for all."""

    def __init__(self, responder: "AsyncZeroconf", service: "AsyncServiceInfo", sending: Awaitable[None]) -> None:
        self._responder = responder
        self._service = service
        self._sending = asyncio.ensure_future(sending)

    @classmethod
    async def make(cls, host: str, port: int) -> "Announcement | None":
        """Announce ``port`` on the addresses of ``host``. None, with the reason in the log, if that is not possible:
        who knows the address can connect without it.
        """
        addresses = await asyncio.to_thread(_addresses, host)
        if not addresses:
            log.info("Wyoming is not announced: other machines cannot reach %s", host)
            return None
        # Imported here: most servers do not announce anything.
        from zeroconf import Error
        from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

        name = f"WhisperLiveKit {socket.gethostname().partition('.')[0]}.{SERVICE}"
        service = AsyncServiceInfo(SERVICE, name, parsed_addresses=addresses, port=port)
        try:
            responder = AsyncZeroconf(interfaces=addresses)
        except (Error, OSError, RuntimeError) as error:
            log.warning("Wyoming is not announced: %s", error)
            return None
        try:
            sending = await responder.async_register_service(service, cooperating_responders=True)
        except (Error, OSError, RuntimeError) as error:
            log.warning("Wyoming is not announced: %s", error)
            await responder.async_close()
            return None
        log.info("Wyoming is announced", extra={"service": name, "addresses": addresses, "port": port})
        return cls(responder, service, sending)

    async def close(self) -> None:
        """Answer no more questions. There is no goodbye: other workers, or the next one, still serve."""
        self._sending.cancel()
        await asyncio.gather(self._sending, return_exceptions=True)
        self._responder.zeroconf.registry.async_remove(self._service)
        await self._responder.async_close()


def _addresses(host: str) -> list[str]:
    """The addresses of ``host`` that other machines can reach. May ask the DNS. Of a server that listens on all
    addresses it is the one on the local network: those of containers' bridges are of no use to others.
    """
    try:
        if host in {"0.0.0.0", "::"}:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.connect(MULTICAST)  # sends nothing
                found = [probe.getsockname()[0]]
        else:
            found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except OSError:
        return []
    return [address for address in found if not ip_address(address).is_loopback]
