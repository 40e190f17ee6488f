"""OpenAI's HTTP API: ``/v1/audio/transcriptions``, ``/v1/audio/translations`` and ``/v1/models``.

A request with a file goes through four steps: key and origin are checked, the body is received (``upload.py``), the
file is admitted and transcribed (``files.py``), and the transcript is written as the client asked, at the end or while
it is made.

Long because OpenAI's API is one contract: half of it declares forms, answers and errors for /openapi.json.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Form, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from whisperlivekit.core.commands import Start
from whisperlivekit.core.hypothesis import Task
from whisperlivekit.errors import BadMessage, ClientError, InternalError, TimedOut, WhisperLiveKitError
from whisperlivekit.observe.logs import session_context
from whisperlivekit.server.auth import KEY_IS_OPTIONAL, KEY_SCHEMES
from whisperlivekit.server.files import transcribe
from whisperlivekit.server.responses import ErrorResponse, error_headers
from whisperlivekit.server.service import Service, ServiceDependency
from whisperlivekit.wire.languages import AUTO, check_language
from whisperlivekit.wire.openai_rest import (
    EVENT_STREAM,
    ErrorBody,
    Granularity,
    ModelBody,
    ModelList,
    ResponseFormat,
    TextStream,
    Transcription,
    TranscriptionBody,
    error_body,
    write,
)
from whisperlivekit.wire.options import MAX_HOTWORD, MAX_HOTWORDS, MAX_PROMPT

log = logging.getLogger(__name__)

SPEAKERS = 2
"""Channels of a file with ``multichannel``."""

STREAMED: tuple[ResponseFormat, ...] = ("json", "text")
"""Formats in which ``stream`` has an effect. OpenAI too ignores it where it cannot stream."""


class UnknownModel(ClientError):
    """A model that the server does not have. Only its list of models tells this: other requests may name any."""

    code = "model_not_found"
    http_status = 404


class TranslationForm(BaseModel):
    """OpenAI's fields. Those that choose what this server decides by itself are accepted and ignored.

    So are unknown fields: clients send those of other services too, and new ones before a server knows them.
    """

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    file: UploadFile = Field(description="an audio or video file of any format that FFmpeg's libraries read")
    model: str = Field("", description="ignored: the server has one model")
    language: str = Field(
        "", description='the language that is spoken: a Whisper language code such as "ru", or "auto" to detect it'
    )
    prompt: str = Field(
        "", description=f"text that shows names and style; of a longer one the last {MAX_PROMPT} characters count"
    )
    response_format: ResponseFormat = "json"
    temperature: str = Field("", description="ignored")
    stream: bool = Field(
        False,
        description=f"send text while the file is transcribed, as server-sent events; with {' or '.join(STREAMED)}",
    )

    multichannel: bool = Field(
        False,
        description="the file has two channels, one for each speaker: the answer is a dialogue, which is not streamed",
    )

    def start(self, task: Task) -> Start:
        """The options of the file's session.

        Raises:
            UnsupportedFormat: there is no such language.
        """
        language = check_language(self.language) if self.language else None
        channels = SPEAKERS if self.multichannel else 1
        return Start(language, self.prompt[-MAX_PROMPT:] or None, realtime=False, task=task, channels=channels)


class TranscriptionForm(TranslationForm):
    """The same, with what only a transcription has."""

    languages: list[str] = Field(
        [], alias="languages[]", description="in place of language: one code, or several from which one is detected"
    )
    timestamp_granularities: list[Granularity] = Field(
        [],
        alias="timestamp_granularities[]",
        description="what verbose_json has times for: segment (default), word, or both",
    )
    keywords: list[str] = Field(
        [],
        alias="keywords[]",
        description=f"up to {MAX_HOTWORDS} names or terms that are likely to be said, {MAX_HOTWORD} characters each",
    )
    hotwords: str = Field("", description="more of them, separated by commas or line breaks")
    include: list[str] = Field([], alias="include[]", description="ignored")
    chunking_strategy: str = Field("", description="ignored")

    @model_validator(mode="before")
    @classmethod
    def _take_names_without_brackets(cls, found: Any) -> Any:
        # Some clients send "keywords" where OpenAI's send "keywords[]".
        for name in ("languages", "timestamp_granularities", "keywords", "include"):
            if isinstance(found, dict) and f"{name}[]" not in found and isinstance(found.get(name), str | list):
                value = found[name]
                found[f"{name}[]"] = [value] if isinstance(value, str) else value
        return found

    def start(self, task: Task) -> Start:
        """See ``TranslationForm``.

        Raises:
            BadMessage: there are too many hotwords, or one is too long.
        """
        start = super().start(task)
        languages = [] if self.language else [check_language(language) for language in self.languages if language]
        if languages:
            start = replace(start, language=languages[0] if len(set(languages)) == 1 else AUTO)
        return replace(start, hotwords=self._hotwords())

    def _hotwords(self) -> tuple[str, ...]:
        listed = [word.strip() for word in (*self.keywords, *re.split(r"[,\n]", self.hotwords))]
        hotwords = tuple(dict.fromkeys(word for word in listed if word))
        if len(hotwords) > MAX_HOTWORDS:
            raise BadMessage(f"found {len(hotwords)} keywords, expected up to {MAX_HOTWORDS}")
        for word in hotwords:
            if len(word) > MAX_HOTWORD:
                raise BadMessage(f"found a keyword of {len(word)} characters, expected up to {MAX_HOTWORD}")
        return hotwords


class OpenAIRoute(APIRoute):
    """Renders errors as OpenAI's."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of one request."""
        handle = super().get_route_handler()

        async def handle_request(request: Request) -> Response:
            try:
                return await handle(await self.prepare(request))
            except Exception as error:  # noqa: BLE001 - the connection's edge
                return _failed(request, error)

        return handle_request

    async def prepare(self, request: Request) -> Request:
        """What happens before FastAPI looks at the request: key and origin are checked."""
        service: Service = request.app.state.service
        with service.metrics.counted_rejection():
            service.guard.check(request)
        return request


