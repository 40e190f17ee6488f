"""Every error that a user can meet: one tree, each with a code, an HTTP status and a WebSocket close code.

Messages are lowercase and say what was found, then what is expected. They never contain a traceback, a path on the
server or transcript text. A code never changes: clients and the web page's translations depend on it.
"""

from typing import ClassVar


class WhisperLiveKitError(Exception):
    """Base of the tree; only its subclasses are raised."""

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500
    close_code: ClassVar[int] = 1011

    @property
    def message(self) -> str:
        return str(self)


class ClientError(WhisperLiveKitError):
    """The client made a mistake; the same request will fail again."""

    code = "bad_request"
    http_status = 400
    close_code = 1008


class BadMessage(ClientError):
    """A message that does not follow the protocol, or is not allowed at this point."""

    code = "bad_message"
    close_code = 1007


class BadAudio(ClientError):
    """Audio bytes that do not match the announced format."""

    code = "bad_audio"
    http_status = 415
    close_code = 1007


class UnsupportedFormat(ClientError):
    """An encoding, sample rate, language or option that this server does not support."""

    code = "unsupported_format"
    http_status = 415
    close_code = 1003


class MessageTooBig(ClientError):
    """A message, request body or audio file above the limit."""

    code = "message_too_big"
    http_status = 413
    close_code = 1009


class Unauthorized(ClientError):
    """No API key, or a wrong one."""

    code = "unauthorized"
    http_status = 401
    close_code = 1008


class ForbiddenOrigin(ClientError):
    """A web page of another site asked."""

    code = "forbidden_origin"
    http_status = 403
    close_code = 1008


class UnknownHost(ClientError):
    """The request was sent to a host name that is not one of the server's."""

    code = "unknown_host"
    http_status = 421
    close_code = 1008


class TimedOut(ClientError):
    """The client took longer than allowed: to send something, to read, or in total."""

    code = "timed_out"
    http_status = 408
    close_code = 1008


class NoCapacity(WhisperLiveKitError):
    """The server is full; trying later may help."""

    code = "server_full"
    http_status = 503
    close_code = 1013

    REASONS: ClassVar[tuple[str, ...]] = ("full", "slow", "late", "address", "uploads")
    """full: no place for another stream. slow: decodes take too long. late: half of the streams are late. address: one
    client address has its share. uploads: too many files are being received."""

    def __init__(self, message: str, reason: str = "full") -> None:
        super().__init__(message)
        self.reason = reason


class ShuttingDown(WhisperLiveKitError):
    """This worker is shutting down; another one will take the stream."""

    code = "shutting_down"
    http_status = 503
    close_code = 1012


class ServerFault(WhisperLiveKitError):
    """A fault in the server."""


class InternalError(ServerFault):
    """An unexpected exception. Clients get this message only; the exception itself is in the log."""

    def __init__(self) -> None:
        super().__init__("internal error; the reason is in the server's log under the id of this session")


class DecodeFailed(ServerFault):
    """The model failed on this request; the next one may succeed."""

    code = "decode_failed"


class ModelUnavailable(ServerFault):
    """The model cannot serve at all."""

    code = "model_unavailable"
    http_status = 503


class StartError(WhisperLiveKitError):
    """The program cannot start as configured; the message is for the operator."""

    code = "cannot_start"


class SettingsError(StartError):
    """A variable in the environment or in ``.env`` is wrong."""

    code = "bad_settings"


class ModelFileError(StartError):
    """A model file is missing, damaged or cannot be obtained."""

    code = "bad_model_file"
