"""``POST /v1/audio/transcriptions``: a file is a ``FileSession`` that is fed as fast as it takes audio.

A request goes through four steps: key and origin are checked, the body is received (``upload.py``), the file is
admitted and takes a place like a stream, and it is transcribed.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import Annotated, Any, BinaryIO, Literal, get_args

import numpy as np
from fastapi import APIRouter, Form, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from whisperlivekit.audio.container import decode
from whisperlivekit.core.commands import Audio, Start, Stop
from whisperlivekit.core.events import Committed, Done, Gap
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.errors import BadMessage, InternalError, MessageTooBig, TimedOut, WhisperLiveKitError
from whisperlivekit.observe.logs import session_context
from whisperlivekit.server.accounting import StreamAccount
from whisperlivekit.server.auth import KEY_IS_OPTIONAL, KEY_SCHEMES, client_address
from whisperlivekit.server.responses import ErrorResponse, error_headers
from whisperlivekit.server.service import Service, ServiceDependency
from whisperlivekit.session.runner import SessionRunner
from whisperlivekit.wire.languages import check_language
from whisperlivekit.wire.openai_rest import RESPONSE_FORMATS, ErrorBody, Transcription, TranscriptionBody, error_body

log = logging.getLogger(__name__)

MAX_PROMPT = 1000
"""Characters."""

ResponseFormat = Literal["json", "text", "srt", "vtt", "verbose_json"]


class TranscriptionForm(BaseModel):
    """OpenAI's fields. Those that choose what this server decides by itself are accepted and ignored."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    file: UploadFile = Field(description="an audio or video file of any format that FFmpeg's libraries read")
    model: str = Field("", description="ignored: the server has one model")
    language: str = Field("", description='a Whisper language code such as "ru", or "auto" to detect it')
    prompt: str = Field("", max_length=MAX_PROMPT, description="text that shows names and style")
    response_format: ResponseFormat = "json"
    temperature: str = Field("", description="ignored")
    timestamp_granularities: list[str] = Field([], alias="timestamp_granularities[]", description="ignored")
    chunking_strategy: str = Field("", description="ignored")
    include: list[str] = Field([], alias="include[]", description="ignored")
    stream: str = Field("", description="ignored: the answer comes when the file is transcribed")


class FileRoute(APIRoute):
    """Checks a request and receives its body before FastAPI looks at it, and renders errors as OpenAI's.

    FastAPI on its own reads a body of any length, from any client, before a dependency or the endpoint runs.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of one request."""
        handle = super().get_route_handler()

        async def handle_file(request: Request) -> Response:
            service: Service = request.app.state.service
            session: str = request.scope["session"]
            try:
                with service.metrics.counted_rejection():
                    service.guard.check(request)
                    # Say so before the client has sent everything.
                    if unavailable := service.unavailable():
                        raise unavailable
                    request = await service.uploads.receive_form(request)
                return await handle(request)
            except ClientDisconnect:
                return Response(status_code=499)
            except RequestValidationError as error:
                rejection = BadMessage(_explain(error))
                service.metrics.count_rejection(rejection)
                return _error_response(rejection, session)
            except WhisperLiveKitError as error:
                return _error_response(error, session)
            except Exception:  # the connection's edge
                log.exception("unexpected exception in a transcription")
                return _error_response(InternalError(), session)

        return handle_file


router = APIRouter(tags=["transcription"], route_class=FileRoute)

_ERRORS: dict[int | str, str] = {
    400: "A form that cannot be read, or a field that is missing, unknown or wrong",
    401: "No key, or a wrong one",
    403: "A web page of another site asked",
    408: "The client sends too slowly, or the transcription took longer than WLK_MAX_SESSION_HOURS",
    413: "The body is too big, or the audio is longer than WLK_MAX_SESSION_HOURS",
    415: "A file or a language that the server does not know",
    500: "A fault in the server",
    503: "The server is full, loading or draining; Retry-After says when to try again",
    # FastAPI would add its own 422, which this server never sends.
    "4XX": "Any other mistake of the client",
}


