"""The WebSocket protocol of Vosk's server: Asterisk, FreeSWITCH, Jitsi, BigBlueButton and many scripts speak it.

It runs in lockstep. Every binary frame gets exactly one answer, at once, with what is known now: a partial text, or the
final text of an utterance that has ended. A final text waits for the next frame, and two of them for two frames,
because clients read one answer for each. Only ``eof`` and ``reset`` are answered later, with all final text there is.

FreeSWITCH takes an answer for empty if it contains ``""``: an answer with text must not.
"""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import from_json

from whisperlivekit.audio.pcm import PcmDecoder
from whisperlivekit.core.commands import Audio, Command, Configure, Flush, Start, Stop
from whisperlivekit.core.events import Committed, Done, Event, Flushed, Partial, Ready
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.core.units import to_seconds
from whisperlivekit.errors import WhisperLiveKitError
from whisperlivekit.wire.adapter import Message, Reply
from whisperlivekit.wire.languages import check_language
from whisperlivekit.wire.options import read_phrases, read_sample_rate
from whisperlivekit.wire.spoken import TextForm

DEFAULT_RATE = 8_000
"""Sample rate of a client that sends no config, as telephone modules do. The same as in Vosk's server."""

MAX_WAITING = 16
"""Final texts that wait for a frame each. More are told as one."""

_QUOTE = "\ue000"
"""Stands for a quotation mark until the JSON is made: JSON's own escape would put two quotation marks side by side."""


