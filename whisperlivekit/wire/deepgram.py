"""Deepgram's ``/v1/listen`` over a WebSocket, as its SDKs, LiveKit and Pipecat speak it.

The options are in the address, so the stream begins with the connection. A client sends audio and the messages
``KeepAlive``, ``Finalize``, ``Configure`` and ``CloseStream``; it is told ``Results``, and ``SpeechStarted`` and
``UtteranceEnd`` if it asked for them. At the end it gets ``Metadata``.

Deepgram's text comes in segments. A segment's text may change (``is_final`` false) until it is told once more as final;
the next segment begins where it ends. The final segment in which the speaker pauses is ``speech_final``, and clients
join the segments up to it to what was said. Many of them look at ``speech_final`` only where there is text. So:

- Words are committed as soon as they are certain, but told as final by phrases: up to the end of a sentence, or after
  PHRASE_S. The last committed word is always kept back for the segment that is ``speech_final``.
- Without ``interim_results`` nobody reads along. The stream then commits by utterance: one segment for an utterance
  of up to LONG_S, decided when it has ended.
- Every field that a client may look up is in every message, and no message has a type that Deepgram does not have:
  its SDKs hand an unknown one to the program as None.

The transcript is as plain as ``words`` are unless ``punctuate`` or ``smart_format`` is asked for, as at Deepgram.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from whisperlivekit.audio.pcm import CHANNELS, SAMPLE_RATES, Encoding, PcmDecoder
from whisperlivekit.core.commands import Audio, Command, Configure, Flush, Start, Stop
from whisperlivekit.core.events import (
    Committed,
    Done,
    Event,
    Flushed,
    OfChannel,
    Partial,
    Ready,
    SpeechStarted,
    UtteranceEnded,
)
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.core.units import SAMPLE_RATE, to_samples, to_seconds
from whisperlivekit.errors import BadMessage, ShuttingDown, UnsupportedFormat, WhisperLiveKitError
from whisperlivekit.wire.adapter import Message, Reply
from whisperlivekit.wire.languages import AUTO, check_language
from whisperlivekit.wire.spoken import merged

SUBPROTOCOL = "token"
"""Clients in browsers offer it with their key."""

ENCODINGS: dict[str, Encoding] = {
    "linear16": "pcm_s16le",
    "linear32": "pcm_f32le",
    "mulaw": "mulaw",
    "alaw": "alaw",
}
"""Deepgram's names of raw audio."""

CONTAINED = frozenset({"flac", "opus", "ogg-opus", "amr-nb", "amr-wb"})
"""Encodings that are taken only in their container, like audio without ``encoding``."""

TELEPHONE_RATE = 8_000
"""The sample rate of mulaw and alaw if none is given."""

SILENCE_S = (0.3, 5.0)
"""The bounds of ``endpointing``. LiveKit asks for 0.025 s, and Deepgram's own default is 0.01 s: such silences are
inside of words too, and each would cut the text."""

PHRASE_S = 5.0
"""Committed words are told as final after so long without the end of a sentence. Not tuned."""

LONG_S = 30.0
"""The same without ``interim_results``; before, not even a sentence is told by itself. Not tuned."""

UTTERANCE_END_S = (0.5, 60.0)
"""The bounds of ``utterance_end_ms``. Deepgram advises 1 s or more."""

MAX_HOTWORDS = 100
MAX_HOTWORD = 64
"""Characters."""

_TRUE, _FALSE = frozenset({"true", "1", ""}), frozenset({"false", "0"})

_MARKS = " \t\n.,!?…:;\"'«»„“”()[]{}<>-–—*"
"""What may stand around a word."""

_SENTENCE_ENDS = (".", "!", "?", "…")
_CLAUSE_ENDS = (",", ";", ":", "—", "–")


