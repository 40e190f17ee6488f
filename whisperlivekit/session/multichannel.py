"""A stream or file whose channels are transcribed by themselves: a session for each channel, run as one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from whisperlivekit.core.commands import Audio, Command, Start
from whisperlivekit.core.events import Done, Event, OfChannel
from whisperlivekit.session.runner import SessionRunner


class MultichannelRunner:
    """The runners of all channels, with the interface of one.

    Audio is float32[channels, n]. Every other command goes to each channel, so a ``Flush`` is answered once for each.
    Events come in the order in which they happen, each with its channel; one ``Done`` at the end has the totals of all.
    """

    def __init__(self, start: Start, run: Callable[[Start, asyncio.Event], SessionRunner]) -> None:
        """run: makes the runner of one channel, which sets the given event when there is something to read."""
        self._moved = asyncio.Event()
        self._runners = [run(of_channel, self._moved) for of_channel in start.of_each_channel()]
        self._origin = self._received = start.resume.position if start.resume else 0
        self._done: list[Done] = []
        """Of the channels that have ended."""

    @property
    def received(self) -> int:
        """Samples of each channel received, counted from the beginning of the stream."""
        return self._received

    @property
    def language(self) -> str | None:
        """The language of the first channel that has one."""
        return next((runner.language for runner in self._runners if runner.language), None)

    @property
    def paused(self) -> bool:
        """See ``SessionRunner``: in every channel."""
        return all(runner.paused for runner in self._runners)

    async def receive(self, command: Command) -> None:
        """Take a command. Returns when every channel has room for the next one."""
        if not isinstance(command, Audio):
            for runner in self._runners:
                await runner.receive(command)
            return
        if len(command.samples) != len(self._runners):
            raise ValueError(f"found audio of {len(command.samples)} channels, expected {len(self._runners)}")
        begin, self._received = self._received, self._received + command.length
        # A resumed channel takes its audio from its own position on: it has no use for what comes before.
        fed = [
            runner.receive(Audio(samples[max(0, runner.received - begin) :]))
            for runner, samples in zip(self._runners, command.samples, strict=True)
        ]
        await asyncio.gather(*fed)

    async def events(self) -> AsyncIterator[Event]:
        """See ``SessionRunner``. Ends when all channels have ended."""
        while True:
            self._moved.clear()
            for channel, runner in enumerate(self._runners):
                for event in runner.take():
                    if isinstance(event, OfChannel):
                        yield replace(event, channel=channel)
                    elif isinstance(event, Done):
                        self._done.append(event)
            if self.pending_events:
                continue
            if all([runner.ended() for runner in self._runners]):  # noqa: C419  (each of them may raise)
                break
            await self._moved.wait()
        if len(self._done) == len(self._runners):
            yield Done(
                self._received - self._origin,
                sum(done.speech for done in self._done),
                sum(done.words for done in self._done),
                sum(done.utterances for done in self._done),
                sum(done.gaps for done in self._done),
            )

    @property
    def pending_events(self) -> int:
        """See ``SessionRunner``: of all channels."""
        return sum(runner.pending_events for runner in self._runners)

    async def drain(self) -> None:
        """See ``SessionRunner``."""
        await asyncio.gather(*(runner.drain() for runner in self._runners))

    async def close(self) -> None:
        """See ``SessionRunner``."""
        await asyncio.gather(*(runner.close() for runner in self._runners))


Runner = SessionRunner | MultichannelRunner
