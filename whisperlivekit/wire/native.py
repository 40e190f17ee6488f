"""The native WebSocket protocol, version 1, as docs/protocol.md describes it.

One module although it is long: half of it says for each wrong message what was found and what is allowed.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from enum import Enum, auto
from typing import Annotated, Any, Literal, assert_never

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, from_json

from whisperlivekit.audio.pcm import CHANNELS, ENCODINGS, SAMPLE_RATES, Encoding, PcmDecoder
from whisperlivekit.core.commands import Audio, Command, Flush, Resume, Start, Stop
from whisperlivekit.core.events import (
    Committed,
    Done,
    Draining,
    Event,
    Flushed,
    Gap,
    OfChannel,
    Partial,
    Progress,
    Ready,
    Refined,
    SpeechStarted,
    SpeechStopped,
    UtteranceEnded,
)
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.core.units import to_samples, to_seconds
from whisperlivekit.errors import BadMessage, ClientError, UnsupportedFormat, WhisperLiveKitError
from whisperlivekit.wire.adapter import MAX_MESSAGE_BYTES, Message
from whisperlivekit.wire.languages import check_language
from whisperlivekit.wire.options import MAX_HOTWORD, MAX_HOTWORDS, MAX_PROMPT
from whisperlivekit.wire.wording import describe_value

PROTOCOL = 1

MAX_STREAM_S = 10_000_000.0
"""The latest time in seconds that a client may send (115 days). Sample positions up to it are exact in JavaScript."""

SESSION_ID = re.compile(r"[0-9a-f]{16}")
"""The form of a stream's id. An id that a client sends back is used only in this form, because it goes into the log."""

_ROUNDING = 8
"""Samples by which a time that was rounded to milliseconds may be off."""


class _ClientMessage(BaseModel):
    # Strict types and no unknown fields: a misspelt option is an error instead of being ignored.
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


_Seconds = Annotated[float, Field(ge=0, le=MAX_STREAM_S, description="seconds from the beginning of the stream")]


class _WordMessage(_ClientMessage):
    text: str = Field(max_length=200, description="text of up to 200 characters")
    start: _Seconds
    end: _Seconds
    probability: float = Field(default=1.0, ge=0, le=1, description="a number from 0 to 1")

    def word(self) -> Word:
        start = to_samples(self.start)
        return Word(self.text, start, max(start, to_samples(self.end)), self.probability)


class _ChannelMessage(_ClientMessage):
    position: int = Field(ge=0, le=int(MAX_STREAM_S * 16_000), description="a whole number of samples, 0 or more")
    live_from: int | None = Field(
        default=None, ge=0, le=int(MAX_STREAM_S * 16_000), description="a whole number of samples, 0 or more"
    )
    words: list[_WordMessage] = Field(default=[], max_length=2000, description="a list of up to 2000 words")

    def resume(self, earliest: int = 0) -> Resume:
        """``earliest``: where the audio begins, if the client no longer has it from ``position`` on."""
        position = max(self.position, earliest)
        words = tuple(word.word() for word in self.words)
        live_from = max(position, self.live_from or 0)
        before = 0
        # A word that ends at the position may seem to end after it: a client knows times in whole milliseconds.
        while before < len(words) and words[before].end <= live_from + _ROUNDING:
            before += 1
        resume = Resume(None, position, words[before:])
        return replace(resume, live_from=live_from, unrefined=words[:before]) if self.live_from is not None else resume


class _ResumeMessage(_ChannelMessage):
    session: str | None = Field(default=None, max_length=64, description="the id in the stream's first ready")
    channels: list[_ChannelMessage] | None = Field(
        default=None, max_length=CHANNELS[-1], description=f"a list of {CHANNELS[-1]} objects, one for each channel"
    )

    @model_validator(mode="before")
    @classmethod
    def _ignore_context(cls, found: Any) -> Any:
        # Earlier clients send it, also pages that were open while the server was upgraded: they must be able to resume.
        return {name: value for name, value in found.items() if name != "context"} if isinstance(found, dict) else found

    def resume(self, earliest: int = 0) -> Resume:
        # An id of another form ("unknown" in earlier clients) is no reason to lose a stream: it gets a new id.
        known = self.session is not None and SESSION_ID.fullmatch(self.session)
        channels = tuple(channel.resume(self.position) for channel in self.channels or ())
        return replace(
            _ChannelMessage.resume(self, earliest), session=self.session if known else None, channels=channels
        )


