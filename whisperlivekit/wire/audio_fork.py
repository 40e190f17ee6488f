"""FreeSWITCH's mod_audio_fork and mod_audio_stream: a call's audio, and text back.

Both send raw 16-bit samples. They differ in what they do with text from the server: mod_audio_fork makes an event of
the ``data`` of a message whose type it knows (``transcription``, ``error``), mod_audio_stream makes one of every whole
message. So every message has a type that both know, and ``data``.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.audio.pcm import CHANNELS, PcmDecoder
from whisperlivekit.core.commands import Audio, Command, Flush, Start, Stop
from whisperlivekit.core.events import Committed, Event, Partial
from whisperlivekit.core.units import to_seconds
from whisperlivekit.errors import UnsupportedFormat, WhisperLiveKitError
from whisperlivekit.wire.adapter import Message
from whisperlivekit.wire.languages import check_language
from whisperlivekit.wire.telephony import confidence, objects

SUBPROTOCOL = "audio.drachtio.org"
"""What mod_audio_fork offers. mod_audio_stream offers none."""

SAMPLE_RATE = 8_000
"""Where the address has no ``sample_rate``: the modules' default."""

_YES, _NO = {"true", "1", "yes"}, {"false", "0", "no"}


class AudioForkAdapter:
    """Translates one connection's messages into commands, and events into messages."""

    resumes = False
    may_be_silent = True  # A call may be paused, and pings show that the module is still there.
    continues = False
    holds_text = False

    def __init__(self, query: Mapping[str, str]) -> None:
        """query: of the address: ``sample_rate``, ``channels``, ``language`` and ``interim``.

        Raises:
            ClientError: an option is wrong.
        """
        channels = _whole(query, "channels", 1)
        if channels not in CHANNELS:
            raise UnsupportedFormat(f"channels is {channels}, expected 1 or 2")
        rate = _whole(query, "sample_rate", SAMPLE_RATE)
        self._decoder = PcmDecoder(sample_rate=rate, channels=channels, split=channels > 1)
        self._channels = channels
        self._language = check_language(query["language"]) if query.get("language") else None
        self._interim = _flag(query, "interim", default=True)
        self._stopped = False

    def open(self, session: str) -> list[Command]:  # noqa: ARG002  (the interface of adapters)
        """The stream begins with the connection: the client's first message may be audio."""
        return [Start(self._language, commit="utterance", channels=self._channels)]

    def receive(self, message: Message) -> list[Command]:
        """See ``Adapter``. Text is the application's metadata and means nothing here, apart from ``{"type": "stop"}``
        and ``{"type": "flush"}``, which an application can send.
        """
        if self._stopped:
            return []
        if isinstance(message, bytes):
            # mod_audio_fork asks for the last words with an empty frame ("graceful-shutdown").
            return _audio(self._decoder.feed(message)) if message else self._stop()
        commands: list[Command] = []
        for found in objects(message):
            match found.get("type"):
                case "stop":
                    return commands + self._stop()
                case "flush":
                    commands.append(Flush())
        return commands

    def _stop(self) -> list[Command]:
        self._stopped = True
        return [*_audio(self._decoder.flush()), Stop()]

    def send(self, event: Event) -> list[Message]:
        """The text of an utterance, and interim texts before it."""
        match event:
            case Committed(words, channel=channel):
                timed = [
                    {
                        "text": word.text.strip(),
                        "start": to_seconds(word.start),
                        "end": to_seconds(word.end),
                        "probability": round(word.probability, 3),
                    }
                    for word in words
                ]
                span = (words[0].start, words[-1].end)
                return [_text(event.text, *span, channel, is_final=True, confidence=confidence(words), words=timed)]
            case Partial(text, start, end, channel=channel) if text.strip() and self._interim:
                return [_text(text, start, end, channel, is_final=False)]
            case _:
                return []

    def fail(self, error: WhisperLiveKitError, session: str) -> list[Message]:
        """See ``Adapter``."""
        return [_encode("error", code=error.code, message=error.message, session=session)]


def _audio(samples: NDArray[np.float32]) -> list[Command]:
    return [Audio(samples)] if samples.size else []


def _text(text: str, start: int, end: int, channel: int | None, **fields: Any) -> str:
    of_channel = {} if channel is None else {"channel": channel}
    span = {"start": to_seconds(start), "end": to_seconds(end)}
    return _encode("transcription", text=text.strip(), **span, **of_channel, **fields)


def _encode(kind: str, **data: Any) -> str:
    return json.dumps({"type": kind, "data": data}, ensure_ascii=False)


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    found = query.get(name) or str(default)
    if not (found.isascii() and found.isdecimal() and len(found) <= 6):
        raise UnsupportedFormat(f"{name} is {found[:20]!r}, expected a whole number")
    return int(found)


def _flag(query: Mapping[str, str], name: str, *, default: bool) -> bool:
    found = query.get(name, "").lower()
    if found and found not in _YES | _NO:
        raise UnsupportedFormat(f"{name} is {found[:20]!r}, expected true or false")
    return found in _YES if found else default
