"""One model for all sessions of a process: requests wait, go through its threads as batches, and always resolve."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis
from whisperlivekit.core.session import MAX_CONTEXT_S, SessionConfig
from whisperlivekit.core.units import SAMPLE_RATE, to_samples
from whisperlivekit.engine import memory
from whisperlivekit.engine.api import EngineObserver, SpeechDetector
from whisperlivekit.engine.schedule import Waiting, next_batch
from whisperlivekit.engine.silero import SileroDetector, SileroModel
from whisperlivekit.engine.whisper import EngineConfig, WhisperModel
from whisperlivekit.errors import DecodeFailed, ModelUnavailable
from whisperlivekit.observe import gpu

log = logging.getLogger(__name__)

T = TypeVar("T")

CONSECUTIVE_FAILURES = 3
"""Batches in a row that fail before the model counts as dead: one bad request must not, a broken GPU must."""

CONSECUTIVE_SHORTAGES = 20
"""The same for single decodes that found no memory: whatever else holds it may soon give it back."""

GROW_AFTER = 200
"""Batches without trouble after which the batch may grow again by one, once memory has run out."""

SHORTAGES = ("out of memory", "alloc_failed", "parallel_for failed: cudaerrorinvaliddevice")
"""What CTranslate2 says where memory is short: its own words, cuBLAS's CUBLAS_STATUS_ALLOC_FAILED, and what Thrust
makes of an allocation that failed. Source: CTranslate2's issue 2064 and reports of its users."""

STOP_TIMEOUT_S = 10.0