class FileRoute(OpenAIRoute):
    """Receives the body too.

    FastAPI on its own reads a body of any length, from any client, before a dependency or the endpoint runs.
    """

    async def prepare(self, request: Request) -> Request:
        """Check the request and receive its form."""
        service: Service = request.app.state.service
        with service.metrics.counted_rejection():
            service.guard.check(request)
            # Say so before the client has sent everything.
            if unavailable := service.unavailable():
                raise unavailable
            return await service.uploads.receive_form(request)


def _failed(request: Request, error: Exception) -> Response:
    """The answer to a request that ended with an error."""
    service: Service = request.app.state.service
    session: str = request.scope["session"]
    match error:
        case ClientDisconnect():
            return Response(status_code=499)
        case RequestValidationError():
            rejection = BadMessage(_explain(error))
            service.metrics.count_rejection(rejection)
            return _error_response(rejection, session)
        case WhisperLiveKitError():
            return _error_response(error, session)
        case _:
            with session_context(session):
                log.error("unexpected exception in a transcription", exc_info=error)
            return _error_response(InternalError(), session)


files = APIRouter(tags=["transcription"], route_class=FileRoute)
models = APIRouter(tags=["transcription"], route_class=OpenAIRoute)

_ERRORS: dict[int | str, str] = {
    400: "A form that cannot be read, or a field that is missing or wrong",
    401: "No key, or a wrong one",
    403: "A web page of another site asked",
    404: "The server has no model of this name",
    408: "The client sends too slowly, or the transcription took longer than WLK_MAX_SESSION_HOURS",
    413: "The body is too big, or the audio is longer than WLK_MAX_SESSION_HOURS",
    415: "A file or a language that the server does not know, or a translation by a model that cannot translate",
    500: "A fault in the server",
    503: "The server is full, loading or draining; Retry-After says when to try again",
    # FastAPI would add its own 422, which this server never sends.
    "4XX": "Any other mistake of the client",
}


def _errors(*statuses: int | str) -> dict[int | str, dict[str, Any]]:
    described: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorBody, "description": _ERRORS[status]} for status in statuses
    }
    described[421] = {"model": ErrorResponse, "description": "The server does not answer to this host name"}
    return described


_FILE: dict[str, Any] = {
    "dependencies": KEY_SCHEMES,
    "openapi_extra": KEY_IS_OPTIONAL,
    "responses": {
        200: {
            "model": TranscriptionBody,
            "description": "The transcript, in the format that was asked for. With stream: server-sent events, each "
            "with an object TextDelta, then a TextDone, or an ErrorBody in its place",
            "content": {
                media_type: {"schema": {"type": "string"}}
                for media_type in ("text/plain", "application/x-subrip", "text/vtt", "text/event-stream")
            },
        },
        **_errors(*(status for status in _ERRORS if status != 404)),
    },
}


