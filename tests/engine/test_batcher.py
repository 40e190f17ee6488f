"""One model for all sessions: every caller gets an answer, whatever the model does.

The file is long because each test covers another thing that a model or a caller can do. Out of memory has its own file.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, Word
from whisperlivekit.engine.batcher import CONSECUTIVE_FAILURES, Engine
from whisperlivekit.engine.schedule import PATIENCE
from whisperlivekit.engine.silero import SileroModel
from whisperlivekit.engine.whisper import EngineConfig, WhisperModel
from whisperlivekit.errors import DecodeFailed, ModelUnavailable, WhisperLiveKitError

CONFIG = EngineConfig(model_dir=Path("models/whisper/none"), device="cpu", max_batch=4)

Behaviour = Callable[[Sequence[DecodeRequest]], list[Hypothesis]]


def echo(requests: Sequence[DecodeRequest]) -> list[Hypothesis]:
    """The context's text of each request as its only word."""
    return [Hypothesis(request.id, (Word(request.context_text, 0, 1, 1.0),)) for request in requests]


class FakeModel(WhisperModel):
    """Behaves as a test tells it to, and can be held in the middle of a decode."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.stages_s = {}
        self.translates = False
        self.batches: list[list[str]] = []
        self.begun = threading.Semaphore(0)
        self.hold = threading.Event()
        self.hold.set()

    def lane(self) -> "FakeModel":
        return self

    def decode(self, requests: Sequence[DecodeRequest]) -> list[Hypothesis]:
        self.batches.append([request.context_text for request in requests])
        self.begun.release()
        assert self.hold.wait(20)
        return self.behaviour(requests)


class FakeSilero(SileroModel):
    """Never finds speech."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True

    def initial_state(self) -> Any:
        return None

    async def run(self, windows: NDArray[np.float32], state: Any) -> tuple[NDArray[np.float32], Any]:
        return np.zeros(len(windows), np.float32), state


class FakeEngine(Engine):
    """The real engine on a fake model."""

    def __init__(
        self,
        behaviour: Behaviour = echo,
        load_error: Exception | None = None,
        lanes: int = 1,
        max_batch: int = CONFIG.max_batch,
    ) -> None:
        super().__init__(replace(CONFIG, lanes=lanes, max_batch=max_batch))
        self.fake = FakeModel(behaviour)
        self.silero = FakeSilero()
        self._load_error = load_error

    def _load(self) -> WhisperModel:
        if self._load_error is not None:
            raise self._load_error
        self._silero = self.silero
        return self.fake

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the model busy with a first request, so that all others wait together."""
        self.fake.hold.clear()
        try:
            yield
        finally:
            self.fake.hold.set()

    def wait_until_idle(self) -> None:
        """Every lane waits for requests: a lane whose thread has not come so far leaves its share to the others."""
        while self._idle < self._config.lanes and not self.failed:
            time.sleep(0.001)

    async def begun(self) -> None:
        """Wait until the model thread is inside a decode."""
        assert await asyncio.to_thread(self.fake.begun.acquire, True, 20)


def request(name: str, *, final: bool = False, realtime: bool = True) -> DecodeRequest:
    return DecodeRequest(1, np.zeros(10, np.float32), 0, "ru", context_text=name, final=final, realtime=realtime)


def run(engine: FakeEngine, test: Callable[[FakeEngine], Coroutine[Any, Any, None]]) -> None:
    """Run a test with a loaded engine and close it. A test that hangs fails."""

    async def whole() -> None:
        async with asyncio.timeout(20):
            await engine.load()
            await asyncio.to_thread(engine.wait_until_idle)
            try:
                await test(engine)
            finally:
                await asyncio.to_thread(engine.close)

    asyncio.run(whole())


async def ask(engine: Engine, *names: str) -> list[str | WhisperLiveKitError]:
    """The answer to each request; all are sent at once."""

    async def one(name: str) -> str | WhisperLiveKitError:
        try:
            return (await engine.transcribe(request(name))).words[0].text
        except WhisperLiveKitError as error:
            return error

    return await asyncio.gather(*(one(name) for name in names))


def test_each_caller_gets_its_own_answer() -> None:
    """Sessions number their requests independently, so that ids repeat: answers are matched by position."""

    async def test(engine: FakeEngine) -> None:
        names = [str(number) for number in range(20)]
        assert await ask(engine, *names) == names

    run(FakeEngine(), test)


def test_waiting_requests_go_together_finals_first() -> None:
    """Requests that arrive while the model is busy form one batch, up to the largest size."""

    async def test(engine: FakeEngine) -> None:
        with engine.held():
            first = asyncio.create_task(engine.transcribe(request("first")))
            await engine.begun()
            others = [asyncio.create_task(engine.transcribe(request(name))) for name in "abcde"]
            last = asyncio.create_task(engine.transcribe(request("final", final=True)))
            await asyncio.sleep(0)
        await asyncio.gather(first, last, *others)
        assert engine.fake.batches[0] == ["first"]
        assert [sorted(batch) for batch in engine.fake.batches[1:]] == [["final"], ["a", "b", "c", "d"], ["e"]]

    run(FakeEngine(), test)


def test_a_waiting_request_can_be_replaced() -> None:
    """The newer one is decoded in its turn, and its answer goes to the caller. A request that has begun stays."""

    async def test(engine: FakeEngine) -> None:
        old, begun = request("old"), request("begun")
        with engine.held():
            first = asyncio.create_task(engine.transcribe(begun))
            await engine.begun()
            second = asyncio.create_task(engine.transcribe(old))
            third = asyncio.create_task(engine.transcribe(request("third", final=True)))
            await asyncio.sleep(0)
            assert not engine.replace(begun, request("newer"))
            assert engine.replace(old, newer := request("newer"))
            assert not engine.replace(old, request("newest"))
            assert engine.replace(newer, request("newest", final=True))
        assert [(await task).words[0].text for task in (first, second, third)] == ["begun", "newest", "third"]
        assert engine.fake.batches == [["begun"], ["newest", "third"]]

    run(FakeEngine(), test)


def failing(*bad: str) -> Behaviour:
    """A model that fails on these requests."""

    def decode(requests: Sequence[DecodeRequest]) -> list[Hypothesis]:
        if any(request.context_text in bad for request in requests):
            raise ValueError("a test")
        return echo(requests)

    return decode


def test_one_bad_request_does_not_fail_its_neighbours() -> None:
    """The requests of a batch that fails are decoded one by one."""

    async def test(engine: FakeEngine) -> None:
        with engine.held():
            first = asyncio.create_task(engine.transcribe(request("first")))
            await engine.begun()
            others = asyncio.create_task(ask(engine, "a", "bad", "b"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await first
        a, bad, b = await others
        assert (a, b) == ("a", "b")
        assert isinstance(bad, DecodeFailed)
        assert bad.message == "the model failed: ValueError"
        assert not engine.failed

    run(FakeEngine(failing("bad")), test)


def test_an_error_does_not_tell_what_was_said() -> None:
    """The message goes to a client, and a library's message may contain paths or text."""

    async def test(engine: FakeEngine) -> None:
        (error,) = await ask(engine, "bad")
        assert "a test" not in str(error)

    run(FakeEngine(failing("bad")), test)


