"""Wyoming, the protocol between Home Assistant and its voice services, for speech to text.

A frame is a line of JSON, then data, which is JSON too, then a payload; the line says how long these two are. A client
may ask for several transcriptions on one connection: each begins with ``audio-start`` and ends with ``audio-stop``. A
``WyomingConversation`` is the connection, and makes a ``WyomingAdapter`` for each transcription.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from whisperlivekit.audio.pcm import PcmDecoder
from whisperlivekit.core.commands import Audio, Command, Configure, Start, Stop
from whisperlivekit.core.events import Committed, Done, Event, Ready
from whisperlivekit.errors import (
    BadMessage,
    DecodeFailed,
    MessageTooBig,
    ShuttingDown,
    UnsupportedFormat,
    WhisperLiveKitError,
)
from whisperlivekit.wire.adapter import MAX_MESSAGE_BYTES, Message, Reply
from whisperlivekit.wire.languages import LANGUAGES, check_language
from whisperlivekit.wire.options import MAX_HOTWORD, MAX_HOTWORDS

MAX_LINE_BYTES = 64 * 1024
"""The longest line of a frame: what the reference implementation's reader takes (asyncio's default)."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message, of either side."""

    type: str
    data: Mapping[str, Any]
    payload: bytes = b""


def encode(type: str, data: Mapping[str, Any] | None = None, payload: bytes = b"") -> bytes:  # noqa: A002  (as in JSON)
    """A frame. The server sends none with a payload."""
    body = json.dumps(data, ensure_ascii=False).encode() if data else b""
    lengths = {"data_length": len(body), "payload_length": len(payload)}
    line = {"type": type} | {name: length for name, length in lengths.items() if length}
    return json.dumps(line).encode() + b"\n" + body + payload


def error_event(error: WhisperLiveKitError) -> bytes:
    """What a client is told of an error."""
    return encode("error", {"text": error.message, "code": error.code})


def describe_server(version: str, model: str, maker: str) -> bytes:
    """The answer to ``describe``. ``maker``: who made the model, may be empty.

    Home Assistant shows the languages of the installed models. It finds the end of a command itself
    (``requires_external_vad``): a transcription ends when the client says so.
    """
    program = {
        "name": "WhisperLiveKit",
        "description": "Speech to text while it is spoken",
        "version": version,
        "attribution": {"name": "WhisperLiveKit", "url": ""},
        "installed": True,
        "models": [
            {
                "name": model,
                "description": f"Whisper {model}",
                "version": None,
                "attribution": {"name": maker, "url": ""},
                "installed": True,
                "languages": list(LANGUAGES),
            }
        ],
        "supports_transcript_streaming": True,
        "requires_external_vad": True,
    }
    others = ("tts", "handle", "intent", "wake", "mic", "snd")
    return encode("info", {"asr": [program]} | {name: [] for name in others})


# --------------------------------------------------------------------------------------------------------------- frames


@dataclass(frozen=True, slots=True)
class _Line:
    """The first line of a frame."""

    type: str
    data: dict[str, Any]
    data_bytes: int
    payload_bytes: int


