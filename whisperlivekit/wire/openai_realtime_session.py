"""What a client sends in OpenAI's Realtime API, and the configuration that it makes of it."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, from_json

from whisperlivekit.audio.pcm import SAMPLE_RATES, Encoding, PcmDecoder
from whisperlivekit.core.commands import Configure
from whisperlivekit.errors import ClientError
from whisperlivekit.wire.languages import AUTO, check_language
from whisperlivekit.wire.options import MAX_HOTWORD, MAX_HOTWORDS, MAX_PROMPT
from whisperlivekit.wire.wording import describe_value

LOGPROBS = "item.input_audio_transcription.logprobs"
"""The value of ``include`` that asks for the words' probabilities."""

SILENCE_MS = (100, 5_000)
"""Shortest and longest silence that may end an utterance: the bounds of the server's setting. Another one is moved."""

PCM_RATE = 24_000
"""Source: the only rate that OpenAI takes. Other rates are accepted here."""

_G711_RATE = 8_000


class _ClientMessage(BaseModel):
    # Unknown fields are ignored: OpenAI adds some every few months. The classes of the session hold the effective
    # configuration too: their defaults are those of a new session.
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, frozen=True)


_Short = Annotated[str, Field(max_length=200)]


class _Format(_ClientMessage):
    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate: int | None = Field(default=None, ge=SAMPLE_RATES[0], le=SAMPLE_RATES[-1])

    def decoder(self) -> PcmDecoder:
        """Of audio that begins here."""
        encodings: dict[str, Encoding] = {"audio/pcm": "pcm_s16le", "audio/pcmu": "mulaw", "audio/pcma": "alaw"}
        return PcmDecoder(encodings[self.type], self.samples_per_second)

    @property
    def samples_per_second(self) -> int:
        return self.rate or (PCM_RATE if self.type == "audio/pcm" else _G711_RATE)


class _NoiseReduction(_ClientMessage):
    type: _Short | None = None


class _Transcription(_ClientMessage):
    model: _Short | None = None
    language: _Short | None = None
    languages: list[_Short] | None = Field(default=None, max_length=100)
    prompt: str | None = None
    keywords: list[str] | None = None
    delay: _Short | None = None

    @property
    def asked_language(self) -> str | None:
        """A code, "auto", or None for the server's default.

        Raises:
            ClientError: it is not known.
        """
        if self.language:
            return check_language(self.language)
        if self.languages:
            known = {check_language(language) for language in self.languages}
            return known.pop() if len(known) == 1 else AUTO
        return None

    @property
    def used_keywords(self) -> tuple[str, ...]:
        short = (keyword.strip() for keyword in self.keywords or ())
        return tuple(keyword for keyword in short if 0 < len(keyword) <= MAX_HOTWORD)[:MAX_HOTWORDS]

    def bounded(self) -> "_Transcription":
        """Less what is not used."""
        prompt = None if self.prompt is None else self.prompt[-MAX_PROMPT:]
        keywords = None if self.keywords is None else list(self.used_keywords)
        return self.model_copy(update={"prompt": prompt, "keywords": keywords})


class _TurnDetection(_ClientMessage):
    type: Literal["server_vad", "semantic_vad"] = "server_vad"
    threshold: float | None = None
    prefix_padding_ms: float | None = None
    silence_duration_ms: float | None = None
    idle_timeout_ms: float | None = None
    eagerness: _Short | None = None

    def fields(self, default_silence_ms: int) -> dict[str, Any]:
        if self.type == "semantic_vad":
            return {"type": self.type, "eagerness": self.eagerness or "auto"}
        return {
            "type": self.type,
            "threshold": 0.5 if self.threshold is None else self.threshold,
            "prefix_padding_ms": 300 if self.prefix_padding_ms is None else self.prefix_padding_ms,
            "silence_duration_ms": self.silence_ms or default_silence_ms,
            "idle_timeout_ms": self.idle_timeout_ms,
        }

    @property
    def silence_ms(self) -> int | None:
        """None: the server's setting."""
        if self.type == "semantic_vad" or self.silence_duration_ms is None:
            return None
        return round(min(max(self.silence_duration_ms, SILENCE_MS[0]), SILENCE_MS[1]))


class _Input(_ClientMessage):
    format: _Format | None = _Format()
    transcription: _Transcription | None = _Transcription()
    noise_reduction: _NoiseReduction | None = None
    turn_detection: _TurnDetection | None = _TurnDetection()


class _Audio(_ClientMessage):
    input: _Input | None = _Input()


class SessionFields(_ClientMessage):
    audio: _Audio | None = _Audio()
    include: list[_Short] | None = Field(default=None, max_length=100)


class Append(_ClientMessage):
    type: Literal["input_audio_buffer.append"]
    audio: str


class Update(_ClientMessage):
    type: Literal["session.update"]
    session: SessionFields


class Commit(_ClientMessage):
    type: Literal["input_audio_buffer.commit"]


class Clear(_ClientMessage):
    type: Literal["input_audio_buffer.clear"]


_MESSAGES: dict[str, type[Append | Update | Commit | Clear]] = {
    "session.update": Update,
    "input_audio_buffer.append": Append,
    "input_audio_buffer.commit": Commit,
    "input_audio_buffer.clear": Clear,
}

