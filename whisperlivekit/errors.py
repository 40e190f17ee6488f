"""Every error a user can meet: one tree, each with a code, an HTTP status, a WebSocket close code and a safe message.

Messages are lowercase and say what was found, then what is expected. They never hold a traceback, a path of the server
or transcript text.
"""

from typing import ClassVar


class WhisperLiveKitError(Exception):
    """Base of the tree; raised only through its subclasses."""

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500
    close_code: ClassVar[int] = 1011

    @property
    def message(self) -> str:
        return str(self)


class ClientError(WhisperLiveKitError):
    """The client's fault; the same request will fail again."""

    code = "bad_request"
    http_status = 400
    close_code = 1008


class BadMessage(ClientError):
    """A message that is not of the protocol's form, or not allowed at this point."""

    code = "bad_message"
    close_code = 1007


class BadAudio(ClientError):
    """Audio bytes that do not fit the announced format."""

    code = "bad_audio"
    http_status = 415
    close_code = 1007


class UnsupportedFormat(ClientError):
    """An encoding, sample rate, language or option that this server does not have."""

    code = "unsupported_format"
    http_status = 415
    close_code = 1003


class MessageTooBig(ClientError):
    code = "message_too_big"
    http_status = 413
    close_code = 1009


class Unauthorized(ClientError):
    code = "unauthorized"
    http_status = 401
    close_code = 1008


class ForbiddenOrigin(ClientError):
    code = "forbidden_origin"
    http_status = 403
    close_code = 1008


class TimedOut(ClientError):
    """The client said nothing for longer than allowed."""

    code = "timed_out"
    http_status = 408
    close_code = 1008


class NoCapacity(WhisperLiveKitError):
    """The server is full; trying later may help."""

    code = "server_full"
    http_status = 503
    close_code = 1013

    REASONS: ClassVar[tuple[str, ...]] = ("full", "slow", "late", "address")
    """All streams that fit are live; answers take too long; half of the streams are late; one address has its share."""

    def __init__(self, message: str, reason: str = "full") -> None:
        super().__init__(message)
        self.reason = reason


class ShuttingDown(WhisperLiveKitError):
    """This worker is going; another one will take the stream."""

    code = "shutting_down"
    http_status = 503
    close_code = 1012


class ServerFault(WhisperLiveKitError):
    """Ours."""


class DecodeFailed(ServerFault):
    """The model failed on this request; the next one may pass."""

    code = "decode_failed"


class ModelUnavailable(ServerFault):
    """The model cannot serve at all."""

    code = "model_unavailable"
    http_status = 503


class StartError(WhisperLiveKitError):
    """The program cannot start as configured; the message is for the operator."""

    code = "cannot_start"


class SettingsError(StartError):
    """A variable of the environment or of ``.env`` is wrong."""

    code = "bad_settings"


class ModelFileError(StartError):
    """A model file is missing, broken or not to be had."""

    code = "bad_model_file"