class FrameReader:
    """Cuts what a client sends into frames. Holds at most one frame, and what was received with it."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._searched = 0
        """Bytes in which there is no end of a line."""
        self._line: _Line | None = None
        """The line of a frame whose rest has not arrived."""

    def feed(self, received: bytes) -> None:
        """Any part of the stream."""
        self._received += received

    def take(self) -> Frame | None:
        """The next frame; None if it has not arrived.

        Raises:
            BadMessage: this is no frame. Nothing can be read after it.
            MessageTooBig: the frame is longer than allowed.
        """
        if self._line is None:
            self._line = self._take_line()
            if self._line is None:
                return None
        line = self._line
        end = line.data_bytes + line.payload_bytes
        if len(self._received) < end:
            return None
        body = bytes(self._received[:end])
        del self._received[:end]
        self._line = None
        data = line.data
        if line.data_bytes:
            data = data | _object(body[: line.data_bytes], "the data")
        return Frame(line.type, data, body[line.data_bytes :])

    def _take_line(self) -> _Line | None:
        end = self._received.find(b"\n", self._searched)
        if (end if end >= 0 else len(self._received)) > MAX_LINE_BYTES:
            raise MessageTooBig(f"found no end of a line in {MAX_LINE_BYTES} bytes, expected a line of JSON")
        if end < 0:
            self._searched = len(self._received)
            return None
        found = _object(bytes(self._received[:end]), "a line")
        del self._received[: end + 1]
        self._searched = 0
        kind = found.get("type")
        if not isinstance(kind, str):
            raise BadMessage("found a line without a type, expected the type of an event")
        data = found.get("data")
        if not isinstance(data, dict | None):
            raise BadMessage(f"data of {kind[:40]} is no object, expected an object")
        lengths = [_length(found, name) for name in ("data_length", "payload_length")]
        if end + sum(lengths) > MAX_MESSAGE_BYTES:
            raise MessageTooBig(f"{kind[:40]} has {end + sum(lengths)} bytes, expected up to {MAX_MESSAGE_BYTES}")
        return _Line(kind, data or {}, *lengths)


def _object(text: bytes, what: str) -> dict[str, Any]:
    try:
        found = from_json(text, allow_inf_nan=False)
    except ValueError:
        raise BadMessage(f"found {what} that is not JSON, expected a JSON object") from None
    if not isinstance(found, dict):
        raise BadMessage(f"found {what} that is no JSON object, expected an object")
    return found


def _length(line: Mapping[str, Any], name: str) -> int:
    found = line.get(name)
    if found is None:
        return 0
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise BadMessage(f"{name} is not a number of bytes, expected a whole number, 0 or more")
    return found


# --------------------------------------------------------------------------------------------------- client to server


class _Data(BaseModel):
    # Newer clients send fields that this server does not know.
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Transcribe(_Data):
    """What to do with the audio that follows. ``name``, a model, is ignored: there is one."""

    language: str | None = None
    context: dict[str, Any] | None = None
    """Comes back with the transcript: the client's pipeline keeps it there."""
    transcript_names: list[str] | None = None
    transcript_terms: list[str] | None = None

    @property
    def hotwords(self) -> tuple[str, ...]:
        words = [word.strip() for word in (self.transcript_names or []) + (self.transcript_terms or [])]
        # Home Assistant may send the names of all its devices: the first ones are used.
        return tuple(word for word in words if 1 <= len(word) <= MAX_HOTWORD)[:MAX_HOTWORDS]


class _Format(_Data):
    """Of the audio. Home Assistant sends exactly these defaults."""

    rate: int = 16_000
    width: int = 2
    channels: int = 1


_AnyData = TypeVar("_AnyData", bound=_Data)


def _read(model: type[_AnyData], frame: Frame, defaults: Mapping[str, Any] | None = None) -> _AnyData:
    try:
        return model.model_validate({**(defaults or {}), **frame.data})
    except ValidationError as error:
        [first, *_] = error.errors(include_url=False, include_context=False, include_input=False)
        path = ".".join(str(step) for step in (frame.type, *first["loc"]))
        raise BadMessage(f"{path} is wrong: {first['msg'].lower()}") from None


def _checked_language(asked: _Transcribe) -> str | None:
    return None if asked.language is None else check_language(asked.language)


class WyomingConversation:
    """One connection: what is said between transcriptions, and the transcriptions."""

    def __init__(self, info: bytes) -> None:
        """``info``: the answer to ``describe``."""
        self.frames = FrameReader()
        self._info = info
        self._asked = _Transcribe()

    def feed(self, received: bytes) -> None:
        """Any part of what the client sends."""
        self.frames.feed(received)

    def next(self) -> "bytes | WyomingAdapter | None":
        """What to do next: send an answer, or serve a transcription to its end. None: wait for the client.

        Raises:
            ClientError: the client made a mistake; the connection must end with this error.
        """
        while (frame := self.frames.take()) is not None:
            match frame.type:
                case "transcribe":
                    self._asked = _read(_Transcribe, frame)
                    _checked_language(self._asked)
                case "audio-start" | "audio-chunk":
                    asked, self._asked = self._asked, _Transcribe()
                    return WyomingAdapter(self.frames, frame, asked, self._info)
                case _:
                    if (answer := _answer(frame, self._info)) is not None:
                        return answer
        return None


def _answer(frame: Frame, info: bytes) -> bytes | None:
    """The answer that needs no session; None for events that need none, known or not."""
    match frame.type:
        case "describe":
            return info
        case "ping":
            text = frame.data.get("text")
            return encode("pong", {"text": text} if isinstance(text, str) else None)
        case _:
            return None


