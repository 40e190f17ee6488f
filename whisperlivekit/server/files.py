"""Transcribes one file: a ``FileSession`` that is fed as fast as it takes audio.

A file is admitted and takes a place like a stream. It is given up when its client disconnects: nobody would read it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect, Request

from whisperlivekit.audio.container import decode
from whisperlivekit.core.commands import Audio, Start, Stop
from whisperlivekit.core.events import Committed, Done, Gap
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.errors import InternalError, MessageTooBig, TimedOut, WhisperLiveKitError
from whisperlivekit.observe.logs import session_context
from whisperlivekit.server.accounting import StreamAccount
from whisperlivekit.server.auth import client_address
from whisperlivekit.server.service import Service
from whisperlivekit.session.multichannel import Runner
from whisperlivekit.wire.openai_rest import Passage, Transcription

Tell = Callable[[str], Awaitable[None]]
"""Receives the text of a file, piece by piece in order, while it is transcribed."""


async def transcribe(
    request: Request, service: Service, file: BinaryIO, start: Start, *, protocol: str, tell: Tell | None = None
) -> Transcription:
    """Admit a file and transcribe it for the client of ``request``. ``protocol``: the metrics' name for how it came.

    Raises:
        NoCapacity, ModelUnavailable, ShuttingDown: it is not admitted.
        UnsupportedFormat: a translation is asked for, and the model cannot translate.
        BadAudio: the file cannot be decoded.
        MessageTooBig, TimedOut: its audio, or its transcription, is longer than the longest session.
        WhisperLiveKitError: the engine cannot serve.
        ClientDisconnect: the client is gone.
    """
    with service.metrics.counted_rejection():
        ticket = service.admit(client_address(request), realtime=False, places=start.channels)
    account = StreamAccount(service.metrics, ticket, protocol)
    account.begin(start)
    code = InternalError.code
    try:
        with session_context(request.scope["session"]), service.track(_File()):
            result = await _until_disconnected(request, _transcribe(service, file, start, account, tell))
        code = "ok"
    except (ClientDisconnect, asyncio.CancelledError):
        code = "disconnected"
        raise
    except WhisperLiveKitError as error:
        code = error.code
        raise
    finally:
        ticket.release()
        account.close(code)
    return result


class _File:
    """A file has all its audio: when the worker shuts down it is finished, within the time that is left."""

    def drain(self, within_s: float) -> None:
        pass


async def _until_disconnected(request: Request, work: Coroutine[Any, Any, Transcription]) -> Transcription:
    """The result of the work, which is cancelled when the client disconnects."""
    working = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        await _cancel(working, gone)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _transcribe(
    service: Service, file: BinaryIO, start: Start, account: StreamAccount, tell: Tell | None
) -> Transcription:
    """Feed the file to a session as fast as it takes audio, and collect its words."""
    limit_s = service.limits.session_s
    runner = service.start_session(start)
    feeder = asyncio.create_task(_feed(runner, file, start.channels, account, limit_s))
    collector = asyncio.create_task(_collect(runner, start, account, tell))
    try:
        # Whatever either of them raises ends the other one too: a request never waits for a task that has failed.
        done, _ = await asyncio.wait((feeder, collector), timeout=limit_s, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        if len(done) < 2:
            raise TimedOut(
                f"the file was not transcribed within {limit_s / 3600:g} h, the longest session allowed "
                "(WLK_MAX_SESSION_HOURS)"
            )
        return collector.result()
    finally:
        await _cancel(feeder, collector)
        await runner.close()


async def _feed(runner: Runner, file: BinaryIO, channels: int, account: StreamAccount, limit_s: float) -> None:
    received = 0
    pieces = decode(file, channels)
    try:
        # ``receive`` waits while the session has enough audio.
        while (piece := await _next(pieces)) is not None:
            audio = Audio(piece)
            received += audio.length
            if received > limit_s * SAMPLE_RATE:
                raise MessageTooBig(
                    f"the file has more than {limit_s / 3600:g} h of audio, the longest session allowed "
                    "(WLK_MAX_SESSION_HOURS)"
                )
            await runner.receive(audio)
            account.receive_audio(audio.length)
    finally:
        pieces.close()
    await runner.receive(Stop())


async def _collect(runner: Runner, start: Start, account: StreamAccount, tell: Tell | None) -> Transcription:
    passages: list[Passage] = []
    gaps = received = 0
    async for event in runner.events():
        account.observe(event, runner.received)
        match event:
            case Committed():
                passages.append(Passage(event.words, event.no_speech_probability or 0.0, event.channel or 0))
                if tell is not None:
                    await tell(event.text)
            case Gap():
                gaps += event.end - event.start
            case Done():
                received = event.received
            case _:
                pass
    return Transcription(tuple(passages), received, runner.language, gaps, start.task, start.channels)


async def _next(pieces: Iterator[NDArray[np.float32]]) -> NDArray[np.float32] | None:
    """The next piece, decoded in a thread. The thread is waited for even when cancelled: the caller closes the file."""
    step = asyncio.create_task(asyncio.to_thread(lambda: next(pieces, None)))
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        await asyncio.wait((step,))
        raise