_Hotword = Annotated[
    str, Field(min_length=1, max_length=MAX_HOTWORD, description=f"text of 1 to {MAX_HOTWORD} characters")
]


class _StartMessage(_ClientMessage):
    type: Literal["start"]
    encoding: Encoding = Field(default="pcm_s16le", description=f"one of {', '.join(ENCODINGS)}")
    sample_rate: int = Field(
        default=16_000,
        ge=SAMPLE_RATES[0],
        le=SAMPLE_RATES[-1],
        description=f"a whole number from {SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]}",
    )
    channels: int = Field(default=1, ge=CHANNELS[0], le=CHANNELS[-1], description="1 or 2")
    multichannel: bool = Field(default=False, description="true or false")
    language: str | None = Field(default=None, description='a Whisper language code such as "ru", or "auto"')
    prompt: str | None = Field(
        default=None, max_length=MAX_PROMPT, description=f"text of up to {MAX_PROMPT} characters"
    )
    hotwords: list[_Hotword] = Field(
        default=[], max_length=MAX_HOTWORDS, description=f"a list of up to {MAX_HOTWORDS} words or phrases"
    )
    commit: Literal["words", "utterance"] = Field(default="words", description='"words" or "utterance"')
    refine: bool = Field(default=False, description="true or false")
    task: Literal["transcribe", "translate"] = Field(default="transcribe", description='"transcribe" or "translate"')
    resume: _ResumeMessage | None = Field(default=None, description="an object: see Resume in the protocol")

    def check_together(self) -> None:
        """Raises BadMessage if fields do not go together."""
        resume = self.resume
        if self.multichannel and self.channels == 1:
            raise BadMessage("start.multichannel is true with start.channels 1, expected start.channels 2")
        if self.refine and self.task == "translate":
            raise BadMessage("start.refine is given with start.task translate, expected one of them")
        if resume is None:
            return
        if self.multichannel:
            found = "missing" if resume.channels is None else f"a list of {len(resume.channels)}"
            if resume.channels is None or len(resume.channels) != self.channels:
                raise BadMessage(f"start.resume.channels is {found}, expected a list of {self.channels} objects")
            if resume.words or resume.live_from is not None:
                raise BadMessage("start.resume has words or live_from, expected them in start.resume.channels")
        elif resume.channels is not None:
            raise BadMessage("start.resume.channels is given without start.multichannel, expected both or neither")
        live = [known.live_from for known in (resume, *(resume.channels or ()))]
        if not self.refine and any(position is not None for position in live):
            raise BadMessage("start.resume.live_from is given without start.refine, expected both or neither")


class _FlushMessage(_ClientMessage):
    type: Literal["flush"]


class _StopMessage(_ClientMessage):
    type: Literal["stop"]


_MESSAGES: dict[str, type[_StartMessage] | type[_FlushMessage] | type[_StopMessage]] = {
    "start": _StartMessage,
    "flush": _FlushMessage,
    "stop": _StopMessage,
}

_FORMAT_FIELDS = {"encoding", "sample_rate", "channels", "language"}
"""Fields in which a value of the right type that this server does not support is ``unsupported_format``."""

_WRONG_KIND = {"string_type", "int_type", "list_type", "model_type", "model_attributes_type", "float_type"}

_SPOKEN_FIELDS = {"prompt", "hotwords", "text"}
"""Fields that hold what people said: an error message gives the length of their text, not the text."""


class _Stage(Enum):
    """What a connection has received. AWAITING_START --start--> STREAMING --stop--> STOPPED."""

    AWAITING_START = auto()
    STREAMING = auto()
    STOPPED = auto()