@dataclass(frozen=True, slots=True)
class Options:
    """What a client asked for in the address."""

    encoding: Encoding | None = None
    """None: pieces of a media file."""
    sample_rate: int = SAMPLE_RATE
    channels: int = 1
    """Of the audio. They are mixed into one unless it is multichannel."""
    multichannel: bool = False
    """Each channel is transcribed by itself."""
    language: str | None = None
    hotwords: tuple[str, ...] = ()
    interim_results: bool = False
    silence_s: float | None = None
    """None: the server's setting."""
    speech_final: bool = True
    """False: ``endpointing=false``."""
    utterance_end: int | None = None
    """Samples without a word after which ``UtteranceEnd`` is told; None: never."""
    vad_events: bool = False
    punctuated: bool = False
    utterances: bool = False
    """In the answer for a file."""

    @property
    def transcripts(self) -> int:
        """How many there are: one, or one for each channel."""
        return self.channels if self.multichannel else 1

    def start(self, *, realtime: bool = True) -> Start:
        """The options of the session."""
        return Start(
            self.language,
            hotwords=self.hotwords,
            commit="words" if self.interim_results or not realtime else "utterance",
            silence_s=self.silence_s,
            realtime=realtime,
            channels=self.transcripts,
        )


def read_options(query: Iterable[tuple[str, str]], content_type: str = "") -> Options:
    """The options in an address, and in the Content-Type of a file. Those that are not known are ignored, as Deepgram
    adds new ones all the time.

    Raises:
        UnsupportedFormat: the encoding, the sample rate, the channels or the language is not supported.
        BadMessage: another option has a wrong value, or asks the server to open an address.
    """
    found: dict[str, list[str]] = {}
    for name, value in query:
        found.setdefault(name, []).append(value)
    last = {name: values[-1] for name, values in found.items()}
    if last.get("callback"):
        raise BadMessage("callback is given, expected none: this server opens no addresses")
    encoding, sample_rate = _read_encoding(last, content_type)
    silence_s, speech_final = _read_endpointing(last.get("endpointing"))
    utterance_end_s = _read_milliseconds("utterance_end_ms", last.get("utterance_end_ms"), UTTERANCE_END_S)
    return Options(
        encoding=encoding,
        sample_rate=sample_rate,
        channels=_read_number("channels", last.get("channels"), CHANNELS, 1),
        multichannel=_read_flag(last, "multichannel"),
        language=_read_language(last),
        hotwords=_read_hotwords(found.get("keyterm", []), found.get("keywords", [])),
        interim_results=_read_flag(last, "interim_results"),
        silence_s=silence_s,
        speech_final=speech_final,
        utterance_end=None if utterance_end_s is None else to_samples(utterance_end_s),
        vad_events=_read_flag(last, "vad_events"),
        punctuated=_read_flag(last, "punctuate") or _read_flag(last, "smart_format"),
        utterances=_read_flag(last, "utterances"),
    )


def ends_stream(message: Message) -> bool:
    """Whether no audio follows this message. An empty binary message is what SDKs before 2023 sent."""
    if isinstance(message, bytes):
        return not message
    found = _parse(message)
    return isinstance(found, dict) and found.get("type") == "CloseStream"