def test_failures_in_a_row_make_the_engine_failed() -> None:
    """A broken GPU is told from bad requests after a few of them."""

    async def test(engine: FakeEngine) -> None:
        for _ in range(CONSECUTIVE_FAILURES - 1):
            assert isinstance((await ask(engine, "bad"))[0], DecodeFailed)
            assert not engine.failed
        assert isinstance((await ask(engine, "bad"))[0], ModelUnavailable)
        assert engine.failed
        assert isinstance((await ask(engine, "good"))[0], ModelUnavailable)

    run(FakeEngine(failing("bad")), test)


def test_a_success_between_failures_counts() -> None:
    """Only failures in a row mean that the model is broken."""

    async def test(engine: FakeEngine) -> None:
        for _ in range(3 * CONSECUTIVE_FAILURES):
            assert isinstance((await ask(engine, "bad"))[0], DecodeFailed)
            assert (await ask(engine, "good")) == ["good"]
        assert not engine.failed

    run(FakeEngine(failing("bad")), test)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_too_few_or_too_many_hypotheses_are_a_failure(count: int) -> None:
    """No caller gets the words of another, and none waits for ever."""

    async def test(engine: FakeEngine) -> None:
        with engine.held():
            first = asyncio.create_task(ask(engine, "first"))
            await engine.begun()
            others = asyncio.create_task(ask(engine, "a", "b"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        answers = [*await first, *await others]
        if count == 1:
            assert answers == ["lost", "lost", "lost"]
        else:
            assert all(isinstance(answer, WhisperLiveKitError) for answer in answers)

    run(FakeEngine(lambda requests: [Hypothesis(1, (Word("lost", 0, 1, 1.0),))] * count), test)


def test_a_cancelled_request_is_skipped() -> None:
    """A closed session's request costs no decode."""

    async def test(engine: FakeEngine) -> None:
        with engine.held():
            first = asyncio.create_task(engine.transcribe(request("first")))
            await engine.begun()
            gone = asyncio.create_task(engine.transcribe(request("gone")))
            stays = asyncio.create_task(engine.transcribe(request("stays")))
            await asyncio.sleep(0)
            gone.cancel()
            await asyncio.wait([gone])
        assert (await stays).words[0].text == "stays"
        await first
        assert engine.fake.batches == [["first"], ["stays"]]

    run(FakeEngine(), test)


def test_a_request_cancelled_during_its_decode_harms_no_other() -> None:
    """Its answer is thrown away, and the next request is served."""

    async def test(engine: FakeEngine) -> None:
        with engine.held():
            gone = asyncio.create_task(engine.transcribe(request("gone")))
            await engine.begun()
            gone.cancel()
            await asyncio.wait([gone])
        assert await ask(engine, "next") == ["next"]

    run(FakeEngine(), test)


def test_close_fails_waiting_requests_and_finishes_the_decode() -> None:
    """Waiting requests fail at once, not after the decode in flight, which still gives its words."""

    async def test(engine: FakeEngine) -> None:
        with engine.held():
            served = asyncio.create_task(engine.transcribe(request("served")))
            await engine.begun()
            waiting = asyncio.create_task(ask(engine, "a", "b"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            closing = asyncio.create_task(asyncio.to_thread(engine.close))
            assert all(isinstance(answer, ModelUnavailable) for answer in await waiting)
            assert not served.done()
        assert (await served).words[0].text == "served"
        await closing
        assert isinstance((await ask(engine, "late"))[0], ModelUnavailable)
        assert engine.silero.closed
        assert not engine.failed

    run(FakeEngine(), test)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("lanes", [1, 2])
def test_a_model_thread_that_dies_leaves_nobody_waiting(lanes: int) -> None:
    """Even SystemExit, which is not an Exception: the engine is failed, and the process can be replaced."""

    def decode(requests: Sequence[DecodeRequest]) -> list[Hypothesis]:
        raise SystemExit

    async def test(engine: FakeEngine) -> None:
        with engine.held():
            first = asyncio.create_task(ask(engine, "first"))
            await engine.begun()
            others = asyncio.create_task(ask(engine, "a", "b"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        for answer in [*await first, *await others]:
            assert isinstance(answer, ModelUnavailable)
        assert engine.failed

    run(FakeEngine(decode, lanes=lanes), test)


def test_a_model_that_does_not_load_says_why() -> None:
    """The operator is told the folder, the device and the library's reason. Later requests fail at once."""

    async def test() -> None:
        engine = FakeEngine(load_error=RuntimeError("unsupported model version"))
        with pytest.raises(ModelUnavailable, match=r"none does not load on cpu: unsupported model version"):
            await engine.load()
        assert engine.failed
        assert isinstance((await ask(engine, "anybody"))[0], ModelUnavailable)
        with pytest.raises(ModelUnavailable):
            engine.detector()
        engine.close()

    asyncio.run(test())


class RealModelOnly(Engine):
    """Loads no detector: the test fails before it would be needed."""

    def _load(self) -> WhisperModel:
        return WhisperModel(self._config)


def test_a_model_folder_that_is_not_there(tmp_path: Path) -> None:
    """The real model class, with an empty folder."""

    async def test() -> None:
        engine = RealModelOnly(EngineConfig(model_dir=tmp_path / "small", device="cpu"))
        with pytest.raises(ModelUnavailable, match="small does not load on cpu"):
            await engine.load()
        engine.close()

    asyncio.run(test())


def test_before_it_is_loaded_requests_fail() -> None:
    """They do not wait for ever."""

    async def test() -> None:
        engine = FakeEngine()
        assert engine.model_name == "none"
        assert isinstance((await ask(engine, "early"))[0], ModelUnavailable)
        with pytest.raises(ModelUnavailable, match="not loaded yet"):
            engine.detector()
        engine.close()

    asyncio.run(test())


def test_every_session_has_its_own_detector() -> None:
    """Sessions share the network, not the state."""

    async def test(engine: FakeEngine) -> None:
        first, second = engine.detector(), engine.detector()
        assert first is not second
        assert len(await first.feed(np.zeros(700, np.float32))) == 1
        assert len(await second.feed(np.zeros(400, np.float32))) == 0

    run(FakeEngine(), test)


@hypothesis_settings(max_examples=20)
@given(st.lists(st.sampled_from(["good", "bad", "gone"]), min_size=1, max_size=15), st.integers(1, 3))
def test_every_caller_is_answered(fates: list[str], lanes: int) -> None:
    """Any mixture of good requests, bad requests and cancelled ones, with one lane or several."""

    async def test(engine: FakeEngine) -> None:
        with engine.held():
            tasks = [asyncio.create_task(ask(engine, fate)) for fate in fates]
            await engine.begun()
            for task, fate in zip(tasks, fates, strict=True):
                if fate == "gone":
                    task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        for fate, answer in zip(fates, answers, strict=True):
            if fate == "gone":
                assert isinstance(answer, asyncio.CancelledError)
            else:
                assert isinstance(answer, list)
                assert answer == ["good"] or isinstance(answer[0], WhisperLiveKitError)
                assert fate == "good" or isinstance(answer[0], WhisperLiveKitError)

    run(FakeEngine(failing("bad"), lanes=lanes), test)


def test_lanes_take_what_waits_at_once() -> None:
    """No request waits for a busy lane while another lane is idle."""

    async def test(engine: FakeEngine) -> None:
        with engine.held():
            tasks = [asyncio.create_task(ask(engine, name)) for name in ("a", "b", "c")]
            for _ in range(2):
                await engine.begun()
            assert len(engine.fake.batches) == 2
        assert await asyncio.gather(*tasks) == [["a"], ["b"], ["c"]]

    run(FakeEngine(lanes=2), test)


def ask_all(engine: Engine, *requests: DecodeRequest) -> "list[asyncio.Task[Hypothesis]]":
    return [asyncio.create_task(engine.transcribe(one)) for one in requests]


def test_files_use_every_lane_while_nobody_speaks() -> None:
    """A live request that comes then waits for one of their decodes, and for no more."""

    async def test(engine: FakeEngine) -> None:
        engine.fake.hold.clear()
        files = ask_all(engine, *(request(name, realtime=False) for name in "abcd"))
        for _ in range(2):
            await engine.begun()
        live = ask_all(engine, request("live"))
        await asyncio.sleep(0)
        engine.fake.hold.set()
        await asyncio.gather(*files, *live)
        assert engine.fake.batches[2] == ["live"]

    run(FakeEngine(lanes=2, max_batch=1), test)


def test_while_people_speak_files_leave_a_lane_free() -> None:
    """Many files wait and one is decoded: live requests are decoded at once all the same."""

    async def test(engine: FakeEngine) -> None:
        await engine.transcribe(request("first"))
        await engine.begun()
        engine.fake.hold.clear()
        files = ask_all(engine, *(request(name, realtime=False) for name in "abcd"))
        await engine.begun()
        await asyncio.sleep(0.05)
        assert engine.fake.batches[1:] == [["a"]]
        live = ask_all(engine, request("live"))
        await engine.begun()
        assert engine.fake.batches[2] == ["live"]
        engine.fake.hold.set()
        await asyncio.gather(*files, *live)
        assert sorted(engine.fake.batches[3:]) == [["b"], ["c"], ["d"]]

    run(FakeEngine(lanes=2, max_batch=1), test)


def test_no_file_begins_beside_a_live_decode() -> None:
    """With two lanes, the next live request gets the other one at once."""

    async def test(engine: FakeEngine) -> None:
        engine.fake.hold.clear()
        first = ask_all(engine, request("first"))
        await engine.begun()
        files = ask_all(engine, request("file", realtime=False))
        await asyncio.sleep(0.05)
        second = ask_all(engine, request("second"))
        await engine.begun()
        assert engine.fake.batches == [["first"], ["second"]]
        engine.fake.hold.set()
        await asyncio.gather(*first, *files, *second)
        assert engine.fake.batches[2] == ["file"]

    run(FakeEngine(lanes=2, max_batch=1), test)


def test_files_that_waited_long_delay_live_speech_one_at_a_time() -> None:
    """While live requests never stop, one file is decoded after ``PATIENCE`` of them, and not all that wait."""

    async def test(engine: FakeEngine) -> None:
        with engine.held():
            first = ask_all(engine, request("first"))
            await engine.begun()
            files = ask_all(engine, *(request(f"file {number}", realtime=False) for number in range(3)))
            live = ask_all(engine, *(request("live") for _ in range(2 * PATIENCE + 10)))
            await asyncio.sleep(0)
        await asyncio.gather(*first, *files, *live)
        order = [batch[0] for batch in engine.fake.batches[1:]]
        assert [place for place, name in enumerate(order) if name != "live"] == [
            PATIENCE,
            2 * PATIENCE + 1,
            2 * PATIENCE + 12,
        ]
        assert [name for name in order if name != "live"] == ["file 0", "file 1", "file 2"]

    run(FakeEngine(max_batch=1), test)


def test_a_lane_that_cannot_start_is_a_failed_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a limit of threads or memory is reached, the load fails with the reason, and no request waits for ever."""
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if thread.name == "model-1":
            raise RuntimeError("can't start new thread")
        start(thread)

    async def test() -> None:
        engine = FakeEngine(lanes=2)
        async with asyncio.timeout(20):
            with pytest.raises(ModelUnavailable, match="can't start new thread"):
                await engine.load()
        engine.close()

    monkeypatch.setattr(threading.Thread, "start", limited)
    asyncio.run(test())
