"""The state of a worker process."""

import asyncio

import pytest

from whisperlivekit.engine.scripted import ScriptedEngine
from whisperlivekit.errors import ModelFileError, ModelUnavailable, NoCapacity, ShuttingDown, WhisperLiveKitError
from whisperlivekit.server.service import Service, State, new_session_id
from whisperlivekit.settings.declarations import Settings


class _Stream:
    """Ends when it is asked to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    def drain(self, within_s: float) -> None:
        self.asked.set()


def service(engine: ScriptedEngine | Exception | None = None, max_sessions: int = 0) -> Service:
    def make(_: int) -> ScriptedEngine:
        if isinstance(engine, Exception):
            raise engine
        return engine or ScriptedEngine()

    return Service(Settings(model="base", max_sessions=max_sessions), make)


def rejection_of(subject: Service) -> type[WhisperLiveKitError]:
    with pytest.raises(WhisperLiveKitError) as caught:
        subject.admit("a")
    assert subject.served == subject.admission.open_streams == 0
    return caught.type


def test_from_loading_to_draining() -> None:
    """Streams are admitted from the end of loading until draining begins."""

    async def live() -> None:
        subject = service()
        states = [subject.state]
        assert rejection_of(subject) is ModelUnavailable
        await subject.load()
        states.append(subject.state)
        assert subject.metrics.ready_workers() == 1
        subject.admit("a").release()
        assert subject.served == 1
        await subject.drain(1.0)
        states.append(subject.state)
        assert subject.metrics.ready_workers() == 0
        assert states == [State.LOADING, State.READY, State.DRAINING]
        with pytest.raises(ShuttingDown):
            subject.admit("a")

    asyncio.run(live())


@pytest.mark.parametrize("error", [ModelFileError("model.bin is missing"), OSError("model.bin is missing")])
def test_an_engine_that_cannot_be_made(error: Exception) -> None:
    """Whatever its libraries raise: the state is FAILED, and the reason is known to whoever ends the process."""
    subject = service(error)
    asyncio.run(subject.load())
    assert subject.state is State.FAILED
    assert "model.bin is missing" in subject.failure
    assert not subject.was_ready
    assert rejection_of(subject) is ModelUnavailable


def test_an_engine_that_dies() -> None:
    """The state is READY only while the engine works."""
    engine = ScriptedEngine()
    subject = service(engine)
    asyncio.run(subject.load())
    engine.failed = True
    assert rejection_of(subject) is ModelUnavailable
    assert subject.state is State.FAILED
    assert subject.was_ready


def test_a_full_worker() -> None:
    """The admission's rejection is the service's."""
    subject = service(max_sessions=1)
    asyncio.run(subject.load())
    ticket = subject.admit("a")
    assert isinstance(subject.unavailable(), NoCapacity)
    ticket.release()
    assert subject.unavailable() is None


def test_a_drain_ends_all_streams() -> None:
    """It returns when the last stream has ended."""

    async def run() -> None:
        subject = service()
        await subject.load()
        streams = [_Stream(), _Stream()]

        async def serve(stream: _Stream) -> None:
            with subject.track(stream):
                await stream.asked.wait()

        async with asyncio.TaskGroup() as tasks:
            for stream in streams:
                tasks.create_task(serve(stream))
            await asyncio.sleep(0)
            assert subject.streams == 2
            await subject.drain(5.0)
            assert subject.streams == 0

    asyncio.run(run())


def test_a_drain_has_a_time_limit() -> None:
    """A stream that does not end is left to the transport."""

    async def run() -> None:
        subject = service()
        await subject.load()
        with subject.track(_Stream()):
            await subject.drain(0.01)
            assert subject.streams == 1

    asyncio.run(run())


def test_session_ids_are_short_and_many() -> None:
    """They can be quoted in a report and do not repeat."""
    ids = {new_session_id() for _ in range(1_000)}
    assert len(ids) == 1_000
    assert all(len(identifier) == 16 for identifier in ids)