@router.post(
    "/v1/audio/transcriptions",
    dependencies=KEY_SCHEMES,
    openapi_extra=KEY_IS_OPTIONAL,
    responses={
        200: {
            "model": TranscriptionBody,
            "description": "The transcript, in the format that was asked for",
            "content": {
                media_type: {"schema": {"type": "string"}}
                for media_type in ("text/plain", "application/x-subrip", "text/vtt")
            },
        },
        **{status: {"model": ErrorBody, "description": text} for status, text in _ERRORS.items()},
        421: {"model": ErrorResponse, "description": "The server does not answer to this host name"},
    },
)
async def transcriptions(
    request: Request,
    service: ServiceDependency,
    form: Annotated[TranscriptionForm, Form(media_type="multipart/form-data")],
) -> Response:
    """Transcribe a file, as OpenAI's endpoint of the same path does."""
    with service.metrics.counted_rejection():
        start = Start(check_language(form.language) if form.language else None, form.prompt or None, realtime=False)
        ticket = service.admit(client_address(request), realtime=False)
    account = StreamAccount(service.metrics, ticket, "openai_rest")
    code = InternalError.code
    try:
        with session_context(request.scope["session"]), service.track(_File()):
            result = await _until_disconnected(request, _transcribe(service, form.file.file, start, account))
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
    media_type, write = RESPONSE_FORMATS[form.response_format]
    return Response(write(result), media_type=media_type)


class _File:
    """A file has all its audio: when the worker shuts down it is finished, within the time that is left."""

    def drain(self, within_s: float) -> None:
        pass


async def _until_disconnected(request: Request, work: Coroutine[Any, Any, Transcription]) -> Transcription:
    """The result of the work, which is cancelled when the client disconnects: nobody would read it."""
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


async def _transcribe(service: Service, file: BinaryIO, start: Start, account: StreamAccount) -> Transcription:
    """Feed the file to a session as fast as it takes audio, and collect its words.

    Raises:
        BadAudio: the file cannot be decoded.
        MessageTooBig, TimedOut: its audio, or its transcription, is longer than the longest session.
        WhisperLiveKitError: the engine cannot serve.
    """
    limit_s = service.limits.session_s
    runner = service.start_session(start)
    feeder = asyncio.create_task(_feed(runner, file, account, limit_s))
    collector = asyncio.create_task(_collect(runner, account))
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


async def _feed(runner: SessionRunner, file: BinaryIO, account: StreamAccount, limit_s: float) -> None:
    received = 0
    pieces = decode(file)
    try:
        # ``receive`` waits while the session has enough audio.
        while (piece := await _next(pieces)) is not None:
            received += len(piece)
            if received > limit_s * SAMPLE_RATE:
                raise MessageTooBig(
                    f"the file has more than {limit_s / 3600:g} h of audio, the longest session allowed "
                    "(WLK_MAX_SESSION_HOURS)"
                )
            await runner.receive(Audio(piece))
            account.receive_audio(len(piece))
    finally:
        pieces.close()
    await runner.receive(Stop())


async def _collect(runner: SessionRunner, account: StreamAccount) -> Transcription:
    words: list[Word] = []
    gaps = received = 0
    async for event in runner.events():
        account.observe(event, runner.received)
        match event:
            case Committed():
                words += event.words
            case Gap():
                gaps += event.end - event.start
            case Done():
                received = event.received
            case _:
                pass
    return Transcription(tuple(words), received, runner.language, gaps)


async def _next(pieces: Iterator[NDArray[np.float32]]) -> NDArray[np.float32] | None:
    """The next piece, decoded in a thread. The thread is waited for even when cancelled: the caller closes the file."""
    step = asyncio.create_task(asyncio.to_thread(lambda: next(pieces, None)))
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        await asyncio.wait((step,))
        raise


def _explain(error: RequestValidationError) -> str:
    """The first mistake in a form, in words."""
    mistake = error.errors()[0]
    name, found = str(mistake["loc"][-1])[:40], mistake.get("input")
    match mistake["type"]:
        case "missing":
            return f"the form has no {name}, expected one in the field {name}"
        case "extra_forbidden":
            fields = (field.alias or name for name, field in TranscriptionForm.model_fields.items())
            return f"{name} is an unknown field, expected {', '.join(sorted(fields))}"
        case "literal_error":
            return f"{name} is {str(found)[:40]!r}, expected one of {', '.join(get_args(ResponseFormat))}"
        case "string_too_long":
            return f"{name} is text of {len(str(found))} characters, expected up to {mistake['ctx']['max_length']}"
        case _ if name == "file":
            return "file is text, expected a file"
        case _:
            return f"{name} is a file, expected text"


def _error_response(error: WhisperLiveKitError, session: str) -> JSONResponse:
    return JSONResponse(error_body(error, session), status_code=error.http_status, headers=error_headers(error))
