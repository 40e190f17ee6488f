"""Every number the server counts, for Prometheus.

With several worker processes the environment variable PROMETHEUS_MULTIPROC_DIR must name an empty folder before this
module is imported; each process keeps its counts in a file there, and any of them can tell the sums.
"""

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST

LAG_BUCKETS_S = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0, 20.0, 30.0)
"""Around what a reader of live text notices (1 s) and what is broken (10 s)."""

LENGTH_BUCKETS_S = (1, 5, 15, 60, 300, 900, 3600, 14_400, 43_200)
"""From a voice message to the longest session."""


class Metrics:
    """The collectors of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self.sessions = Gauge(
            "whisperlivekit_sessions", "Streams that are live.", registry=registry, multiprocess_mode="livesum"
        )
        self.ready = Gauge(
            "whisperlivekit_ready_workers",
            "Workers whose model is loaded and healthy.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.opened = Counter("whisperlivekit_sessions_opened", "Streams accepted.", ["protocol"], registry=registry)
        self.closed = Counter(
            "whisperlivekit_sessions_closed", "Streams ended, by error code or ok.", ["code"], registry=registry
        )
        self.refused = Counter(
            "whisperlivekit_sessions_refused", "Streams refused before they began.", ["code"], registry=registry
        )
        self.audio = Counter("whisperlivekit_audio_seconds", "Audio received.", registry=registry)
        self.words = Counter("whisperlivekit_words", "Words committed.", registry=registry)
        self.gap = Counter(
            "whisperlivekit_gap_seconds", "Audio that was not transcribed.", ["reason"], registry=registry
        )
        self.lag = Histogram(
            "whisperlivekit_lag_seconds",
            "How far the committed text is behind the audio while somebody speaks, once a second of live audio.",
            buckets=LAG_BUCKETS_S,
            registry=registry,
        )
        self.length = Histogram(
            "whisperlivekit_session_audio_seconds", "Audio of one stream.", buckets=LENGTH_BUCKETS_S, registry=registry
        )

    def exposition(self) -> bytes:
        """All numbers, of all processes, in Prometheus' text format."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def forget_process(pid: int) -> None:
    """A worker is gone: its gauges count no more, its counters do."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
