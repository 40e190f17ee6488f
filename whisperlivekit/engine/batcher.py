"""One model for all sessions of a process: requests queue for batches, and every request gets an answer."""

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis
from whisperlivekit.core.paragraph import PARAGRAPH_BEAMS
from whisperlivekit.core.units import SAMPLE_RATE, to_samples
from whisperlivekit.engine import memory
from whisperlivekit.engine.api import EngineObserver, SpeechDetector
from whisperlivekit.engine.schedule import Waiting, next_batch, room_for_files
from whisperlivekit.engine.silero import SileroDetector, SileroModel
from whisperlivekit.engine.whisper import EngineConfig, WhisperModel
from whisperlivekit.errors import DecodeFailed, ModelUnavailable
from whisperlivekit.observe import gpu

log = logging.getLogger(__name__)

T = TypeVar("T")

CONSECUTIVE_FAILURES = 3
"""Failed batches in a row after which the model counts as broken. One bad request must not end the worker, a broken GPU
must."""

CONSECUTIVE_SHORTAGES = 20
"""The same for single decodes that ran out of memory: another program may release it soon."""

GROW_AFTER = 200
"""Successful batches after which the largest batch grows by one again, once memory has run out."""

SHORTAGES = ("out of memory", "alloc_failed", "parallel_for failed: cudaerrorinvaliddevice")
"""Error texts that mean out of memory: CTranslate2's own, cuBLAS's CUBLAS_STATUS_ALLOC_FAILED, and the one that Thrust
raises after a failed allocation. Source: CTranslate2's issue 2064 and reports of its users."""

STOP_TIMEOUT_S = 10.0

UNAVAILABLE = "the model is not available"


