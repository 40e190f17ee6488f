"""Deepgram's ``/v1/listen``: a stream over a WebSocket, or a file as the body of a POST."""

import asyncio
import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket

from whisperlivekit.audio.container import count_channels
from whisperlivekit.audio.pcm import CHANNELS, SAMPLE_RATES, wav_head
from whisperlivekit.errors import BadMessage, InternalError, UnsupportedFormat, WhisperLiveKitError
from whisperlivekit.observe.logs import session_context
from whisperlivekit.server.auth import KEY_IS_OPTIONAL, KEY_SCHEMES
from whisperlivekit.server.connection import Channel
from whisperlivekit.server.files import transcribe
from whisperlivekit.server.media import media_channel
from whisperlivekit.server.responses import ErrorResponse, error_headers
from whisperlivekit.server.service import Service, ServiceDependency
from whisperlivekit.server.socket import serve_socket
from whisperlivekit.wire.deepgram import SUBPROTOCOL, DeepgramAdapter, ends_stream, error_body
from whisperlivekit.wire.deepgram_file import FileBody, FileErrorBody, file_body
from whisperlivekit.wire.deepgram_options import CONTAINED, ENCODINGS, read_options
from whisperlivekit.wire.options import MAX_HOTWORDS

log = logging.getLogger(__name__)

PROTOCOL = "deepgram"

REQUEST_ID = "dg-request-id"
ERROR = "dg-error"
"""Headers that Deepgram's clients log."""


def _described() -> dict[str, Any]:
    """The OpenAPI description of what FastAPI does not read: the options in the address, and the body."""
    flag, text = {"type": "boolean"}, {"type": "string"}
    options: dict[str, dict[str, Any]] = {
        "encoding": {"type": "string", "enum": [*ENCODINGS, *sorted(CONTAINED)]},
        "sample_rate": {"type": "integer", "minimum": SAMPLE_RATES[0], "maximum": SAMPLE_RATES[-1]},
        "channels": {"type": "integer", "minimum": CHANNELS[0], "maximum": CHANNELS[-1]},
        "multichannel": flag,
        "language": text,
        "detect_language": flag,
        "keyterm": {"type": "array", "items": text, "maxItems": MAX_HOTWORDS},
        "punctuate": flag,
        "smart_format": flag,
        "utterances": flag,
    }
    return KEY_IS_OPTIONAL | {
        "parameters": [{"in": "query", "name": name, "schema": schema} for name, schema in options.items()],
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        },
    }


router = APIRouter(tags=["streams"])


@router.websocket("/v1/listen")
async def listen(websocket: WebSocket) -> None:
    """A stream, with its options in the address."""

    def make_adapter() -> DeepgramAdapter:
        return DeepgramAdapter(read_options(websocket.query_params.multi_items()), _now())

    def wrap(adapter: DeepgramAdapter, channel: Channel) -> AbstractContextManager[Channel]:
        if not adapter.in_container:
            return nullcontext(channel)
        return media_channel(channel, ends_stream, adapter.options.transcripts)

    await serve_socket(
        websocket,
        make_adapter,
        PROTOCOL,
        [SUBPROTOCOL],
        wrap=wrap,
        session_header=REQUEST_ID,
        reject=_error_response,
    )


@router.post(
    "/v1/listen",
    dependencies=KEY_SCHEMES,
    openapi_extra=_described(),
    responses={
        200: {"model": FileBody, "description": "The transcript"},
        408: {"model": FileErrorBody, "description": "The client sends too slowly, or the transcription took too long"},
        413: {"model": FileErrorBody, "description": "The body is too big, or the audio is too long"},
        415: {"model": FileErrorBody, "description": "A file or an option that the server does not know"},
        421: {"model": ErrorResponse, "description": "The server does not answer to this host name"},
        500: {"model": FileErrorBody, "description": "A fault in the server"},
        503: {"model": FileErrorBody, "description": "The server is full, loading or draining; Retry-After says when"},
        "4XX": {"model": FileErrorBody, "description": "Any other mistake of the client"},
    },
)
async def listen_to_file(request: Request, service: ServiceDependency) -> Response:
    """Transcribe a file, which is the body of the request; the options are in the address, as Deepgram has them.

    Raw audio has its encoding in the address or in the Content-Type, such as ``audio/mulaw; rate=8000``.
    """
    session: str = request.scope["session"]
    try:
        return await _transcribe(request, service, session)
    except ClientDisconnect:
        return Response(status_code=499)
    except WhisperLiveKitError as error:
        return _error_response(error, session)
    except Exception:  # the connection's edge
        with session_context(session):
            log.exception("unexpected exception in a transcription")
        return _error_response(InternalError(), session)


async def _transcribe(request: Request, service: Service, session: str) -> Response:
    created = _now()
    content_type = request.headers.get("content-type", "")
    with service.metrics.counted_rejection():
        service.guard.check(request)
        options = read_options(request.query_params.multi_items(), content_type)
        if "json" in content_type.lower():
            raise BadMessage(
                "the body is JSON, expected the audio: this server opens no addresses, so send the file itself"
            )
        if unavailable := service.unavailable():
            raise unavailable
        head = wav_head(options.encoding, options.sample_rate, options.channels) if options.encoding else b""
        file = await service.uploads.receive_file(request, head)
    with file:
        if options.multichannel and options.encoding is None:
            options = replace(options, channels=await asyncio.to_thread(count_channels, file))
            if options.channels not in CHANNELS:
                raise UnsupportedFormat(
                    f"the file has {options.channels} channels, expected {CHANNELS[0]} or {CHANNELS[-1]}"
                )
        result = await transcribe(request, service, file, options.start(realtime=False), protocol=PROTOCOL)
    return Response(
        file_body(result, options, service.settings.model, session, created),
        media_type="application/json",
        headers={REQUEST_ID: session},
    )


def _error_response(error: WhisperLiveKitError, session: str) -> Response:
    """An error in the form that Deepgram's clients read."""
    # The message may quote anything that a client sent.
    in_header = "".join(letter if " " <= letter <= "~" else "?" for letter in error.message)
    headers = error_headers(error) | {REQUEST_ID: session, ERROR: in_header}
    return JSONResponse(error_body(error, session), status_code=error.http_status, headers=headers)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
