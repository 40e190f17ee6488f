"""OpenAI's Realtime API, transcription sessions (the form that is generally available since 2025).

A connection has one session. Its audio is cut into items, and each item gets a transcript:

- ``turn_detection`` is an object (the default): each utterance that the server hears is an item, see ``_HeardItems``;
- ``turn_detection`` is null: an item is the audio between two commits of the client, see ``_AskedItems``.

A mistake of a client is answered with an ``error`` event, and the session goes on. What the real service would refuse,
but does no harm, is accepted: there are clients that end for good at any error.

Long because both kinds of items share the messages about them, and the adapter changes between the two in mid-stream.
"""

import binascii
import json
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.core.commands import Audio, Command, Flush, Start, Stop
from whisperlivekit.core.events import (
    Committed,
    Done,
    Event,
    Flushed,
    Gap,
    SpeechStarted,
    SpeechStopped,
    UtteranceEnded,
)
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.core.units import to_seconds
from whisperlivekit.errors import ClientError, DecodeFailed, WhisperLiveKitError
from whisperlivekit.wire.adapter import Message, Reply
from whisperlivekit.wire.openai_realtime_session import (
    Append,
    Commit,
    RealtimeConfig,
    Refused,
    SessionFields,
    Update,
    client_id,
    parse,
    validate,
)

SUBPROTOCOL = "realtime"
"""What OpenAI's clients in browsers offer, and expect as the answer."""

MAX_WAITING = 100
"""Commits and clears whose text is not decoded yet."""

# ------------------------------------------------------------------------------------------------------------ items


@dataclass(slots=True)
class _Item:
    id: str
    samples: int = 0
    """Length of its audio, once it is known."""
    deltas: list[str] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    sealed: bool = False
    """All its audio was received."""
    failed: bool = False
    """Audio of it could not be decoded."""
    dropped: bool = False
    """The client cleared its audio: its text is not told."""


class _Told:
    """The messages about items, each with an id of its own; and the order of the items."""

    def __init__(self) -> None:
        self.session = ""
        """The session's id in the log."""
        self.logprobs = False
        self.count = 0
        """How many items were committed."""
        self._last: str | None = None
        """The last of them."""
        self._items = self._events = 0

    def encode(self, type: str, **fields: Any) -> str:  # noqa: A002  (the field's name in the protocol)
        self._events += 1
        message = {"type": type, "event_id": f"event_{self.session}{self._events:06}", **fields}
        return json.dumps(message, ensure_ascii=False, separators=(",", ":"))

    def new(self) -> _Item:
        self._items += 1
        return _Item(f"item_{self.session}{self._items:05}")

    def delta(self, item: _Item, words: Sequence[Word]) -> list[str]:
        text = "".join(word.text for word in words)
        if not item.deltas:
            text = text.lstrip()
        if not text:
            return []
        item.deltas.append(text)
        logprobs = [_logprob(word) for word in words] if self.logprobs else []
        item.logprobs += logprobs
        return [self._about(item, "delta", delta=text, **({"logprobs": logprobs} if self.logprobs else {}))]

    def committed(self, item: _Item) -> list[str]:
        item.sealed = True
        self.count += 1
        previous, self._last = self._last, item.id
        content = {"type": "input_audio", "transcript": None}
        described = {
            "id": item.id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [content],
        }
        return [
            self.encode("input_audio_buffer.committed", item_id=item.id, previous_item_id=previous),
            self.encode("conversation.item.added", item=described, previous_item_id=previous),
            self.encode("conversation.item.done", item=described, previous_item_id=previous),
        ]

    def completed(self, item: _Item) -> list[str]:
        if item.failed and not item.deltas:
            error = {
                "type": "server_error",
                "code": DecodeFailed.code,
                "message": "the audio could not be decoded",
                "param": None,
            }
            return [self._about(item, "failed", error=error)]
        usage = {"type": "duration", "seconds": to_seconds(item.samples)}
        logprobs = {"logprobs": item.logprobs} if self.logprobs else {}
        return [self._about(item, "completed", transcript="".join(item.deltas), usage=usage, **logprobs)]

    def _about(self, item: _Item, what: str, **fields: Any) -> str:
        kind = f"conversation.item.input_audio_transcription.{what}"
        return self.encode(kind, item_id=item.id, content_index=0, **fields)