class Engine:
    """A Recognizer for every session of the process, on one model with a thread for each lane."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._silero: SileroModel | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads: list[threading.Thread] = []
        self._idle = 0
        """Lanes that wait for requests."""
        self._waiting: list[tuple[Waiting, asyncio.Future[Hypothesis]]] = []
        self._wake = threading.Condition()
        self._arrivals = 0
        self._arrived_s: dict[int, float] = {}
        """When each request that waits arrived, on the monotonic clock."""
        self._failures = 0
        self._max_batch = config.max_batch
        """Less than the configured one after memory has run out."""
        self._since_shrink = 0
        self._closing = False
        self.observer: EngineObserver | None = None
        """Is told what the model does; set before ``load``."""
        self.failed = False
        """The model cannot serve any more; the process should be replaced."""

    @property
    def model_name(self) -> str:
        return self._config.model_dir.name

    async def load(self) -> None:
        """Load the models and warm them with a real decode, off the event loop.

        Raises:
            ModelUnavailable: with the reason.
        """
        memory.limit()
        self._loop = asyncio.get_running_loop()
        loaded: asyncio.Future[None] = self._loop.create_future()
        self._start(self._run, loaded)
        await loaded
        assert self._silero is not None
        await SileroDetector(self._silero).feed(np.zeros(SAMPLE_RATE, np.float32))

    def detector(self) -> SpeechDetector:
        """A new session's speech detector."""
        if self._silero is None:
            raise ModelUnavailable("the models are not loaded yet")
        return SileroDetector(self._silero)

    async def transcribe(self, request: DecodeRequest) -> Hypothesis:
        """See ``Recognizer``."""
        with self._wake:
            # Under the lock: a model thread refuses whoever waits when it ends, and nobody may come after that.
            if self.failed or self._closing or self._loop is None:
                raise ModelUnavailable("the model does not serve")
            future: asyncio.Future[Hypothesis] = self._loop.create_future()
            self._arrivals += 1
            self._arrived_s[self._arrivals] = time.monotonic()
            self._waiting.append((Waiting(request, self._arrivals), future))
            self._wake.notify()
        return await future

    def close(self) -> None:
        """Stop the model threads; whoever still waits gets an error."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._refuse_all()
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
        except Exception as error:  # noqa: BLE001 - start-up edge: CTranslate2, torch and the file system have their own
            reason = f"the model in {self._config.model_dir} does not load on {self._config.device}: {error}"
            self.failed = True
            self._refuse_all()
            self._fail(loaded, ModelUnavailable(reason))
            return
        self._resolve(loaded, None)
        self._work(model)

    def _work(self, model: WhisperModel) -> None:
        """One lane: batch after batch."""
        batch: list[tuple[DecodeRequest, asyncio.Future[Hypothesis]]] | None = None
        try:
            while (batch := self._take()) is not None:
                self._serve(batch, model)
        finally:
            self.failed = self.failed or not self._closing
            self._refuse_all()
            if batch is not None:
                for _, future in batch:
                    self._fail(future, ModelUnavailable("the model does not serve"))

    def _load(self) -> WhisperModel:
        self._silero = SileroModel()
        model = WhisperModel(self._config)
        noise = np.random.default_rng(0).normal(0, 0.01, 2 * SAMPLE_RATE).astype(np.float32)
        for final in (False, True):
            model.decode([DecodeRequest(0, noise, 0, self._config.language, final=final)])
        if self._config.device == "cuda":
            self._fill(model)
            log.info("warm: %s", gpu.describe())
        memory.give_back()
        return model

    def _fill(self, model: WhisperModel) -> None:
        """Decode the largest batch there can be: a GPU's memory stays at it, and what does not fit is known now."""
        longest_s = SessionConfig().max_window_s + MAX_CONTEXT_S
        noise = np.random.default_rng(0).normal(0, 0.01, to_samples(longest_s)).astype(np.float32)
        words = " раз два три" * 40
        request = DecodeRequest(0, noise, 0, self._config.language, prefix=words, prompt=words, final=True)
        while True:
            try:
                model.decode([request] * self._max_batch)
            except Exception as error:
                if self._max_batch == 1 or not is_out_of_memory(error):
                    raise
                log.warning("out of memory with %d decodes at once", self._max_batch)
                self._max_batch //= 2
            else:
                return

    def _take(self) -> list[tuple[DecodeRequest, asyncio.Future[Hypothesis]]] | None:
        """Wait for requests and take the next batch; None when closing."""
        with self._wake:
            while not self._closing:
                self._waiting = [entry for entry in self._waiting if not entry[1].done()]
                if self._waiting:
                    # Lanes that have nothing to do shall get their share of it.
                    share = -(-len(self._waiting) // (1 + self._idle))
                    chosen = next_batch([waiting for waiting, _ in self._waiting], min(share, self._max_batch))
                    self._count_waits(chosen)
                    batch = [(waiting.request, future) for waiting, future in self._waiting if waiting in chosen]
                    self._waiting = [entry for entry in self._waiting if entry[0] not in chosen]
                    return batch
                self._idle += 1
                self._wake.wait()
                self._idle -= 1
            return None

    def _count_waits(self, chosen: list[Waiting]) -> None:
        now = time.monotonic()
        waited = [now - self._arrived_s.pop(waiting.arrival) for waiting in chosen]
        # Those whose sessions went away meanwhile.
        still = {waiting.arrival for waiting, _ in self._waiting}
        self._arrived_s = {arrival: since for arrival, since in self._arrived_s.items() if arrival in still}
        if self.observer is not None:
            for seconds in waited:
                self.observer.observe_wait(seconds)

    def _serve(self, batch: list[tuple[DecodeRequest, asyncio.Future[Hypothesis]]], model: WhisperModel) -> None:
        try:
            hypotheses = model.decode([request for request, _ in batch])
            answers = list(zip(batch, hypotheses, strict=True))
        except Exception as error:  # model thread edge: whatever the model raises, every caller gets an answer
            short = is_out_of_memory(error)
            if short:
                self._max_batch = max(1, min(self._max_batch, len(batch) // 2))
                self._since_shrink = 0
                log.error("out of memory with %d decodes at once; from now on at most %d", len(batch), self._max_batch)  # noqa: TRY400
            else:
                log.exception("a batch of %d decodes failed", len(batch))
            if self.observer is not None:
                self.observer.observe_failure("out_of_memory" if short else "error")
            if len(batch) > 1:
                # One bad request must not fail its neighbours; and what does not fit at once may fit in halves.
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

    def _refuse_all(self) -> None:
        with self._wake:
            waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            self._fail(future, ModelUnavailable("the model does not serve"))

    def _resolve(self, future: asyncio.Future[T], result: T) -> None:
        self._answer(lambda: None if future.done() else future.set_result(result))

    def _fail(self, future: asyncio.Future[T], error: Exception) -> None:
        self._answer(lambda: None if future.done() else future.set_exception(error))

    def _answer(self, call: Callable[[], None]) -> None:
        assert self._loop is not None
        # The loop is closed when the process is going: nobody waits any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call)


def is_out_of_memory(error: BaseException) -> bool:
    """CTranslate2 says so with a RuntimeError and one of ``SHORTAGES``, numpy with a MemoryError."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in said for word in SHORTAGES)
    )
