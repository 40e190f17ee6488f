"""Error responses: one body for every error that is not OpenAI's, and the handlers that FastAPI calls."""

import logging

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from whisperlivekit.errors import InternalError, WhisperLiveKitError
from whisperlivekit.observe.logs import session_context

log = logging.getLogger(__name__)

RETRY_AFTER_S = 5
"""What a client is told to wait when the server is full, loading or draining."""

REQUEST_ID = "x-request-id"
"""Header of every response: the id to quote in a report and to search the log for."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)

SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self), display-capture=(self), camera=(), geolocation=()",
}


class ErrorResponse(BaseModel):
    """The body of an error response."""

    code: str = Field(description="what happened, for programs; docs/protocol.md lists the codes")
    message: str = Field(description="what was found and what is expected, for people")
    session: str = Field(description="the id to quote in a report; the server's log has it too")


def error_headers(error: WhisperLiveKitError) -> dict[str, str]:
    """The HTTP headers that go with an error's status."""
    if error.http_status == 503:
        return {"retry-after": str(RETRY_AFTER_S)}
    if error.http_status == 401:
        return {"www-authenticate": "Bearer"}
    return {}


def error_response(error: WhisperLiveKitError, session: str) -> JSONResponse:
    """An error as an HTTP response; ``session`` is the id to quote in a report."""
    body = ErrorResponse(code=error.code, message=error.message, session=session)
    return JSONResponse(body.model_dump(), status_code=error.http_status, headers=error_headers(error))


async def handle_error(request: Request, error: Exception) -> Response:
    """An error of ours that an endpoint or a dependency raised."""
    assert isinstance(error, WhisperLiveKitError)
    return error_response(error, request.scope["session"])


async def handle_http_exception(request: Request, error: Exception) -> Response:
    """Requests that reach no endpoint: unknown paths, wrong methods."""
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    body = ErrorResponse(code=code, message=str(error.detail).lower(), session=request.scope.get("session", ""))
    return JSONResponse(body.model_dump(), status_code=error.status_code, headers=error.headers)


async def handle_unexpected(request: Request, error: Exception) -> Response:
    """An unexpected exception: the client gets the session id only, the log gets the traceback."""
    session: str = request.scope.get("session", "")
    with session_context(session):
        log.error("unexpected exception in an endpoint", exc_info=error)
    response = error_response(InternalError(), session)
    # This handler runs outside all middleware, which sets these headers otherwise.
    response.headers.update({REQUEST_ID: session, **SECURITY_HEADERS})
    return response