class VoskAdapter:
    """Translates one connection's messages into commands, and events into messages."""

    resumes = False
    may_be_silent = True
    continues = False

    def __init__(self, query: Mapping[str, str]) -> None:
        """query: the address's options: sample_rate, language, text, numbers. Others are ignored.

        Raises:
            UnsupportedFormat: an option has a value that is not supported.
        """
        self._form = TextForm.from_options(query)
        self._asked_language = check_language(query["language"]) if "language" in query else None
        self._language: str | None = None
        """Of the text; None if it is detected."""
        self._rate = read_sample_rate(query.get("sample_rate", DEFAULT_RATE))
        self._hotwords: tuple[str, ...] = ()
        self._shows_words = True
        self._alternatives = False
        self._decoder: PcmDecoder | None = None
        """None: the stream has not begun."""
        self._odd = b""
        """Half a sample: the next frame has its other half."""
        self._partial = ""
        self._finals: deque[tuple[Word, ...]] = deque()
        """Final texts that were not told."""
        self._resets = 0
        """Those that were not answered."""
        self._ended = False
        """The client has sent eof."""

    @property
    def holds_text(self) -> bool:
        """See ``Adapter``."""
        return bool(self._finals)

    def open(self, session: str) -> list[Command | Reply]:  # noqa: ARG002  (the interface of adapters)
        """Nothing: the client begins."""
        return []

    def receive(self, message: Message) -> list[Command | Reply]:
        """The commands in a client's message, and the answer to a frame of audio. Unknown text is ignored.

        Raises:
            UnsupportedFormat: a config has a sample rate that is not supported.
        """
        if self._ended:
            return []
        if isinstance(message, bytes):
            return self._receive_audio(message)
        match _parse(message):
            case {"config": dict(config)}:
                return self._configure(config)
            case {"eof": _}:
                return self._end()
            case {"reset": _}:
                return self._reset()
            case _:
                return []

    def _receive_audio(self, chunk: bytes) -> list[Command | Reply]:
        begin, decoder = self._begin()
        chunk = self._odd + chunk
        whole = len(chunk) - len(chunk) % decoder.frame_bytes
        self._odd = chunk[whole:]
        samples = decoder.feed(chunk[:whole])
        # The answer first: it says what is known now, and taking the audio may have to wait.
        return [*begin, Reply(self._answer()), *([Audio(samples)] if len(samples) else [])]

    def _begin(self) -> tuple[list[Command], PcmDecoder]:
        """The decoder, and the command that begins the stream if it has not begun."""
        if self._decoder is not None:
            return [], self._decoder
        self._decoder = PcmDecoder("pcm_s16le", self._rate)
        return [Start(self._asked_language, hotwords=self._hotwords, commit="utterance")], self._decoder

    def _configure(self, config: dict[str, Any]) -> list[Command | Reply]:
        commands: list[Command | Reply] = []
        if "words" in config:
            self._shows_words = _truth(config["words"])
        if "max_alternatives" in config:
            self._alternatives = _truth(config["max_alternatives"])
        if "sample_rate" in config:
            self._rate = read_sample_rate(config["sample_rate"])
            if self._decoder is not None:
                commands += self._rest(self._decoder)
                self._decoder = PcmDecoder("pcm_s16le", self._rate)
        if "phrase_list" in config:
            # In Vosk a list excludes all other words, and "[unk]" stands for them. Here it does not.
            phrases = config["phrase_list"] if isinstance(config["phrase_list"], list) else []
            self._hotwords = read_phrases(phrase for phrase in phrases if phrase != "[unk]")
            if self._decoder is not None:
                commands.append(Configure(self._asked_language, hotwords=self._hotwords))
        return commands

    def _end(self) -> list[Command | Reply]:
        begin, decoder = self._begin()
        self._ended = True
        return [*begin, *self._rest(decoder), Stop()]

    def _reset(self) -> list[Command | Reply]:
        if self._decoder is None:
            return [Reply(self._final([]))]
        self._resets += 1
        return [Flush()]

    def _rest(self, decoder: PcmDecoder) -> list[Command]:
        self._odd = b""
        samples = decoder.flush()
        return [Audio(samples)] if len(samples) else []

    # ---- server to client

    def send(self, event: Event) -> list[Message]:
        """The answer to ``eof`` or ``reset``. All else waits for the next frame."""
        match event:
            case Ready(language=language):
                self._language = language
            case Partial(text):
                self._partial = self._form.text(text, self._language)
            case Committed(words):
                self._partial = ""
                self._keep(words)
            case Flushed() if self._resets:
                self._resets -= 1
                return [self._all_finals()]
            case Done() if self._ended:
                return [self._all_finals()]
            case _:
                pass
        return []

    def fail(self, error: WhisperLiveKitError, session: str) -> list[Message]:  # noqa: ARG002
        """The final texts that were not told; the partial text, if the session did not come to its end in time. The
        protocol has no message for errors: the close frame says the rest.
        """
        told: list[Message] = [self._final(self._finals.popleft()) for _ in range(len(self._finals))]
        if self._partial:
            told.append(_encode({"text": _text(self._partial)}))
            self._partial = ""
        return told or ([self._final([])] if self._ended else [])

    def _keep(self, words: Sequence[Word]) -> None:
        told = tuple(self._form.words(words, self._language))
        if not told:
            return
        if len(self._finals) == MAX_WAITING:
            told = self._finals.pop() + told
        self._finals.append(told)

    def _answer(self) -> str:
        if self._finals:
            return self._final(self._finals.popleft())
        return _encode({"partial": _text(self._partial)})

    def _all_finals(self) -> str:
        words = [word for final in self._finals for word in final]
        self._finals.clear()
        return self._final(words)

    def _final(self, words: Sequence[Word]) -> str:
        result = [
            {
                "conf": round(word.probability, 6),
                "end": to_seconds(word.end),
                "start": to_seconds(word.start),
                "word": _text(word.text),
            }
            for word in words
        ]
        found: dict[str, Any] = {"result": result} if result and self._shows_words else {}
        found["text"] = _text(" ".join(word.text for word in words))
        if not self._alternatives:
            return _encode(found)
        confidence = sum(word.probability for word in words) / len(words) if words else 1.0
        return _encode({"alternatives": [{"confidence": round(confidence, 6), **found}]})


def _encode(message: dict[str, Any]) -> str:
    """In Vosk's spacing, which some clients search for."""
    text = json.dumps(message, ensure_ascii=False, separators=(", ", " : "))
    return text.replace(_QUOTE, "\\u0022")


def _text(text: str) -> str:
    return text.replace('"', _QUOTE)


def _parse(text: str) -> object:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return None


def _truth(found: object) -> bool:
    """Clients send 0, 1, true, and text of these."""
    return found not in {"0", "false", "False", ""} if isinstance(found, str) else bool(found)