def _logprob(word: Word) -> dict[str, Any]:
    """A word in place of a token: the probability is the mean of its tokens'."""
    return {
        "token": word.text,
        "logprob": round(math.log(max(word.probability, 1e-6)), 4),
        "bytes": list(word.text.encode()),
    }


class _Items(Protocol):
    """Makes messages about the items of one stream. Each ``Flush`` of the stream comes from a commit or a clear."""

    @property
    def waiting(self) -> int:
        """How many flushes are not answered."""
        ...

    def commit(self, at: int) -> list[str]:
        """The client's commit. ``at``: the end of the audio received, in samples of the connection."""
        ...

    def clear(self, at: int) -> None:
        """The client's clear."""
        ...

    def send(self, event: Event) -> list[str]:
        """The messages for an event."""
        ...

    def end(self, at: int) -> list[str]:
        """The stream has ended."""
        ...


class _HeardItems:
    """Each utterance is an item. The first of the items that have not ended is being decoded, the last may be open."""

    def __init__(self, told: _Told, origin: int) -> None:
        """origin: where the stream begins, in samples of the connection."""
        self._told = told
        self._origin = origin
        self._items: deque[_Item] = deque()
        self._flushes: deque[int | None] = deque()
        """For a commit, how many items were committed before it; None for a clear."""
        self._answered = 0
        """How many items were committed when the last commit was answered."""

    @property
    def waiting(self) -> int:
        return len(self._flushes)

    def commit(self, at: int) -> list[str]:  # noqa: ARG002  (the interface)
        """Ends the open utterance, whose events follow. Without one, an empty item follows with ``Flushed``."""
        self._flushes.append(self._told.count)
        return []

    def clear(self, at: int) -> None:  # noqa: ARG002  (the interface)
        self._flushes.append(None)
        if self._items and not self._items[-1].sealed:
            self._items[-1].dropped = True

    def send(self, event: Event) -> list[str]:
        match event:
            case SpeechStarted(at):
                return self._start(at)
            case SpeechStopped(at) if self._items:
                return self._stop(self._items[-1], at)
            case Committed(words) if self._items:
                item = self._items[0]
                return [] if item.dropped else self._told.delta(item, words)
            case Gap() if self._items:
                self._items[0].failed = True
                return []
            case UtteranceEnded(start, end) if self._items:
                item = self._items.popleft()
                item.samples = end - start
                return [] if item.dropped else self._told.completed(item)
            case Flushed():
                return self._receive_flushed()
            case _:
                return []

    def _start(self, at: int) -> list[str]:
        item = self._told.new()
        item.dropped = None in self._flushes
        self._items.append(item)
        kind = "input_audio_buffer.speech_started"
        return [] if item.dropped else [self._told.encode(kind, audio_start_ms=self._ms(at), item_id=item.id)]

    def _stop(self, item: _Item, at: int) -> list[str]:
        item.sealed = True
        if item.dropped:
            return []
        stopped = self._told.encode("input_audio_buffer.speech_stopped", audio_end_ms=self._ms(at), item_id=item.id)
        return [stopped, *self._told.committed(item)]

    def _receive_flushed(self) -> list[str]:
        before = self._flushes.popleft() if self._flushes else None
        if before is None:
            return []
        heard = self._told.count > max(before, self._answered)
        empty = None if heard else self._told.new()
        messages = [*self._told.committed(empty), *self._told.completed(empty)] if empty else []
        self._answered = self._told.count
        return messages

    def end(self, at: int) -> list[str]:  # noqa: ARG002  (the interface)
        """Nothing: each utterance ends before its stream."""
        return []

    def _ms(self, at: int) -> int:
        return (self._origin + at) // 16


