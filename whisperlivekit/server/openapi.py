"""What ``GET /openapi.json`` tells: the HTTP side of the server. The WebSocket's is told by docs/protocol.md."""

from typing import Any

from whisperlivekit import __version__
from whisperlivekit.wire.openai_rest import RESPONSE_FORMATS

_TEXT = {"type": "string"}
_SECONDS = {"type": "number", "minimum": 0}


def _object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {**required, **optional}, "required": list(required)}


def _json(description: str, schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}


def _text(description: str, media_type: str = "text/plain") -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": _TEXT}}}


_WORD = _object({"word": _TEXT, "start": _SECONDS, "end": _SECONDS, "probability": {"type": "number"}})
_SEGMENT = _object({"id": {"type": "integer"}, "start": _SECONDS, "end": _SECONDS, "text": _TEXT})
_SCHEMAS = {
    "Readiness": _object(
        {
            "status": {"enum": ["loading", "ready", "full", "failed", "draining"]},
            "streams": {"type": "integer", "minimum": 0},
        },
        message=_TEXT,
    ),
    "Refusal": _object({"code": _TEXT, "message": _TEXT, "session": _TEXT}),
    "OpenAIError": _object(
        {"error": _object({"message": _TEXT, "type": _TEXT, "param": {}, "code": _TEXT, "session": _TEXT})}
    ),
    "Hint": _object({"message": _TEXT}),
    "Transcription": _object(
        {"text": _TEXT},
        task=_TEXT,
        language={"type": ["string", "null"], "description": "null where none was asked for and nothing was heard"},
        duration=_SECONDS,
        segments={"type": "array", "items": _SEGMENT},
        words={"type": "array", "items": _WORD},
        gap_s=_SECONDS,
    ),
}

_FILE = _object(
    {"file": {"type": "string", "format": "binary", "description": "any audio file that FFmpeg's libraries read"}},
    model={"type": "string", "description": "ignored: the server has one model"},
    language={"type": "string", "description": 'a Whisper language code such as "ru", or "auto"'},
    prompt={"type": "string", "maxLength": 1000},
    response_format={"type": "string", "enum": list(RESPONSE_FORMATS), "default": "json"},
    temperature={"type": "string", "description": "ignored"},
)

_TRANSCRIBED: dict[str, Any] = {
    "description": "the transcript, in the format that was asked for",
    "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/Transcription"}},
        "text/plain": {"schema": _TEXT},
        "application/x-subrip": {"schema": _TEXT},
        "text/vtt": {"schema": _TEXT},
    },
}

SCHEMA: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "WhisperLiveKit", "version": __version__},
    "paths": {
        "/live": {"get": {"summary": "the process runs", "responses": {"200": _text("it does")}}},
        "/ready": {
            "get": {
                "summary": "whether a new stream would be taken",
                "responses": {"200": _json("it would", "Readiness"), "503": _json("it would not", "Readiness")},
            }
        },
        "/metrics": {"get": {"summary": "for Prometheus", "responses": {"200": _text("the numbers of all workers")}}},
        "/ws": {
            "get": {
                "summary": "why a WebSocket would be refused; itself it is one",
                "security": [{}, {"key": []}, {"token": []}],
                "responses": {
                    "401": _json("no key, or a wrong one", "Refusal"),
                    "403": _json("a page of another site", "Refusal"),
                    "426": _json("it would be accepted", "Hint"),
                    "503": _json("the server is full, loading or going: Retry-After says when", "Refusal"),
                },
            }
        },
        "/v1/audio/transcriptions": {
            "post": {
                "summary": "transcribe a file",
                "security": [{}, {"key": []}, {"token": []}],
                "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FILE}}},
                "responses": {
                    "200": _TRANSCRIBED,
                    **{
                        status: _json(description, "OpenAIError")
                        for status, description in {
                            "400": "a form that cannot be read, or a field that is unknown or wrong",
                            "401": "no key, or a wrong one",
                            "403": "a page of another site",
                            "413": "too big",
                            "415": "audio or a language that the server does not know",
                            "500": "a failure of the server",
                            "503": "the server is full, loading or going: Retry-After says when",
                        }.items()
                    },
                },
            }
        },
    },
    "components": {
        "schemas": _SCHEMAS,
        "securitySchemes": {
            "key": {"type": "http", "scheme": "bearer"},
            "token": {"type": "apiKey", "in": "query", "name": "token"},
        },
    },
}