class Engine:
    """The Recognizer of every session in the process: one model, and a thread for each lane."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._silero: SileroModel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads: list[threading.Thread] = []
        self._idle = 0
        """Lanes that have nothing to do."""
        self._waiting: list[tuple[Waiting, asyncio.Future[Hypothesis]]] = []
        self._wake = threading.Condition()
        self._live_at = -math.inf
        """When the last live request came, on the monotonic clock."""
        self._overtaken = 0
        """Live requests served since the last file's, while files were waiting."""
        self._failures = 0
        self._max_batch = config.max_batch
        """Smaller than configured after memory has run out."""
        self._since_shrink = 0
        self._closing = False
        self.observer: EngineObserver | None = None
        """Receives the metrics; set before ``load``."""
        self.failed = False
        """The model is broken; the process should be replaced."""
        self.translates = False
        """The model can translate; known once it is loaded."""

    @property
    def model_name(self) -> str:
        return self._config.model_dir.name

    async def load(self) -> None:
        """Load the models and warm them up with real decodes, in a thread.

        Raises:
            ModelUnavailable: a model does not load; the message gives the reason.
        """
        memory.limit()
        self._loop = asyncio.get_running_loop()
        loaded: asyncio.Future[None] = self._loop.create_future()
        self._start(self._run, loaded)
        await loaded
        if self._silero is not None:
            await SileroDetector(self._silero).feed(np.zeros(SAMPLE_RATE, np.float32))

    def detector(self) -> SpeechDetector:
        """A new session's speech detector.

        Raises:
            ModelUnavailable: it is not loaded.
        """
        if self._silero is None:
            raise ModelUnavailable("the speech detector is not loaded yet")
        return SileroDetector(self._silero)

    async def transcribe(self, request: DecodeRequest) -> Hypothesis:
        """See ``Recognizer``."""
        with self._wake:
            # Checked under the lock: a model thread that ends fails all waiting requests, and none may be added later.
            if self.failed or self._closing or self._loop is None:
                raise ModelUnavailable(UNAVAILABLE)
            future: asyncio.Future[Hypothesis] = self._loop.create_future()
            now = time.monotonic()
            if request.realtime:
                self._live_at = now
            self._waiting.append((Waiting(request, now), future))
            self._wake.notify()
        return await future

    def replace(self, request: DecodeRequest, newer: DecodeRequest) -> bool:
        """See ``Recognizer``. The newer request counts as having come when the other one did."""
        with self._wake:
            for place, (waiting, future) in enumerate(self._waiting):
                if waiting.request is request:
                    self._waiting[place] = (Waiting(newer, waiting.since_s), future)
                    return True
        return False

    def close(self) -> None:
        """Stop the model threads; waiting requests fail."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._fail_waiting()
        for thread in self._threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(STOP_TIMEOUT_S)
        if self._silero is not None:
            self._silero.close()

    # ---- the model threads

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, name=f"model-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, loaded: asyncio.Future[None]) -> None:
        try:
            model = self._load()
            for _ in range(self._config.lanes - 1):
                self._start(self._work, model.lane())
        except Exception as error:  # noqa: BLE001 - start-up edge: each library has errors of its own
            reason = f"the model in {self._config.model_dir} does not load on {self._config.device}: {error}"
            self.failed = True
            self._fail_waiting()
            self._fail(loaded, ModelUnavailable(reason))
            return
        self._resolve(loaded, None)
        self._work(model)

    def _work(self, model: WhisperModel) -> None:
        """The loop of one lane."""
        batch: list[tuple[DecodeRequest, asyncio.Future[Hypothesis]]] | None = None
        try:
            while (batch := self._take()) is not None:
                self._serve(batch, model)
        finally:
            self.failed = self.failed or not self._closing
            self._fail_waiting()
            if batch is not None:
                for _, future in batch:
                    self._fail(future, ModelUnavailable(UNAVAILABLE))

    def _load(self) -> WhisperModel:
        if self._config.silero_dir is not None:
            self._silero = SileroModel(self._config.silero_dir)
        model = WhisperModel(self._config)
        self.translates = model.translates
        noise = np.random.default_rng(0).normal(0, 0.01, 2 * SAMPLE_RATE).astype(np.float32)
        for final in (False, True):
            model.decode([DecodeRequest(0, noise, 0, self._config.language, final=final)])
        if self._config.device == "cuda":
            self._fill(model)
            log.info("warm: %s", gpu.describe())
        memory.give_back()
        return model

    def _fill(self, model: WhisperModel) -> None:
        """Decode the largest possible batch, so that the GPU's memory is allocated now and a shortage shows now."""
        noise = np.random.default_rng(0).normal(0, 0.01, to_samples(self._config.longest_s)).astype(np.float32)
        words = " раз два три" * 40
        # A batch has one known language; which one does not matter here.
        request = DecodeRequest(
            id=0,
            samples=noise,
            start=0,
            language=self._config.language or "ru",
            prefix=words,
            prompt=words,
            final=True,
            beams=max(PARAGRAPH_BEAMS, self._config.beams),
        )
        while True:
            try:
                model.decode([request] * self._max_batch)
            except Exception as error:
                if self._max_batch == 1 or not is_out_of_memory(error):
                    raise
                log.warning("out of memory with a batch of %d while the model was loaded", self._max_batch)
                self._max_batch //= 2
            else:
                return

    def _take(self) -> list[tuple[DecodeRequest, asyncio.Future[Hypothesis]]] | None:
        """Wait for requests and take the next batch; None: the engine is closing."""
        with self._wake:
            while not self._closing:
                self._waiting = [entry for entry in self._waiting if not entry[1].done()]
                busy = self._config.lanes - 1 - self._idle
                live_s = time.monotonic() - self._live_at
                files = room_for_files(self._config.lanes, busy, live_s, self._overtaken)
                queue = [waiting for waiting, _ in self._waiting if waiting.request.realtime or files]
                if queue:
                    # Leave idle lanes their share of the waiting requests.
                    share = -(-len(queue) // (1 + self._idle))
                    chosen = next_batch(queue, min(share, self._max_batch), self._overtaken)
                    self._count_overtaken(chosen)
                    self._count_waits(chosen)
                    batch = [(waiting.request, future) for waiting, future in self._waiting if waiting in chosen]
                    self._waiting = [entry for entry in self._waiting if entry[0] not in chosen]
                    return batch
                self._idle += 1
                self._wake.wait()
                self._idle -= 1
            return None

    def _count_overtaken(self, chosen: list[Waiting]) -> None:
        """A batch begins: all of it is live, or none."""
        if not chosen[0].request.realtime:
            self._overtaken = 0
        elif any(not waiting.request.realtime for waiting, _ in self._waiting):
            self._overtaken += len(chosen)

    def _count_waits(self, chosen: list[Waiting]) -> None:
        if self.observer is not None:
            now = time.monotonic()
            for waiting in chosen:
                self.observer.observe_wait(now - waiting.since_s)

    def _serve(self, batch: list[tuple[DecodeRequest, asyncio.Future[Hypothesis]]], model: WhisperModel) -> None:
        try:
            hypotheses = model.decode([request for request, _ in batch])
            answers = list(zip(batch, hypotheses, strict=True))
        except Exception as error:  # model thread edge: every caller gets an answer, whatever the model raises
            short = is_out_of_memory(error)
            if short:
                self._max_batch = max(1, min(self._max_batch, len(batch) // 2))
                self._since_shrink = 0
                log.error("out of memory with a batch of %d; batches now have at most %d", len(batch), self._max_batch)  # noqa: TRY400
            else:
                log.exception("a batch of %d decodes failed", len(batch))
            if self.observer is not None:
                self.observer.observe_failure("out_of_memory" if short else "error")
            if len(batch) > 1:
                # One bad request must not fail the others. A batch that was too large for the memory may fit in halves.
                half = len(batch) // 2 if short else 1
                for begin in range(0, len(batch), half):
                    self._serve(batch[begin : begin + half], model)
                return
            self._failures += 1
            self.failed = self.failed or self._failures >= (CONSECUTIVE_SHORTAGES if short else CONSECUTIVE_FAILURES)
            failure = ModelUnavailable if self.failed else DecodeFailed
            self._fail(batch[0][1], failure(f"the model failed: {type(error).__name__}"))
            return
        self._failures = 0
        self._since_shrink += 1
        if self._since_shrink >= GROW_AFTER and self._max_batch < self._config.max_batch:
            self._max_batch, self._since_shrink = self._max_batch + 1, 0
        if self.observer is not None:
            looped = sum(hypothesis.looped for hypothesis in hypotheses)
            self.observer.observe_batch(len(batch), looped, model.stages_s)
        for (_, future), hypothesis in answers:
            self._resolve(future, hypothesis)

    def _fail_waiting(self) -> None:
        with self._wake:
            waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            self._fail(future, ModelUnavailable(UNAVAILABLE))

    def _resolve(self, future: asyncio.Future[T], result: T) -> None:
        self._answer(lambda: None if future.done() else future.set_result(result))

    def _fail(self, future: asyncio.Future[T], error: Exception) -> None:
        self._answer(lambda: None if future.done() else future.set_exception(error))

    def _answer(self, call: Callable[[], None]) -> None:
        assert self._loop is not None
        # The loop is closed when the process is stopping: nobody waits any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call)


def is_out_of_memory(error: BaseException) -> bool:
    """CTranslate2 raises a RuntimeError with one of ``SHORTAGES``, numpy a MemoryError."""
    message = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(text in message for text in SHORTAGES)
    )
