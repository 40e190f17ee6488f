"""The announcement on the local network, found by another zeroconf program on this machine."""

import asyncio
import gc

import pytest
from zeroconf import ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from whisperlivekit.server import discovery
from whisperlivekit.server.discovery import SERVICE, Announcement

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loopback address stands for one of the network: tests must not announce anything there."""
    monkeypatch.setattr(discovery, "_addresses", lambda host: [host])


async def found(within_s: float = 5.0) -> AsyncServiceInfo | None:
    """What Home Assistant would find; None: nothing."""
    names: asyncio.Queue[str] = asyncio.Queue()
    browser = AsyncZeroconf(interfaces=["127.0.0.1"])

    def note(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        names.put_nowait(name)

    listening = AsyncServiceBrowser(browser.zeroconf, SERVICE, handlers=[note])
    try:
        async with asyncio.timeout(within_s):
            info = AsyncServiceInfo(SERVICE, await names.get())
            await info.async_request(browser.zeroconf, 3_000)
            return info
    except TimeoutError:
        return None
    finally:
        await listening.async_cancel()
        await browser.async_close()


@pytest.mark.usefixtures("on_this_machine")
async def test_it_is_found_until_the_last_worker_ends() -> None:
    """Two workers announce the same; when one ends, the other still answers."""
    workers = [await Announcement.make("127.0.0.1", 10_300) for _ in range(2)]
    for worker in workers:
        info = await found()
        assert info is not None
        assert (info.port, info.parsed_addresses()) == (10_300, ["127.0.0.1"])
        assert info.name.startswith("WhisperLiveKit ")
        assert worker is not None
        await worker.close()
    assert await found(within_s=1.5) is None


async def test_a_server_of_this_machine_only_is_not_announced() -> None:
    """Nobody else could connect."""
    assert await Announcement.make("127.0.0.1", 10_300) is None
    assert await Announcement.make("localhost", 10_300) is None


async def test_a_server_that_listens_everywhere_names_the_local_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """One address, not those of bridges to containers; none on a machine without a network."""
    found = discovery._addresses("0.0.0.0")
    assert len(found) <= 1
    assert not any(address.startswith("127.") for address in found)
    monkeypatch.setattr(discovery, "MULTICAST", ("no-such-host.invalid", 1))
    assert discovery._addresses("::") == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_without_a_network_the_server_starts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The reason is in the log."""
    monkeypatch.setattr(discovery, "_addresses", lambda host: ["203.0.113.7"])
    assert await Announcement.make("203.0.113.7", 10_300) is None
    assert "Wyoming is not announced" in caplog.text
    caplog.clear()
    gc.collect()  # zeroconf leaves a socket to the garbage collector, which warns