class NativeAdapter:
    """Translates one connection's messages into commands, and events into messages."""

    resumes = True
    may_be_silent = False
    continues = False
    holds_text = False

    def __init__(self) -> None:
        self._stage = _Stage.AWAITING_START
        self._decoder = PcmDecoder()
        self._seq = 0

    def open(self, session: str) -> list[Command]:  # noqa: ARG002  (the interface of adapters)
        """Nothing: the client begins."""
        return []

    def receive(self, message: Message) -> list[Command]:
        """The commands in a client's message. The first command of a connection is always ``Start``.

        Raises:
            ClientError: the message does not follow the protocol; the connection must end with this error.
        """
        if self._stage is _Stage.STOPPED:
            raise BadMessage(f"found {_kind(message)} after stop, expected nothing more")
        if isinstance(message, bytes):
            return self._receive_audio(message)
        return self._receive_text(message)

    def _receive_audio(self, chunk: bytes) -> list[Command]:
        if self._stage is _Stage.AWAITING_START:
            raise BadMessage(
                f'found {_kind(chunk)} before the start, expected {{"type": "start", ...}} as first message'
            )
        samples = self._decoder.feed(chunk)
        return [Audio(samples)] if samples.size else []

    def _receive_text(self, text: str) -> list[Command]:
        message = _parse(text)
        if isinstance(message, _StartMessage):
            if self._stage is not _Stage.AWAITING_START:
                raise BadMessage("found a second start, expected audio, flush or stop after the first one")
            language = None if message.language is None else check_language(message.language)
            message.check_together()
            self._decoder = PcmDecoder(
                message.encoding, message.sample_rate, message.channels, split=message.multichannel
            )
            self._stage = _Stage.STREAMING
            resume = message.resume.resume() if message.resume else None
            return [
                Start(
                    language,
                    message.prompt,
                    tuple(message.hotwords),
                    resume,
                    commit=message.commit,
                    refine=message.refine,
                    channels=message.channels if message.multichannel else 1,
                    task=message.task,
                )
            ]
        if self._stage is _Stage.AWAITING_START:
            raise BadMessage(
                f'found {message.type} before the start, expected {{"type": "start", ...}} as first message'
            )
        if isinstance(message, _FlushMessage):
            return [Flush()]
        self._stage = _Stage.STOPPED
        rest = self._decoder.flush()
        return [Audio(rest), Stop()] if rest.size else [Stop()]

    def send(self, event: Event) -> list[Message]:
        """The message for an event; always exactly one."""
        fields = _fields(event)
        if isinstance(event, OfChannel) and event.channel is not None:
            fields["channel"] = event.channel
        return [self._encode(**fields)]

    def fail(self, error: WhisperLiveKitError, session: str) -> list[Message]:
        """The ``error`` message that ends a connection; ``session`` is the id to quote in a report."""
        return [self._encode(type="error", code=error.code, message=error.message, session=session)]

    def _encode(self, type: str, **fields: Any) -> str:  # noqa: A002  (the field's name in the protocol)
        message = {"type": type, "seq": self._seq, **fields}
        self._seq += 1
        return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


# ------------------------------------------------------------------------------------------------- server to client


def _fields(event: Event) -> dict[str, Any]:
    match event:
        case Ready(session, model, language, position):
            return {
                "type": "ready",
                "session": session,
                "protocol": PROTOCOL,
                "model": model,
                "language": language,
                "position": position,
                "max_message_bytes": MAX_MESSAGE_BYTES,
            }
        case SpeechStarted(at) | SpeechStopped(at):
            kind = "speech_started" if isinstance(event, SpeechStarted) else "speech_stopped"
            return {"type": kind, "at": to_seconds(at)}
        case Partial(text, start, end):
            return {"type": "partial", "text": text} | _span(start, end)
        case Committed(words):
            span = _span(words[0].start, words[-1].end)
            return {"type": "committed", "text": event.text, "words": _words(words)} | span | _kept(event)
        case Refined(start, end, words, replaces):
            replaced = {"replaces": replaces} | _kept(event)
            return {"type": "refined", "text": event.text, "words": _words(words)} | _span(start, end) | replaced
        case UtteranceEnded(start, end):
            return {"type": "utterance_ended"} | _span(start, end) | _kept(event)
        case Flushed(at):
            return {"type": "flushed", "at": to_seconds(at)} | _kept(event)
        case Gap(start, end, reason):
            return {"type": "gap"} | _span(start, end) | {"reason": reason} | _kept(event)
        case Progress(received, settled):
            return {
                "type": "progress",
                "received_s": to_seconds(received),
                "settled_s": to_seconds(settled),
                "lag_s": to_seconds(received - settled),
            } | _kept(event)
        case Draining():
            return {"type": "draining"}
        case Done(received, speech, words, utterances, gaps):
            return {
                "type": "done",
                "audio_s": to_seconds(received),
                "speech_s": to_seconds(speech),
                "words": words,
                "utterances": utterances,
                "gap_s": to_seconds(gaps),
            }
        case _:
            assert_never(event)