_SPOKEN_FIELDS = {"prompt", "keywords"}
"""Fields that hold what people said: an error message gives the length of their text, not the text."""

_Part = TypeVar("_Part", bound=_ClientMessage)


def _merged(before: _Part, update: _Part) -> _Part:
    """An absent field keeps its value, and null resets it."""
    changes: dict[str, Any] = {}
    for name in update.model_fields_set:
        old, new = getattr(before, name), getattr(update, name)
        if name == "turn_detection" and new is None:
            changes[name] = None
        elif new is None:
            changes[name] = type(before).model_fields[name].get_default()
        elif isinstance(old, _ClientMessage) and getattr(old, "type", None) == getattr(new, "type", None):
            changes[name] = _merged(old, new)
        else:
            changes[name] = new
    return before.model_copy(update=changes)


@dataclass(frozen=True, slots=True)
class RealtimeConfig:
    """The session's effective configuration."""

    session: SessionFields = field(default_factory=SessionFields)

    @property
    def input(self) -> _Input:
        assert self.session.audio is not None
        assert self.session.audio.input is not None
        return self.session.audio.input

    @property
    def format(self) -> _Format:
        assert self.input.format is not None
        return self.input.format

    @property
    def transcription(self) -> _Transcription:
        assert self.input.transcription is not None
        return self.input.transcription

    @property
    def turns(self) -> _TurnDetection | None:
        """None: the client commits."""
        return self.input.turn_detection

    @property
    def logprobs(self) -> bool:
        return LOGPROBS in (self.session.include or ())

    def updated(self, update: SessionFields) -> "RealtimeConfig":
        """The configuration after a ``session.update``.

        Raises:
            Refused: the language is unknown. Nothing has changed.
        """
        found = RealtimeConfig(_merged(self.session, update))
        transcription = found.transcription.bounded()
        try:
            _ = transcription.asked_language
        except ClientError as error:
            raise Refused(error.message, "invalid_value", "session.audio.input.transcription.language") from None
        bounded = found.input.model_copy(update={"transcription": transcription})
        include = [LOGPROBS] if found.logprobs else None
        return RealtimeConfig(SessionFields(audio=_Audio(input=bounded), include=include))

    @property
    def options(self) -> Configure:
        """What the decoder and the speech detector need of it."""
        silence_ms = self.turns.silence_ms if self.turns else None
        return Configure(
            self.transcription.asked_language,
            self.transcription.prompt or None,
            self.transcription.used_keywords,
            None if silence_ms is None else silence_ms / 1000,
        )

    def fields(self, model: str, default_silence_ms: int) -> dict[str, Any]:
        """The session object's fields that a client can set. ``model``: the server's name for its model."""
        transcription = self.transcription.model_dump()
        rate = {"rate": self.format.samples_per_second} if self.format.type == "audio/pcm" else {}
        fields = {
            "format": {"type": self.format.type, **rate},
            "transcription": transcription | {"model": transcription["model"] or model},
            "noise_reduction": self.input.noise_reduction and self.input.noise_reduction.model_dump(),
            "turn_detection": self.turns and self.turns.fields(default_silence_ms),
        }
        return {"audio": {"input": fields}, "include": self.session.include}


class Refused(Exception):
    """A client's message that is answered with an error."""

    def __init__(self, message: str, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


def client_id(found: dict[str, Any]) -> str | None:
    """The id that the client gave to its message."""
    asked = found.get("event_id")
    return asked[:512] if isinstance(asked, str) else None


def parse(message: str | bytes) -> dict[str, Any]:
    """The object in a client's message.

    Raises:
        Refused: it is none.
    """
    if isinstance(message, bytes):
        raise Refused(f"found {len(message)} bytes, expected a JSON object as text", "invalid_value")
    try:
        found = from_json(message, allow_inf_nan=False)
    except ValueError:
        what = f"found {len(message)} characters that are not JSON"
        raise Refused(f"{what}, expected a JSON object", "invalid_json") from None
    if not isinstance(found, dict):
        raise Refused(f"found JSON that is {describe_value(found)}, expected an object with a type", "invalid_value")
    return found


def validate(found: dict[str, Any]) -> Append | Update | Commit | Clear:
    """The message that the object is.

    Raises:
        Refused: it is of another type, or a field is wrong.
    """
    kind = found.get("type")
    if not isinstance(kind, str) or kind not in _MESSAGES:
        what = f"type is {describe_value(kind)}" if "type" in found else "type is missing"
        known = ", ".join(_MESSAGES)
        raise Refused(f"{what}, expected one of {known}: this server only transcribes", "invalid_value", "type")
    try:
        return _MESSAGES[kind].model_validate(found)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False, include_context=False)[0]) from None


def _refusal(error: ErrorDetails) -> Refused:
    param = ".".join(str(step) for step in error["loc"])
    expected = error["msg"].removeprefix("Input should be ")
    if error["type"] == "missing":
        return Refused(f"{param} is missing", "missing_required_parameter", param)
    found = describe_value(error["input"], quote=not _SPOKEN_FIELDS & set(error["loc"]) and param != "audio")
    return Refused(f"{param} is {found}, expected {expected}", "invalid_value", param)
