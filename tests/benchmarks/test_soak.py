"""The soak test: it runs every kind of visitor, and tells growing memory from memory that only varies."""

import argparse
import asyncio

import pytest

from benchmarks.soak import MANNERS, Sample, slope, soak
from tests.server.scripted import scripted_server


def sample(minute: float, visitors: int, rss_mb: float) -> Sample:
    return Sample(minute, visitors, rss_mb, 10, 5, 1)


def test_a_leak_is_told_from_variation() -> None:
    """A leak of 10 KB per visitor is 1 MB per hundred visitors; memory that only goes up and down is no leak."""
    leaking = [sample(n, 100 * n, 500 + n + (0.2 if n % 2 else -0.2)) for n in range(20)]
    assert 100 * slope(leaking, "visitors") == pytest.approx(1.0, abs=0.02)
    steady = [sample(n, 100 * n, 500 + (0.2 if n % 2 else -0.2)) for n in range(20)]
    assert 100 * slope(steady, "visitors") == pytest.approx(0, abs=0.02)
    assert slope(steady[:1], "visitors") == 0


def test_visitors_of_all_kinds_leave_nothing_behind() -> None:
    """No visitor fails, and at the end no connection is left. Each of the first eight draws its manner before any of
    them is served, so what they draw depends on the seed alone.
    """
    options = argparse.Namespace(seed=2, minutes=0.1, sessions=8, every=1.0, warm_up=0.0)
    with scripted_server(max_sessions=16) as server:
        result = asyncio.run(soak(server.ws_url, options))
        server.wait_until("all streams have ended", lambda: server.service.streams == 0)
    assert result["failures"] == {}
    assert set(result["visitors"]) == set(MANNERS)
    assert result["connections_first_last"][1] <= result["connections_first_last"][0]
