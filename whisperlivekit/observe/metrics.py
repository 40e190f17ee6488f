"""Every metric of the server, for Prometheus.

With several worker processes, the environment variable PROMETHEUS_MULTIPROC_DIR must name an empty folder before this
module is imported. Each process keeps its counts in files there, and each can report the sums (``processes.py``).
The state of the GPUs is not counted: the process that is asked for the metrics reads it at that moment.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from whisperlivekit.errors import ClientError, NoCapacity, ServerFault, ShuttingDown, WhisperLiveKitError
from whisperlivekit.observe import processes
from whisperlivekit.observe.gpu import Gpu, NoGpu, read_gpus

CONTENT_TYPE = CONTENT_TYPE_LATEST

LAG_BUCKETS_S = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0, 20.0, 30.0)
"""Finest around what a reader of live text notices (1 s); above 10 s something is broken."""

REFINE_BUCKETS_S = (1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0)
"""A paragraph ends with a pause of 2 s or more, and is given up after 120 s."""

LENGTH_BUCKETS_S = (1, 5, 15, 60, 300, 900, 3600, 14_400, 43_200)
"""From a voice message to the longest session."""

BATCH_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)

DECODE_BUCKETS_S = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
"""From a short window on a GPU to a full batch on a CPU."""


class Metrics:
    """The collectors of one process. An ``EngineObserver``."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._own = CollectorRegistry()
        """What is read at the moment of asking, by this process alone."""
        self._own.register(GpuCollector())
        registry = self._registry
        self.sessions = Gauge(
            "whisperlivekit_sessions",
            "Streams and files that are being served.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.ready = Gauge(
            "whisperlivekit_ready_workers",
            "Workers whose model is loaded and healthy.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.lanes = Gauge(
            "whisperlivekit_lanes",
            "Decodes that can run at once, in all workers whose model is loaded and healthy.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.workers = Gauge(
            "whisperlivekit_workers",
            "Configured workers.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.info = Gauge(
            "whisperlivekit_info",
            "Always 1; its labels describe the server.",
            ["version", "model", "device", "compute_type"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.started = Gauge(
            "whisperlivekit_start_time_seconds",
            "When the oldest running worker started, in Unix time.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.started.set(time.time())
        self._count_sessions(registry)
        self._count_text(registry)
        self._count_decodes(registry)
        self._begin_at_zero()

    def _count_sessions(self, registry: CollectorRegistry) -> None:
        self.opened = Counter("whisperlivekit_sessions_opened", "Streams accepted.", ["protocol"], registry=registry)
        self.closed = Counter(
            "whisperlivekit_sessions_closed", "Streams ended, by error code or ok.", ["code"], registry=registry
        )
        self.rejected = Counter(
            "whisperlivekit_sessions_refused",
            "Streams rejected before they began, by error code.",
            ["code"],
            registry=registry,
        )
        self.full = Counter(
            "whisperlivekit_sessions_without_room",
            "Streams rejected with server_full, by the reason.",
            ["reason"],
            registry=registry,
        )
        self.resumed = Counter(
            "whisperlivekit_sessions_resumed", "Streams that continued one of an earlier connection.", registry=registry
        )
        self.length = Histogram(
            "whisperlivekit_session_audio_seconds", "Audio of one stream.", buckets=LENGTH_BUCKETS_S, registry=registry
        )

    def _count_text(self, registry: CollectorRegistry) -> None:
        self.audio = Counter("whisperlivekit_audio_seconds", "Audio received.", registry=registry)
        self.speech = Counter("whisperlivekit_speech_seconds", "Audio inside utterances.", registry=registry)
        self.words = Counter("whisperlivekit_words", "Words committed.", registry=registry)
        self.refined = Counter(
            "whisperlivekit_refined_paragraphs",
            "Paragraphs whose refinement has ended: decoded, or given up because they waited too long.",
            ["outcome"],
            registry=registry,
        )
        self.refine_latency = Histogram(
            "whisperlivekit_refine_latency_seconds",
            "From the end of a paragraph to its refined text, in real-time audio.",
            buckets=REFINE_BUCKETS_S,
            registry=registry,
        )
        self.gap = Counter(
            "whisperlivekit_gap_seconds", "Audio that was not transcribed.", ["reason"], registry=registry
        )
        self.lag = Histogram(
            "whisperlivekit_lag_seconds",
            "How far committed text is behind the audio during speech, once a second of real-time audio; by utterance, "
            "how far decoded text is.",
            buckets=LAG_BUCKETS_S,
            registry=registry,
        )
        self.commit_latency = Histogram(
            "whisperlivekit_commit_latency_seconds",
            "From the end of a word to its commit, in real-time audio; by utterance, of its last word.",
            buckets=LAG_BUCKETS_S,
            registry=registry,
        )
        self.partial_latency = Histogram(
            "whisperlivekit_partial_latency_seconds",
            "From the end of the newest word to the partial that shows it, in real-time audio.",
            buckets=LAG_BUCKETS_S,
            registry=registry,
        )

    def _count_decodes(self, registry: CollectorRegistry) -> None:
        self._batch_size = Histogram(
            "whisperlivekit_decode_batch_size",
            "Requests that were decoded in one batch.",
            buckets=BATCH_BUCKETS,
            registry=registry,
        )
        self._decode = Histogram(
            "whisperlivekit_decode_seconds",
            "Time that one batch takes in the model.",
            buckets=DECODE_BUCKETS_S,
            registry=registry,
        )
        self._stage = Counter(
            "whisperlivekit_decode_stage_seconds", "Time in the model, by stage.", ["stage"], registry=registry
        )
        self._wait = Histogram(
            "whisperlivekit_decode_wait_seconds",
            "From a request to the start of its batch.",
            buckets=DECODE_BUCKETS_S,
            registry=registry,
        )
        self._failed = Counter(
            "whisperlivekit_decode_failures", "Batches that failed in the model.", ["reason"], registry=registry
        )
        self._looped = Counter(
            "whisperlivekit_decode_loops", "Hypotheses that repeated themselves and were truncated.", registry=registry
        )

    def _begin_at_zero(self) -> None:
        """Report 0 for what has not happened yet: from a missing series to 1 is no increase for Prometheus."""
        codes = [code for kind in (ClientError, NoCapacity, ShuttingDown, ServerFault) for code in codes_of(kind)]
        for counter, values in (
            (self.rejected, codes),
            (self.full, NoCapacity.REASONS),
            (self.closed, ["ok", "disconnected", *codes]),
            (self.gap, ["decode_failed"]),
            (self.refined, ["decoded", "given_up"]),
            (self._failed, ["out_of_memory", "error"]),
        ):
            for value in values:
                counter.labels(value)

    def describe(self, *, version: str, model: str, device: str, compute_type: str, workers: int) -> None:
        """Describe the server; to be called once the process is a worker."""
        # A forked process begins with 0 for gauges that the master has set.
        self.started.set(time.time())
        self.info.labels(version, model, device, compute_type).set(1)
        self.workers.set(workers)

    def serves(self, lanes: int) -> None:
        """How many decodes this worker can run at once; 0: it does not serve."""
        self.ready.set(min(lanes, 1))
        self.lanes.set(lanes)

    def count_rejection(self, error: WhisperLiveKitError) -> None:
        """A stream or file was rejected before it began."""
        self.rejected.labels(error.code).inc()
        if isinstance(error, NoCapacity):
            self.full.labels(error.reason).inc()

    @contextmanager
    def counted_rejection(self) -> Iterator[None]:
        """An error that is raised inside rejects a stream or file."""
        try:
            yield
        except WhisperLiveKitError as error:
            self.count_rejection(error)
            raise

    # ---- EngineObserver

    def observe_wait(self, seconds: float) -> None:
        self._wait.observe(seconds)

    def observe_batch(self, size: int, looped: int, stages_s: dict[str, float]) -> None:
        self._batch_size.observe(size)
        self._decode.observe(sum(stages_s.values()))
        for stage, seconds in stages_s.items():
            self._stage.labels(stage).inc(seconds)
        if looped:
            self._looped.inc(looped)

    def observe_failure(self, reason: str) -> None:
        self._failed.labels(reason).inc()

    # ---- reading

    def ready_workers(self) -> int:
        """Workers of all processes whose model is loaded and healthy. Reads files: not for the event loop."""
        with self._counts() as registry:
            for metric in registry.collect():
                if metric.name == "whisperlivekit_ready_workers":
                    return int(sum(sample.value for sample in metric.samples))
        return 0

    def exposition(self) -> bytes:
        """All metrics of all processes in Prometheus' text format. Takes milliseconds: not for the event loop."""
        with self._counts() as registry:
            counted = generate_latest(registry)
        return counted + generate_latest(self._own)

    @contextmanager
    def _counts(self) -> Iterator[CollectorRegistry]:
        files = processes.folder()
        if files is None:
            yield self._registry
        else:
            with processes.reading(files) as registry:
                yield registry


def codes_of(kind: type[WhisperLiveKitError]) -> Iterator[str]:
    """The code of an error class and of all its subclasses."""
    yield kind.code
    for below in kind.__subclasses__():
        yield from codes_of(below)


class GpuCollector(Collector):
    """The machine's GPUs as NVML reports them now; no metrics if there is none."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            gpus = read_gpus()
        except NoGpu:
            return
        yield from gpu_families(gpus)


def gpu_families(gpus: tuple[Gpu, ...]) -> Iterator[GaugeMetricFamily]:
    """One gauge for each property of a GPU, labelled with its NVML index and name."""

    def family(name: str, help_text: str, values: list[float | None]) -> GaugeMetricFamily:
        made = GaugeMetricFamily(f"whisperlivekit_gpu_{name}", help_text, labels=["gpu", "name"])
        for gpu, value in zip(gpus, values, strict=True):
            if value is not None:  # not every GPU reports everything
                made.add_metric([str(gpu.index), gpu.name], value)
        return made

    yield family("utilization_ratio", "Share of the time in which a kernel ran.", [gpu.utilization for gpu in gpus])
    yield family("memory_used_bytes", "Memory in use by all programs.", [gpu.memory_used_bytes for gpu in gpus])
    yield family("memory_total_bytes", "Total memory.", [gpu.memory_total_bytes for gpu in gpus])
    yield family("temperature_celsius", "Temperature of the chip.", [gpu.temperature_celsius for gpu in gpus])
    yield family("power_watts", "Power drawn.", [gpu.power_w for gpu in gpus])