class WyomingAdapter:
    """One transcription, from ``audio-start`` to ``transcript-stop``."""

    resumes = False
    may_be_silent = False
    continues = False

    def __init__(self, frames: FrameReader, first: Frame, asked: _Transcribe, info: bytes) -> None:
        """``first``: the frame that began it, ``audio-start`` or, from clients without it, ``audio-chunk``."""
        self._frames = frames
        self._first = first
        self._asked = asked
        self._info = info
        self._format = _Format()
        self._decoder = PcmDecoder()
        self._stopped = False
        self._language: str | None = None
        self._words: list[str] = []
        self._gaps = 0

    @property
    def holds_text(self) -> bool:
        """Most clients read the text from ``transcript``, which follows ``audio-stop``."""
        return not self._stopped

    @property
    def stopped(self) -> bool:
        """``audio-stop`` was received. What follows belongs to the next transcription and stays with the reader."""
        return self._stopped

    @property
    def text(self) -> str:
        return "".join(self._words).strip()

    def open(self, session: str) -> Iterator[Command | Reply]:  # noqa: ARG002  (the interface of adapters)
        """The stream begins, with the frames that were received together with its first one."""
        # By utterance: who gives a command waits for its end, and the words are the best ones.
        yield Start(_checked_language(self._asked), None, self._asked.hotwords, commit="utterance")
        yield from self._receive_frame(self._first)
        yield from self._receive_frames()

    def receive(self, message: Message) -> Iterator[Command | Reply]:
        """The commands in any part of what the client sends.

        Raises:
            ClientError: the client made a mistake; the connection must end with this error.
        """
        self._frames.feed(message.encode() if isinstance(message, str) else message)
        return self._receive_frames()

    def _receive_frames(self) -> Iterator[Command | Reply]:
        while not self._stopped and (frame := self._frames.take()) is not None:
            yield from self._receive_frame(frame)

    def _receive_frame(self, frame: Frame) -> Iterable[Command | Reply]:
        match frame.type:
            case "audio-start":
                if frame is not self._first:
                    raise BadMessage("found a second audio-start, expected audio-chunk or audio-stop after the first")
                return self._switch(_read(_Format, frame))
            case "audio-chunk":
                audio = self._switch(_read(_Format, frame, self._format.model_dump()))
                samples = self._decoder.feed(frame.payload)
                return [*audio, Audio(samples)] if len(samples) else audio
            case "audio-stop":
                self._stopped = True
                return [*self._rest(), Stop()]
            case "transcribe":
                self._asked = _read(_Transcribe, frame)
                return [Configure(_checked_language(self._asked), None, self._asked.hotwords)]
            case _:
                answer = _answer(frame, self._info)
                return [] if answer is None else [Reply(answer)]

    def _switch(self, format: _Format) -> list[Audio]:  # noqa: A002  (the reference implementation's word)
        """From here on the audio has this format. Returns what the decoder of the format before still held."""
        if format == self._format:
            return []
        if format.width != 2:
            raise UnsupportedFormat(f"width is {format.width}, expected 2 bytes a sample")
        decoder = PcmDecoder("pcm_s16le", format.rate, format.channels)
        rest = self._rest()
        self._format, self._decoder = format, decoder
        return rest

    def _rest(self) -> list[Audio]:
        rest = self._decoder.flush()
        return [Audio(rest)] if len(rest) else []

    # ---- server to client

    def send(self, event: Event) -> list[Message]:
        """The text of each utterance as ``transcript-chunk``, and at the end all of it as ``transcript``."""
        match event:
            case Ready(language=language):
                self._language = language
                return [encode("transcript-start", self._described())]
            case Committed():
                text = event.text if self._words else event.text.lstrip()
                self._words.append(text)
                return [encode("transcript-chunk", {"text": text})]
            case Done(gaps=gaps):
                if gaps and not self._words:
                    error = DecodeFailed("the model failed on this audio; try again")
                    return [error_event(error), encode("transcript-stop")]
                return self._transcript()
            case _:
                return []

    def fail(self, error: WhisperLiveKitError, session: str) -> list[Message]:  # noqa: ARG002  (the interface)
        """The ``error`` event. A worker that cannot wait for the client's end gives the text it has before that."""
        text = self._transcript() if isinstance(error, ShuttingDown) and self._words else []
        return [*text, error_event(error)]

    def _transcript(self) -> list[Message]:
        return [encode("transcript", {"text": self.text} | self._described()), encode("transcript-stop")]

    def _described(self) -> dict[str, Any]:
        described = {"language": self._language, "context": self._asked.context}
        return {name: value for name, value in described.items() if value is not None}