class _AskedItems:
    """The audio between two commits is an item, however many utterances it has. Words are told while it goes on."""

    def __init__(self, told: _Told, origin: int) -> None:
        """origin: where the stream begins, in samples of the connection."""
        self._told = told
        self._begins = origin
        """Where the audio that is not committed begins, in samples of the connection."""
        self._items: deque[_Item] = deque()
        """The first one gets the words. The last one may be open; each of the others waits for a ``Flushed``."""

    @property
    def waiting(self) -> int:
        return len(self._items)

    def _seal(self, at: int) -> _Item:
        if not self._items or self._items[-1].sealed:
            self._items.append(self._told.new())
        item = self._items[-1]
        item.sealed = True
        item.samples, self._begins = at - self._begins, at
        return item

    def commit(self, at: int) -> list[str]:
        return self._told.committed(self._seal(at))

    def clear(self, at: int) -> None:
        self._seal(at).dropped = True

    def send(self, event: Event) -> list[str]:
        match event:
            case Committed(words):
                item = self._first()
                return [] if item.dropped else self._told.delta(item, words)
            case Gap():
                self._first().failed = True
                return []
            case Flushed() if self._items:
                item = self._items.popleft()
                return [] if item.dropped else self._told.completed(item)
            case _:
                return []

    def _first(self) -> _Item:
        if not self._items:
            self._items.append(self._told.new())
        return self._items[0]

    def end(self, at: int) -> list[str]:
        """Commits the words that were told of the open item: the client cannot any more."""
        if len(self._items) != 1 or self._items[0].sealed:
            return []
        item = self._seal(at)
        self._items.clear()
        return [*self._told.committed(item), *self._told.completed(item)]


# ---------------------------------------------------------------------------------------------------------- adapter


