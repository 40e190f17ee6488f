"""Out of memory leads to smaller batches, not to lost sessions, and the observer is told."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.engine.test_batcher import FakeEngine, FakeModel, FakeSilero, ask, echo, run
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.engine.batcher import CONSECUTIVE_SHORTAGES, GROW_AFTER, Engine, is_out_of_memory
from whisperlivekit.engine.whisper import EngineConfig
from whisperlivekit.errors import DecodeFailed

CUDA_SAYS = "CUDA failed with error out of memory"


class Observer:
    """Records what it is told."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.looped = 0
        self.failures: list[str] = []
        self.waits_s: list[float] = []

    def observe_wait(self, seconds: float) -> None:
        self.waits_s.append(seconds)

    def observe_batch(self, size: int, looped: int, stages_s: dict[str, float]) -> None:
        self.sizes.append(size)
        self.looped += looped
        assert stages_s == {"generate": 0.5}

    def observe_failure(self, reason: str) -> None:
        self.failures.append(reason)


def observed(engine: FakeEngine) -> Observer:
    observer = Observer()
    engine.observer = observer
    engine.fake.stages_s = {"generate": 0.5}
    return observer


async def ask_together(engine: FakeEngine, *names: str) -> list[object]:
    """The answers to requests that wait together while the model is busy."""
    while engine.fake.begun.acquire(blocking=False):
        pass  # earlier batches
    with engine.held():
        first = asyncio.create_task(ask(engine, "first"))
        await engine.begun()
        others = asyncio.create_task(ask(engine, *names))
        await asyncio.sleep(0.01)
    await first
    return list(await others)


def test_a_batch_that_does_not_fit_goes_in_halves() -> None:
    """Every request gets an answer, and later batches are no larger than what fitted."""

    def decode(requests: Sequence[DecodeRequest]) -> list[Hypothesis]:
        if len(requests) > 2:
            raise RuntimeError(CUDA_SAYS)
        return echo(requests)

    async def test(engine: FakeEngine) -> None:
        observer = observed(engine)
        assert await ask_together(engine, "a", "b", "c", "d") == ["a", "b", "c", "d"]
        assert [len(batch) for batch in engine.fake.batches] == [1, 4, 2, 2]
        assert await ask_together(engine, "e", "f", "g", "h") == ["e", "f", "g", "h"]
        assert [len(batch) for batch in engine.fake.batches[4:]] == [1, 2, 2]
        assert observer.failures == ["out_of_memory"]
        assert observer.sizes == [1, 2, 2, 1, 2, 2]
        assert len(observer.waits_s) == 10
        assert min(observer.waits_s) >= 0
        assert not engine.failed

    run(FakeEngine(decode), test)


def test_the_batch_grows_again() -> None:
    """Another program may have released the memory: after many successful batches a larger one is tried."""
    short = True

    def decode(requests: Sequence[DecodeRequest]) -> list[Hypothesis]:
        if short and len(requests) > 1:
            raise RuntimeError(CUDA_SAYS)
        return echo(requests)

    async def test(engine: FakeEngine) -> None:
        nonlocal short
        await ask_together(engine, "a", "b", "c", "d")
        short = False
        for _ in range(GROW_AFTER):
            await ask(engine, "x")
        await ask_together(engine, "a", "b", "c", "d")
        assert [len(batch) for batch in engine.fake.batches[-2:]] == [2, 2]

    run(FakeEngine(decode), test)


def test_no_memory_for_one_is_not_yet_the_end() -> None:
    """Requests fail one by one. Only after many in a row is the engine failed."""

    def decode(requests: Sequence[DecodeRequest]) -> list[Hypothesis]:
        raise RuntimeError(CUDA_SAYS)

    async def test(engine: FakeEngine) -> None:
        for _ in range(CONSECUTIVE_SHORTAGES - 1):
            (answer,) = await ask(engine, "a")
            assert isinstance(answer, DecodeFailed)
            assert not engine.failed
        await ask(engine, "a")
        assert engine.failed

    run(FakeEngine(decode), test)


@pytest.mark.parametrize(("device", "sizes", "largest"), [("cpu", [1, 1], 8), ("cuda", [1, 1, 8, 4, 2], 2)])
def test_a_gpu_is_filled_at_the_start(
    monkeypatch: pytest.MonkeyPatch, device: str, sizes: list[int], largest: int
) -> None:
    """It decodes the largest batch of the longest window that fits, so that memory does not run out under load."""
    longest_s: list[float] = []

    def decode(requests: Sequence[DecodeRequest]) -> list[Hypothesis]:
        longest_s.append(len(requests[0].samples) / SAMPLE_RATE)
        if len(requests) > 2:
            raise RuntimeError(CUDA_SAYS)
        return echo(requests)

    fake = FakeModel(decode)
    monkeypatch.setattr("whisperlivekit.engine.batcher.WhisperModel", lambda _: fake)
    monkeypatch.setattr("whisperlivekit.engine.batcher.SileroModel", lambda _: FakeSilero())
    engine = Engine(EngineConfig(Path("none"), device, max_batch=8, longest_s=19.0, silero_dir=Path("none")))
    engine._load()
    assert [len(batch) for batch in fake.batches] == sizes
    assert engine._max_batch == largest
    assert all(seconds == 19 for seconds in longest_s[2:])


def test_which_errors_mean_memory() -> None:
    """CTranslate2's, cuBLAS's, Thrust's and numpy's, and no others."""
    assert is_out_of_memory(RuntimeError(CUDA_SAYS))
    assert is_out_of_memory(RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"))
    assert is_out_of_memory(RuntimeError("parallel_for failed: cudaErrorInvalidDevice: invalid device ordinal"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("cuBLAS failed with status CUBLAS_STATUS_NOT_SUPPORTED"))
    assert not is_out_of_memory(RuntimeError("CUDA failed with error invalid device ordinal"))
    assert not is_out_of_memory(ValueError("out of memory"))
