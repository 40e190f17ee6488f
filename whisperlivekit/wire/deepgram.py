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

Long because segments, phrases and the answers to ``Finalize`` depend on the same words.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from whisperlivekit.audio.pcm import PcmDecoder
from whisperlivekit.core.commands import Audio, Command, Configure, Flush, Stop
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
from whisperlivekit.errors import BadMessage, ShuttingDown, WhisperLiveKitError
from whisperlivekit.wire.adapter import Message, Reply
from whisperlivekit.wire.deepgram_options import Options, read_hotwords
from whisperlivekit.wire.spoken import merged

SUBPROTOCOL = "token"
"""Clients in browsers offer it with their key."""

PHRASE_S = 5.0
"""Committed words are told as final after so long without the end of a sentence. Not tuned."""

LONG_S = 30.0
"""The same without ``interim_results``; before, not even a sentence is told by itself. Not tuned."""

_MARKS = " \t\n.,!?…:;\"'«»„“”()[]{}<>-–—*"
"""What may stand around a word."""

_SENTENCE_ENDS = (".", "!", "?", "…")
_CLAUSE_ENDS = (",", ";", ":", "—", "–")


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
            hotwords = None if message.keyterms is None else read_hotwords(message.keyterms, [])
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