class OpenAIRealtimeAdapter:
    """Translates one connection's messages into commands, and events into messages.

    The first audio begins a stream. A change of who commits begins another one, and everything of the one before is
    told first.
    """

    resumes = False
    may_be_silent = True
    continues = True
    holds_text = False

    def __init__(self, *, model: str, silence_s: float, expires_at: int) -> None:
        """model: its name, until the client has another one. silence_s: the server's silence that ends an utterance.
        expires_at: when the session ends, in seconds since 1970.
        """
        self._model = model
        self._silence_ms = round(silence_s * 1000)
        self._expires_at = expires_at
        self._told = _Told()
        self._config = RealtimeConfig()
        self._decoder = self._config.format.decoder()
        self._cut = b""
        """Half a sample at the end of the audio: the rest follows."""
        self._received = 0
        """Samples of all streams, at 16 kHz."""
        self._items: _Items | None = None
        """Of the stream; None before the first one."""
        self._next_items: _Items | None = None
        """Of the stream that begins when the present one has ended."""

    def open(self, session: str) -> list[Command | Reply]:
        """``session.created``: clients wait for it."""
        self._told.session = session
        return [self._session_message("session.created")]

    # ---- client to session

    def receive(self, message: Message) -> list[Command | Reply]:
        """The commands in a client's message, and the answers that do not wait for the session.

        It raises nothing: a message that does not follow the protocol is answered with an error event.
        """
        asked_by: str | None = None
        try:
            found = parse(message)
            asked_by = client_id(found)
            match validate(found):
                case Append(audio=audio):
                    return self._append(audio)
                case Update(session=session):
                    return self._update(session)
                case Commit():
                    return self._commit()
                case _:
                    return self._clear()
        except Refused as refused:
            return [Reply(self._error(str(refused), refused.code, refused.param, asked_by))]

    def _append(self, encoded: str) -> list[Command | Reply]:
        try:
            chunk = self._cut + binascii.a2b_base64(encoded, strict_mode=True)
        except (binascii.Error, ValueError) as error:
            raise Refused(
                f"audio is not base64 ({error}), expected base64 of samples", "invalid_value", "audio"
            ) from None
        whole = len(chunk) - len(chunk) % self._decoder.frame_bytes
        self._cut = chunk[whole:]
        if not whole:
            return []
        start: list[Command | Reply] = []
        if self._items is None:
            self._items = self._new_items()
            start = [self._start()]
        return [*start, *self._audio(self._decoder.feed(chunk[:whole]))]

    def _audio(self, samples: NDArray[np.float32]) -> list[Audio]:
        self._received += len(samples)
        return [Audio(samples)] if len(samples) else []

    def _rest(self) -> list[Command | Reply]:
        """The end of the audio before a cut: what the resampler holds."""
        self._cut = b""
        decoder, self._decoder = self._decoder, self._config.format.decoder()
        return [*self._audio(decoder.flush())]

    def _commit(self) -> list[Command | Reply]:
        if self._items is None:
            item = self._told.new()
            return [Reply(message) for message in (*self._told.committed(item), *self._told.completed(item))]
        self._check_waiting(self._items)
        rest = self._rest()
        return [*rest, *(Reply(message) for message in self._items.commit(self._received)), Flush()]

    def _clear(self) -> list[Command | Reply]:
        if self._items is None:
            self._cut = b""
            return [Reply(self._told.encode("input_audio_buffer.cleared"))]
        self._check_waiting(self._items)
        rest = self._rest()
        self._items.clear(self._received)
        return [*rest, Reply(self._told.encode("input_audio_buffer.cleared")), Flush()]

    def _check_waiting(self, items: _Items) -> None:
        if items.waiting >= MAX_WAITING:
            raise Refused(f"{items.waiting} commits wait for their text, expected fewer", "rate_limit_exceeded")

    def _update(self, update: SessionFields) -> list[Command | Reply]:
        before, self._config = self._config, self._config.updated(update)
        self._told.logprobs = self._config.logprobs
        answer = self._session_message("session.updated")
        moved = (self._config.turns is None) != (before.turns is None)
        rest = self._rest() if moved or self._config.format != before.format else []
        if self._items is None:
            return [answer]
        if moved:
            self._next_items = self._new_items()
            return [*rest, Stop(), self._start(), answer]
        if self._config.options != before.options:
            return [*rest, self._config.options, answer]
        return [*rest, answer]

    def _new_items(self) -> _Items:
        """Of a stream that begins here."""
        heard = self._config.turns is not None
        return _HeardItems(self._told, self._received) if heard else _AskedItems(self._told, self._received)

    def _start(self) -> Start:
        options = self._config.options
        return Start(options.language, options.prompt, options.hotwords, silence_s=options.silence_s)

    # ---- session to client

    def send(self, event: Event) -> list[Message]:
        """The messages for an event; none for most."""
        if self._items is None:
            return []
        if not isinstance(event, Done):
            return list(self._items.send(event))
        messages = self._items.end(self._received)
        self._items, self._next_items = self._next_items or self._items, None
        return list(messages)

    def fail(self, error: WhisperLiveKitError, session: str) -> list[Message]:
        """What ends a connection: the text that the client has not committed, and the error if it is the client's.

        Other errors are for the close frame only. There are clients that connect again after a close, but not after an
        error.
        """
        ended = self._items.end(self._received) if self._items is not None else []
        if not isinstance(error, ClientError):
            return list(ended)
        return [*ended, self._error(f"{error.message} (session {session})", error.code, None, None)]

    def _session_message(self, kind: str) -> Reply:
        session = {
            "id": f"sess_{self._told.session}",
            "object": "realtime.transcription_session",
            "type": "transcription",
            "expires_at": self._expires_at,
            **self._config.fields(self._model, self._silence_ms),
        }
        return Reply(self._told.encode(kind, session=session))

    def _error(self, message: str, code: str, param: str | None, client_id: str | None) -> str:
        error = {
            "type": "invalid_request_error",
            "code": code,
            "message": message,
            "param": param,
            "event_id": client_id,
        }
        return self._told.encode("error", error=error)
