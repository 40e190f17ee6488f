"""``POST /v1/audio/transcriptions``: a file is a session fed as fast as it is read."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message as AsgiMessage

from whisperlivekit.audio.container import decode
from whisperlivekit.core.commands import Audio, Start, Stop
from whisperlivekit.core.events import Committed, Done, Gap
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.errors import BadMessage, ClientError, MessageTooBig, ServerFault, WhisperLiveKitError
from whisperlivekit.observe.logs import session_context
from whisperlivekit.server.service import Service
from whisperlivekit.server.socket import RETRY_AFTER_S
from whisperlivekit.session.runner import SessionRunner
from whisperlivekit.wire.languages import check_language
from whisperlivekit.wire.openai_rest import RESPONSE_FORMATS, Transcription, error_body

log = logging.getLogger(__name__)

MAX_UPLOAD_BYTES = 512 * 1024 * 1024
"""Some hours of compressed audio; it waits on disk, not in memory."""

MAX_FIELD_BYTES = 64 * 1024

_ACCEPTED_FIELDS = {
    "file", "model", "language", "prompt", "response_format", "temperature", "timestamp_granularities[]",
    "chunking_strategy", "include[]", "stream",
}  # fmt: skip
"""OpenAI's fields. Some of them choose what this server decides by itself: they are taken and ignored."""


async def transcriptions(request: Request) -> Response:
    """The endpoint."""
    service: Service = request.app.state.service
    address = request.client.host if request.client else "unknown"
    session: str = request.scope["session"]
    try:
        service.guard.check_origin(request.headers.get("origin"), request.headers.get("host"))
        service.guard.check_key(request.headers, request.query_params)
        ticket = service.admit(address, realtime=False)
    except WhisperLiveKitError as error:
        service.metrics.refuse(error)
        return _error(error, session)
    service.metrics.opened.labels("openai_rest").inc()
    code = "ok"
    with session_context(session), service.track(_Upload()):
        try:
            return await _answer(request, service)
        except ClientDisconnect:
            code = "disconnected"
            return Response(status_code=499)
        except WhisperLiveKitError as error:
            code = error.code
            return _error(error, session)
        except Exception:  # the connection's edge
            log.exception("a transcription failed")
            code = ServerFault.code
            return _error(
                ServerFault("something failed in the server; its operator finds the reason in the log"), session
            )
        finally:
            ticket.release()
            service.metrics.closed.labels(code).inc()
            log.info("file closed", extra={"code": code})


class _Upload:
    """A file has all its audio: when the worker goes it is finished, within the time that is left."""

    def drain(self) -> None:
        pass


async def _answer(request: Request, service: Service) -> Response:
    form = await _form(request)
    try:
        file, start, response_format = _fields(form)
        work = asyncio.create_task(_transcribe(service, file.file, start))
        gone = asyncio.create_task(_disconnected(request))
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                # Nobody waits for the words of a client that hung up.
                raise ClientDisconnect
            result = work.result()
        finally:
            work.cancel()
            gone.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
    finally:
        await form.close()
    media_type, write = RESPONSE_FORMATS[response_format]
    return Response(write(result), media_type=media_type)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _form(request: Request) -> FormData:
    """The multipart form; a file above a megabyte goes to disk as it arrives.

    Raises:
        MessageTooBig: the body is longer than allowed.
        BadMessage: it is no multipart form.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > MAX_UPLOAD_BYTES:
        raise _too_big(int(declared))
    received = 0
    receive = request.receive

    async def counted() -> AsgiMessage:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_UPLOAD_BYTES:
            raise _too_big(received)
        return message

    try:
        return await Request(request.scope, counted).form(max_files=1, max_fields=20, max_part_size=MAX_FIELD_BYTES)
    except HTTPException as error:
        raise BadMessage(f"the body is not a multipart form that can be read: {error.detail}") from None


def _too_big(size: int) -> MessageTooBig:
    return MessageTooBig(f"the body has {size} bytes or more, expected up to {MAX_UPLOAD_BYTES}")


def _fields(form: FormData) -> tuple[UploadFile, Start, str]:
    unknown = sorted(set(form) - _ACCEPTED_FIELDS)
    if unknown:
        raise BadMessage(f"{unknown[0][:40]} is an unknown field, expected {', '.join(sorted(_ACCEPTED_FIELDS))}")
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise BadMessage("the form has no file, expected one in the field file")
    response_format = _text(form, "response_format") or "json"
    if response_format not in RESPONSE_FORMATS:
        raise BadMessage(f"response_format is {response_format[:40]!r}, expected one of {', '.join(RESPONSE_FORMATS)}")
    language = _text(form, "language")
    prompt = _text(form, "prompt")
    if prompt and len(prompt) > 1000:
        raise BadMessage(f"prompt is text of {len(prompt)} characters, expected up to 1000")
    return file, Start(check_language(language) if language else None, prompt, realtime=False), response_format


def _text(form: FormData, name: str) -> str | None:
    value = form.get(name)
    if value is None or isinstance(value, str):
        return value or None
    raise BadMessage(f"{name} is a file, expected text")


async def _transcribe(service: Service, file: BinaryIO, start: Start) -> Transcription:
    """Feed the file to a session, as fast as it takes it, and collect its words."""
    runner = service.start_session(start)
    words: list[Word] = []
    gaps = received = 0
    feeder = asyncio.create_task(_feed(runner, file))
    try:
        async for event in runner.events():
            match event:
                case Committed():
                    words += event.words
                case Gap():
                    gaps += event.end - event.start
                case Done():
                    received = event.received
                case _:
                    pass
        await feeder
    finally:
        feeder.cancel()
        with suppress(asyncio.CancelledError, WhisperLiveKitError):
            await feeder
        await runner.close()
    service.metrics.words.inc(len(words))
    service.metrics.audio.inc(received / SAMPLE_RATE)
    service.metrics.length.observe(received / SAMPLE_RATE)
    return Transcription(tuple(words), received, runner.language, gaps)


async def _feed(runner: SessionRunner, file: BinaryIO) -> None:
    pieces = decode(file)
    try:
        # The session makes us wait while it has enough.
        while (piece := await _next(pieces)) is not None:
            await runner.receive(Audio(piece))
    except ClientError:
        await runner.close()
        raise
    finally:
        pieces.close()
    await runner.receive(Stop())


async def _next(pieces: Iterator[NDArray[np.float32]]) -> NDArray[np.float32] | None:
    """The next piece, decoded in a thread, which is waited for in any case: the file is closed after us."""
    step = asyncio.create_task(asyncio.to_thread(lambda: next(pieces, None)))
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        await asyncio.wait((step,))
        raise


def _error(error: WhisperLiveKitError, session: str) -> JSONResponse:
    headers = {"retry-after": str(RETRY_AFTER_S)} if error.http_status == 503 else {}
    return JSONResponse(error_body(error, session), status_code=error.http_status, headers=headers)