class _ConfigureMessage(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    keyterms: list[str] | None = None
    features: dict[str, bool] | None = None


class DeepgramAdapter:
    """Translates one connection's messages into commands, and events into messages."""

    resumes = False
    may_be_silent = False
    continues = False
    holds_text = False

    def __init__(self, options: Options, created: str) -> None:
        """created: when the connection was opened, in ISO 8601."""
        self.options = options
        self._created = created
        count = options.transcripts
        if options.encoding is None:
            self._decoder = PcmDecoder("pcm_f32le", SAMPLE_RATE, count, split=count > 1)
        else:
            self._decoder = PcmDecoder(options.encoding, options.sample_rate, options.channels, split=count > 1)
        self._rest = b""
        """The beginning of a sample: Deepgram takes audio that is cut anywhere."""
        self._request_id = ""
        self._metadata: dict[str, Any] = {}
        """Of every result; known when the stream is ready."""
        self._channels = [_Channel(number, options, self._metadata) for number in range(count)]
        self._received = 0
        self._stopped = False

    @property
    def in_container(self) -> bool:
        """The client sends pieces of a media file. ``receive`` takes their audio as pcm_f32le at 16 kHz, with
        ``Options.transcripts`` channels.
        """
        return self.options.encoding is None

    # ---- client to server

    def open(self, session: str) -> list[Command | Reply]:
        """The stream begins with the connection."""
        self._request_id = session
        return [self.options.start()]

    def receive(self, message: Message) -> list[Command | Reply]:
        """The commands in a client's message.

        Raises:
            BadAudio: a sample is not a number.
        """
        if self._stopped:
            return []
        if ends_stream(message):
            self._stopped = True
            return [*self._audio(self._decoder.flush()), Stop()]
        if isinstance(message, bytes):
            data = self._rest + message
            whole = len(data) - len(data) % self._decoder.frame_bytes
            self._rest = data[whole:]
            return self._audio(self._decoder.feed(data[:whole]))
        return self._receive_text(message)

    def _audio(self, samples: NDArray[np.float32]) -> list[Command | Reply]:
        if not samples.shape[-1]:
            return []
        self._received += samples.shape[-1]
        ended = [message for channel in self._channels for message in channel.end_utterance(self._received)]
        return [Audio(samples), *(Reply(_dump(message)) for message in ended)]

    def _receive_text(self, text: str) -> list[Command | Reply]:
        match _parse(text):
            case {"type": "KeepAlive"}:
                # No audio, but a sign of life: the time limit for silence begins again.
                return [Audio(self._decoder.feed(b""))]
            case {"type": "Finalize"}:
                for channel in self._channels:
                    channel.finalize()
                return [Flush()]
            case {"type": "Configure"} as found:
                return self._configure(found)
            case found:
                kind = _describe_kind(found)
                known = "KeepAlive, Finalize, Configure or CloseStream"
                error = {
                    "type": "Error",
                    "variant": "SchemaError",
                    "description": f"found {kind}, expected a message of type {known}",
                    "message": text[:200],
                }
                return [Reply(_dump(error))]

    def _configure(self, found: object) -> list[Command | Reply]:
        try:
            message = _ConfigureMessage.model_validate(found)
            hotwords = None if message.keyterms is None else _read_hotwords(message.keyterms, [])
        except ValidationError as error:
            where = ".".join(str(step) for step in error.errors()[0]["loc"])[:40]
            expected = "keyterms as a list of text, features with true or false"
            return [self._refuse("InvalidConfigureMessage", f"{where} is wrong, expected {expected}")]
        except BadMessage as error:
            return [self._refuse("CONFIGURE_KEYTERM_LIMIT_EXCEEDED", error.message)]
        success: dict[str, Any] = {"type": "ConfigureSuccess", "request_id": self._request_id}
        if hotwords is None:
            return [Reply(_dump(success))]
        self.options = replace(self.options, hotwords=hotwords)
        configure = Configure(self.options.language, hotwords=hotwords, silence_s=self.options.silence_s)
        return [configure, Reply(_dump(success | {"keyterms": list(hotwords)}))]

    def _refuse(self, code: str, description: str) -> Reply:
        failure = {"type": "ConfigureFailure", "request_id": self._request_id}
        return Reply(_dump(failure | {"code": code, "description": description}))

    # ---- server to client

    def send(self, event: Event) -> list[Message]:
        """The messages for an event."""
        match event:
            case Ready(model=model):
                self._metadata |= {"request_id": self._request_id} | describe_model(model)
                return []
            case Done(received=received):
                end = metadata(self._request_id, self._created, received, len(self._channels))
                return [_dump({"type": "Metadata"} | end)]
            case OfChannel(channel=number):
                channel = self._channels[number or 0]
                return [_dump(message) for message in [*channel.send(event), *channel.end_utterance(self._received)]]
            case _:
                return []

    def fail(self, error: WhisperLiveKitError, session: str) -> list[Message]:
        """The message before the close frame. A worker that shuts down has told all: the close code is enough."""
        if isinstance(error, ShuttingDown):
            return []
        description = f"{error.message} ({session})"
        return [_dump({"type": "Error", "variant": error.code, "description": description, "message": description})]


class _Channel:
    """The text of one channel."""

    def __init__(self, number: int, options: Options, metadata: dict[str, Any]) -> None:
        self._index = [number, options.transcripts]
        self._options = options
        self._metadata = metadata
        self._words: list[Word] = []
        """Committed, and not told as final."""
        self._from = 0
        """Where the segment begins."""
        self._shown = ""
        """The last interim text."""
        self._finalizes = 0
        """``Finalize`` messages that are not answered yet."""
        self._unsent: dict[str, Any] | None = None
        """The end of an utterance that may be the answer to a ``Finalize``: the next event tells."""
        self._open = 0
        """Utterances that have begun and not ended."""
        self._word_end: int | None = None
        """End of the last final word, until ``UtteranceEnd`` is told for it."""

    def finalize(self) -> None:
        """The client asks for what there is."""
        self._finalizes += 1

    def end_utterance(self, received: int) -> list[dict[str, Any]]:
        """``UtteranceEnd``, if it is due when so many samples were received."""
        longest = self._options.utterance_end
        if longest is None or self._word_end is None or self._open or received - self._word_end < longest:
            return []
        end, self._word_end = self._word_end, None
        return [{"type": "UtteranceEnd", "channel": self._index, "last_word_end": to_seconds(end)}]

    def send(self, event: Event) -> list[dict[str, Any]]:
        """The messages for an event."""
        if isinstance(event, Flushed):
            return [self._answer(event.at)]
        unsent, self._unsent = self._unsent, None
        return [*([unsent] if unsent else []), *self._tell(event)]

    def _answer(self, at: int) -> dict[str, Any]:
        """The answer to a ``Finalize``: the text that it has ended, or an empty one."""
        self._finalizes -= 1
        answer, self._unsent = self._unsent, None
        if answer is None:
            answer = self._result([], at, speech_final=False)
        return {**answer, "from_finalize": True}

    def _tell(self, event: Event) -> list[dict[str, Any]]:
        match event:
            case SpeechStarted(at):
                self._open += 1
                started = {"type": "SpeechStarted", "channel": self._index, "timestamp": to_seconds(at)}
                return [started] if self._options.vad_events else []
            case Partial() if self._options.interim_results:
                return self._show(event)
            case Committed(words):
                self._words = joined_words([*self._words, *words])
                return self._finish_phrases()
            case UtteranceEnded(end=end):
                self._open -= 1
                final = self._result(self._take(len(self._words)), end, speech_final=self._options.speech_final)
                if self._finalizes:
                    self._unsent = final
                    return []
                return [final]
            case _:
                return []

    def _show(self, partial: Partial) -> list[dict[str, Any]]:
        """What is known of the segment. Words are told only when they have changed."""
        words = joined_words([*self._words, *partial.words])
        text = "".join(word.text for word in words)
        if not text.strip() or text == self._shown:
            return []
        self._shown = text
        return [self._message(words, words[-1].end, is_final=False, speech_final=False)]

    def _finish_phrases(self) -> list[dict[str, Any]]:
        count = _phrase(self._words, interim_results=self._options.interim_results)
        if not count:
            return []
        words = self._take(count)
        return [self._result(words, words[-1].end, speech_final=False)]

    def _take(self, count: int) -> list[Word]:
        taken, self._words = self._words[:count], self._words[count:]
        return taken

    def _result(self, words: Sequence[Word], end: int, *, speech_final: bool) -> dict[str, Any]:
        """A final segment up to ``end``."""
        message = self._message(words, end, is_final=True, speech_final=speech_final)
        self._from = max(self._from, end)
        self._shown = ""
        if words:
            self._word_end = words[-1].end
        return message

    def _message(self, words: Sequence[Word], end: int, *, is_final: bool, speech_final: bool) -> dict[str, Any]:
        return {
            "type": "Results",
            "channel_index": self._index,
            "duration": to_seconds(max(0, end - self._from)),
            "start": to_seconds(self._from),
            "is_final": is_final,
            "speech_final": speech_final,
            "channel": {"alternatives": [alternative(words, punctuated=self._options.punctuated)]},
            "metadata": self._metadata,
            "from_finalize": False,
        }


# ------------------------------------------------------------------------------------------------------- text


def alternative(words: Sequence[Word], *, punctuated: bool) -> dict[str, Any]:
    """The transcript of some words. punctuated: as the model writes it; otherwise lower case without punctuation."""
    told = [(plain, word) for word in joined_words(words) if (plain := plain_text(word.text))]
    text = "".join(word.text for word in words).strip() if punctuated else " ".join(plain for plain, _ in told)
    return {
        "transcript": text,
        "confidence": round(sum(word.probability for _, word in told) / len(told), 4) if told else 0.0,
        "words": [
            {
                "word": plain,
                "start": to_seconds(word.start),
                "end": to_seconds(word.end),
                "confidence": round(word.probability, 4),
            }
            | ({"punctuated_word": word.text.strip()} if punctuated else {})
            for plain, word in told
        ],
    }


def joined_words(words: Iterable[Word]) -> list[Word]:
    """What the model writes without a space in front ("-то") belongs to the word before it. Spaces stay."""
    joined: list[Word] = []
    for word in words:
        joined.append(merged([joined.pop(), word]) if joined and not word.text[:1].isspace() else word)
    return joined


def plain_text(written: str) -> str:
    """A word without what stands around it; empty for a mark alone."""
    return written.strip(_MARKS).lower()


def describe_model(model: str) -> dict[str, Any]:
    """The fields that name the model."""
    return {"model_info": {"name": model, "version": "", "arch": "whisper"}, "model_uuid": model_uuid(model)}


def model_uuid(model: str) -> str:
    """The same for the same model."""
    return str(uuid5(NAMESPACE_URL, model))


def metadata(request_id: str, created: str, received: int, channels: int) -> dict[str, Any]:
    """The totals of a stream or a file. The hash of the audio is not computed."""
    return {
        "transaction_key": "deprecated",
        "request_id": request_id,
        "sha256": "",
        "created": created,
        "duration": to_seconds(received),
        "channels": channels,
    }


def error_body(error: WhisperLiveKitError, session: str) -> dict[str, str]:
    """The body of an HTTP error."""
    return {"err_code": error.code, "err_msg": error.message, "request_id": session}


def _phrase(words: Sequence[Word], *, interim_results: bool) -> int:
    """How many of the committed words make phrases that are complete; never all of them."""
    before = words[:-1]
    if not before:
        return 0
    long = words[-1].end - words[0].start >= to_samples(PHRASE_S if interim_results else LONG_S)
    if not (long or interim_results):
        return 0
    for ends in (_SENTENCE_ENDS, _CLAUSE_ENDS) if long else (_SENTENCE_ENDS,):
        for count in range(len(before), 0, -1):
            if before[count - 1].text.rstrip(" \"'»”)").endswith(ends):
                return count
    return len(before) if long else 0


# ------------------------------------------------------------------------------------------------------- options


def _read_encoding(last: dict[str, str], content_type: str) -> tuple[Encoding | None, int]:
    kind, parameters = _read_content_type(content_type)
    name = last.get("encoding", "").lower() or kind
    given = last.get("sample_rate") or parameters.get("rate")
    if not name or name in CONTAINED:
        return None, SAMPLE_RATE
    if name not in ENCODINGS:
        known = ", ".join([*ENCODINGS, *sorted(CONTAINED)])
        raise UnsupportedFormat(f"encoding is {name[:40]!r}, expected one of {known}, or none for a media file")
    default = TELEPHONE_RATE if name in {"mulaw", "alaw"} else None
    return ENCODINGS[name], _read_number("sample_rate", given, SAMPLE_RATES, default)


_RAW_TYPES = {
    "audio/mulaw": "mulaw",
    "audio/x-mulaw": "mulaw",
    "audio/basic": "mulaw",
    "audio/pcmu": "mulaw",
    "audio/alaw": "alaw",
    "audio/x-alaw": "alaw",
    "audio/pcma": "alaw",
    "audio/l16": "linear16",
    "audio/pcm": "linear16",
    "audio/raw": "linear16",
    "audio/x-raw": "linear16",
}
"""Media types of audio without a header."""


def _read_content_type(content_type: str) -> tuple[str, dict[str, str]]:
    """The encoding that a Content-Type names, if it is raw audio, and its parameters."""
    media_type, *rest = content_type.lower().split(";")
    pairs = (parameter.partition("=") for parameter in rest)
    return _RAW_TYPES.get(media_type.strip(), ""), {name.strip(): value.strip() for name, _, value in pairs}


def _read_number(name: str, given: str | None, allowed: range, default: int | None) -> int:
    if not given:
        if default is None:
            raise UnsupportedFormat(f"{name} is missing, expected {allowed[0]} to {allowed[-1]}")
        return default
    number = int(given) if given.isascii() and given.isdecimal() and len(given) < 10 else -1
    if number not in allowed:
        raise UnsupportedFormat(f"{name} is {given[:20]!r}, expected {allowed[0]} to {allowed[-1]}")
    return number


def _read_flag(last: dict[str, str], name: str) -> bool:
    given = last.get(name, "false").lower()
    if given not in _TRUE | _FALSE:
        raise BadMessage(f"{name} is {given[:20]!r}, expected true or false")
    return given in _TRUE


def _read_milliseconds(name: str, given: str | None, bounds: tuple[float, float]) -> float | None:
    """Seconds, moved into the bounds; None: not given."""
    if not given:
        return None
    try:
        milliseconds = float(given)
    except ValueError:
        milliseconds = -1.0
    if not 0 <= milliseconds < 1e9:
        raise BadMessage(f"{name} is {given[:20]!r}, expected milliseconds")
    return min(max(milliseconds / 1000, bounds[0]), bounds[1])


def _read_endpointing(given: str | None) -> tuple[float | None, bool]:
    """The silence that ends an utterance, and whether ``speech_final`` is told."""
    if given is not None and given.lower() == "false":
        return None, False
    if given is not None and given.lower() == "true":
        return None, True
    return _read_milliseconds("endpointing", given, SILENCE_S), True


def _read_language(last: dict[str, str]) -> str | None:
    asked = last.get("language", "")
    if asked == "multi" or (not asked and last.get("detect_language", "false").lower() not in _FALSE):
        return AUTO
    return check_language(asked) if asked else None


def _read_hotwords(keyterms: Sequence[str], keywords: Sequence[str]) -> tuple[str, ...]:
    """``keywords`` may have a weight ("слово:2"), which is not used; a negative one makes a word less likely, which is
    not possible.
    """
    words = list(keyterms)
    for keyword in keywords:
        word, colon, weight = keyword.rpartition(":")
        if not (colon and weight.lstrip("-").replace(".", "", 1).isdecimal()):
            words.append(keyword)
        elif not weight.startswith("-"):
            words.append(word)
    hotwords = tuple(dict.fromkeys(stripped for word in words if (stripped := word.strip())))
    if len(hotwords) > MAX_HOTWORDS:
        raise BadMessage(f"found {len(hotwords)} keyterms, expected up to {MAX_HOTWORDS}")
    if longest := next((word for word in hotwords if len(word) > MAX_HOTWORD), None):
        raise BadMessage(f"found a keyterm of {len(longest)} characters, expected up to {MAX_HOTWORD}")
    return hotwords


# ------------------------------------------------------------------------------------------------------- messages


def _dump(message: dict[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


def _parse(text: str) -> object:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return None


def _describe_kind(found: object) -> str:
    if not isinstance(found, dict):
        return "text that is not a JSON object"
    kind = found.get("type")
    return f"a message of type {kind[:40]!r}" if isinstance(kind, str) else "a message without a type"