@files.post("/v1/audio/transcriptions", **_FILE)
async def transcriptions(
    request: Request,
    service: ServiceDependency,
    form: Annotated[TranscriptionForm, Form(media_type="multipart/form-data")],
) -> Response:
    """Transcribe a file, as OpenAI's endpoint of the same path does."""
    return await _answer(request, service, form, "transcribe", form.timestamp_granularities)


@files.post("/v1/audio/translations", **_FILE)
async def translations(
    request: Request,
    service: ServiceDependency,
    form: Annotated[TranslationForm, Form(media_type="multipart/form-data")],
) -> Response:
    """Translate what is said in a file into English, as OpenAI's endpoint of the same path does."""
    return await _answer(request, service, form, "translate")


async def _answer(
    request: Request,
    service: Service,
    form: TranslationForm,
    task: Task,
    granularities: Collection[Granularity] = (),
) -> Response:
    with service.metrics.counted_rejection():
        start = form.start(task)
    work = partial(transcribe, request, service, form.file.file, start, protocol="openai_rest")
    if form.stream and form.response_format in STREAMED and not form.multichannel:
        return _EventStream(request, service.limits.send_s, work)
    media_type, content = write(await work(), form.response_format, granularities)
    return Response(content, media_type=media_type)


class _EventStream(Response):
    """The text of a file as server-sent events, while it is transcribed.

    The answer begins with the first text. A file that cannot be served gets an answer with the status of its error, as
    without ``stream``; an error after that is the last event.
    """

    # ``work`` is a function of ``tell``.
    def __init__(self, request: Request, send_s: float, work: Callable[..., Awaitable[Transcription]]) -> None:
        super().__init__(media_type=EVENT_STREAM)
        del self.headers["content-length"]
        # Proxies would collect the events otherwise.
        self.headers.update({"cache-control": "no-store", "x-accel-buffering": "no"})
        self._request = request
        self._send_s = send_s
        self._work = work
        self._text = TextStream()
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def tell(text: str) -> None:
            if event := self._text.delta(text):
                await self._send(send, event)

        try:
            await self._work(tell=tell)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - the connection's edge
            response = _failed(self._request, error)
            if not self._begun:
                await response(scope, receive, send)
                return
            last = self._text.error(
                error if isinstance(error, WhisperLiveKitError) else InternalError(), scope["session"]
            )
        else:
            last = self._text.done()
        with suppress(TimedOut):
            await self._send(send, last)
            await send({"type": "http.response.body", "body": b""})

    async def _send(self, send: Send, event: str) -> None:
        try:
            async with asyncio.timeout(self._send_s):
                if not self._begun:
                    self._begun = True
                    await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
        except TimeoutError:
            raise TimedOut(f"the client did not read for {self._send_s:g} s") from None


@models.get(
    "/v1/models",
    dependencies=KEY_SCHEMES,
    openapi_extra=KEY_IS_OPTIONAL,
    responses=_errors(401, 403, "4XX"),
)
async def list_models(service: ServiceDependency) -> ModelList:
    """The models of the server, as OpenAI's endpoint of the same path does: it has one."""
    return ModelList(data=[_model(service)])


@models.get(
    "/v1/models/{name:path}",
    dependencies=KEY_SCHEMES,
    openapi_extra=KEY_IS_OPTIONAL,
    responses=_errors(401, 403, 404, "4XX"),
)
async def retrieve_model(name: str, service: ServiceDependency) -> ModelBody:
    """The model of this name, as OpenAI's endpoint of the same path does."""
    if name != service.settings.model:
        raise UnknownModel(f"found no model {name[:100]}, expected {service.settings.model}")
    return _model(service)


def _model(service: Service) -> ModelBody:
    return ModelBody(id=service.settings.model, created=service.model_since)


def _explain(error: RequestValidationError) -> str:
    """The first mistake in a form, in words."""
    mistake = error.errors()[0]
    name = next(step for step in reversed(mistake["loc"]) if isinstance(step, str))[:40]
    found = str(mistake.get("input"))[:40]
    match mistake["type"]:
        case "missing":
            return f"the form has no {name}, expected one in the field {name}"
        case "literal_error":
            allowed = get_args(Granularity if name.startswith("timestamp") else ResponseFormat)
            return f"{name} is {found!r}, expected one of {', '.join(allowed)}"
        case "bool_parsing":
            return f"{name} is {found!r}, expected true or false"
        case _ if name == "file":
            return "file is text, expected a file"
        case _:
            return f"{name} is a file, expected text"


def _error_response(error: WhisperLiveKitError, session: str) -> JSONResponse:
    return JSONResponse(error_body(error, session), status_code=error.http_status, headers=error_headers(error))
