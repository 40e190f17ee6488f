"""Lets Home Assistant find the Wyoming server: a zeroconf (mDNS) announcement on the local network."""

import asyncio
import logging
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

log = logging.getLogger(__name__)

SERVICE = "_wyoming._tcp.local."
"""Source: Home Assistant's integration looks for it."""


class Announcement:
    """The announcement of one worker. All workers announce the same, and each answers for all."""

    def __init__(self, responder: "AsyncZeroconf", service: "AsyncServiceInfo") -> None:
        self._responder = responder
        self._service = service

    @classmethod
    async def make(cls, host: str, port: int) -> "Announcement | None":
        """Announce ``port`` on the addresses of ``host``. None, with the reason in the log, if that is not possible:
        who knows the address can connect without it.
        """
        addresses = await asyncio.to_thread(_addresses, host)
        if not addresses:
            log.info("Wyoming is not announced: %s is reached from this machine only", host)
            return None
        # Imported here: most servers do not announce anything.
        from zeroconf import Error, InterfaceChoice
        from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

        name = socket.gethostname().partition(".")[0]
        service = AsyncServiceInfo(
            SERVICE,
            f"WhisperLiveKit {name}.{SERVICE}",
            parsed_addresses=addresses,
            port=port,
        )
        try:
            wildcard = ip_address(host).is_unspecified
            responder = AsyncZeroconf(interfaces=InterfaceChoice.All if wildcard else addresses)
            await responder.async_register_service(service, cooperating_responders=True)
        except (Error, OSError, ValueError) as error:
            log.warning("Wyoming is not announced: %s", error)
            return None
        log.info("Wyoming is announced", extra={"service": service.name, "addresses": addresses, "port": port})
        return cls(responder, service)

    async def close(self) -> None:
        """Answer no more questions. There is no goodbye: other workers, or the next one, still serve."""
        self._responder.zeroconf.registry.async_remove(self._service)
        await self._responder.async_close()


def _addresses(host: str) -> list[str]:
    """The addresses of ``host`` that other machines can reach. May ask the DNS."""
    from zeroconf import get_all_addresses

    if host in {"0.0.0.0", "::"}:
        found = get_all_addresses()
    else:
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    return [address for address in found if not ip_address(address).is_loopback]