def _words(words: Sequence[Word]) -> list[dict[str, Any]]:
    return [
        {"text": word.text.strip()} | _span(word.start, word.end) | {"probability": round(word.probability, 3)}
        for word in words
    ]


def _kept(event: Committed | Refined | UtteranceEnded | Flushed | Gap | Progress) -> dict[str, int]:
    live_from = {} if event.live_from is None else {"live_from": event.live_from}
    return {"kept_from": event.kept_from} | live_from


def _span(start: int, end: int) -> dict[str, Any]:
    return {"start": to_seconds(start), "end": to_seconds(end)}


# ------------------------------------------------------------------------------------------------- client to server


def _parse(text: str) -> _StartMessage | _FlushMessage | _StopMessage:
    try:
        found = from_json(text, allow_inf_nan=False)
    except ValueError:
        raise BadMessage(f"found {_kind(text)} that is not JSON, expected a JSON object with a type") from None
    if not isinstance(found, dict):
        raise BadMessage(f"found JSON that is {describe_value(found)}, expected an object with a type")
    kind = found.get("type")
    if not isinstance(kind, str) or kind not in _MESSAGES:
        missing = "type" not in found
        what = "a message without a type" if missing else f"a message of type {describe_value(kind)}"
        raise BadMessage(f"found {what}, expected one of {', '.join(_MESSAGES)}{_nearest(kind, _MESSAGES)}")
    try:
        return _MESSAGES[kind].model_validate(found)
    except ValidationError as error:
        raise _client_error(kind, error.errors(include_url=False, include_context=False)[0]) from None


def _client_error(kind: str, error: ErrorDetails) -> ClientError:
    location = error["loc"]
    path = _path(kind, location)
    if error["type"] == "extra_forbidden":
        name = str(location[-1])
        fields = _model_at(kind, location[:-1]).model_fields
        allowed = ", ".join(field for field in fields if field != "type") or "no other field"
        hint = _nearest(name, fields)
        return BadMessage(f"{path[:80]} is an unknown field, expected {allowed}{hint}")
    expected = _expected(kind, location)
    if error["type"] == "missing":
        return BadMessage(f"{path} is missing, expected {expected}")
    spoken = any(step in _SPOKEN_FIELDS for step in location)
    found = describe_value(error["input"], quote=not spoken)
    message = f"{path} is {found}, expected {expected}"
    unsupported = location[0] in _FORMAT_FIELDS and error["type"] not in _WRONG_KIND
    if location[0] == "encoding":
        unsupported = isinstance(error["input"], str)
        message += _nearest(error["input"], ENCODINGS)
    return UnsupportedFormat(message) if unsupported else BadMessage(message)


def _path(kind: str, location: tuple[int | str, ...]) -> str:
    path = kind
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    return path


def _model_at(kind: str, location: tuple[int | str, ...]) -> type[BaseModel]:
    """The model of the object that has the field at ``location``."""
    match [step for step in location if isinstance(step, str)]:
        case ["resume", "words", *_] | ["resume", "channels", "words", *_]:
            return _WordMessage
        case ["resume", "channels"]:
            return _ChannelMessage
        case ["resume", *_]:
            return _ResumeMessage
    return _MESSAGES[kind]


def _expected(kind: str, location: tuple[int | str, ...]) -> str:
    if location[0] == "hotwords" and len(location) > 1:
        return f"text of 1 to {MAX_HOTWORD} characters"
    if isinstance(location[-1], int):
        item = "text, start, end and probability" if location[-2] == "words" else "position, live_from and words"
        return f"an object with {item}"
    names = [step for step in location if isinstance(step, str)]
    field = _model_at(kind, location[:-1]).model_fields.get(names[-1])
    return (field.description if field else None) or "something else"


def _kind(message: Message) -> str:
    if isinstance(message, bytes):
        return f"{len(message)} bytes of audio"
    return f"text of {len(message)} characters"


def _nearest(name: object, known: Iterable[str]) -> str:
    if not isinstance(name, str):
        return ""
    close = get_close_matches(name.lower()[:40], list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""
