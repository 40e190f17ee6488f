"""Asterisk's External Application Protocol for speech to text (AEAP, subprotocol speech_to_text), version 0.1.0.

Both sides send requests, and each request is answered by a response with its id. Asterisk waits for an answer for one
second, in the thread of the call, so every answer is a ``Reply``. The results of an utterance are sent as a request of
this server as soon as it has ended: Asterisk then ends its SpeechBackground. Where Asterisk asks for results itself, it
gets those of the last utterance.

Asterisk reads messages of up to 32 KB; the text of one utterance is far shorter (see MAX_HELD_S).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import from_json

from whisperlivekit.audio.pcm import PcmDecoder
from whisperlivekit.core.commands import Audio, Command, Configure, Start
from whisperlivekit.core.events import Committed, Event, Ready
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.errors import BadMessage, ClientError, UnsupportedFormat, WhisperLiveKitError
from whisperlivekit.wire.adapter import Message, Reply
from whisperlivekit.wire.languages import AUTO, check_language
from whisperlivekit.wire.options import read_phrases, read_sample_rate
from whisperlivekit.wire.spoken import TextForm

CODECS = {
    "ulaw": ("mulaw", 8_000),
    "alaw": ("alaw", 8_000),
    "slin": ("pcm_s16le", 8_000),
    "slin12": ("pcm_s16le", 12_000),
    "slin16": ("pcm_s16le", 16_000),
    "slin24": ("pcm_s16le", 24_000),
    "slin32": ("pcm_s16le", 32_000),
    "slin44": ("pcm_s16le", 44_100),
    "slin48": ("pcm_s16le", 48_000),
    "slin96": ("pcm_s16le", 96_000),
    "slin192": ("pcm_s16le", 192_000),
}
"""Asterisk's name -> encoding and sample rate. Asterisk calls signed linear audio of every rate "slin": a client that
sends another one than 8000 says so with ``sample_rate``."""

MAX_OPTIONS = 50
"""Options that are kept to be asked for."""


class AeapAdapter:
    """Translates one connection's messages into commands, and events into messages."""

    resumes = False
    may_be_silent = True
    continues = False
    holds_text = False

    def __init__(self, query: Mapping[str, str]) -> None:
        """query: the address's options: language, hotwords, sample_rate, text, numbers. ``setup`` may have them too.

        Raises:
            UnsupportedFormat: an option has a value that is not supported.
        """
        self._options: dict[str, str] = {}
        """What was set, as text: Asterisk may ask for it."""
        self._set(query)
        self._default_language: str | None = None
        """None: it is detected."""
        self._decoder: PcmDecoder | None = None
        """None: there was no ``setup``."""
        self._begun = False
        self._session = ""
        self._requests = 0
        self._results: list[dict[str, Any]] = []
        """Of the last utterance."""

    def open(self, session: str) -> list[Command | Reply]:
        """Nothing: Asterisk begins."""
        self._session = session
        return []

    def receive(self, message: Message) -> list[Command | Reply]:
        """The commands in a client's message, and the answer to a request.

        Raises:
            BadMessage: it is neither audio after a ``setup`` nor JSON.
            BadAudio: the audio is not whole samples.
        """
        if isinstance(message, bytes):
            return self._receive_audio(message)
        request = _parse(message)
        name, key = request.get("request"), str(request.get("id", ""))[:100]
        if not isinstance(name, str):
            return []  # Asterisk's answer to results.
        try:
            commands, found = self._answer(name, request)
        except ClientError as error:
            commands, found = [], {"error_msg": error.message}
        return [Reply(_encode({"response": name[:100], "id": key, **found})), *commands]

    def _receive_audio(self, chunk: bytes) -> list[Command | Reply]:
        if self._decoder is None:
            raise BadMessage(f"found {len(chunk)} bytes of audio before the setup, expected a request setup")
        begin: list[Command | Reply] = []
        if not self._begun:
            self._begun = True
            begin = [Start(self._asked_language, hotwords=self._hotwords, commit="utterance")]
        samples = self._decoder.feed(chunk)
        return [*begin, Audio(samples)] if len(samples) else begin

    def _answer(self, name: str, request: dict[str, Any]) -> tuple[list[Command], dict[str, Any]]:
        """The commands in a request, and what its response has beside its name and id.

        Raises:
            ClientError: the request cannot be fulfilled.
        """
        match name, request.get("params"):
            case "setup", params:
                self._set(params if isinstance(params, dict) else {})
                return self._configure(), {"codecs": [{"name": self._choose_codec(request.get("codecs"))}]}
            case "set", dict(params):
                self._set(params)
                return self._configure(), {}
            case "get", list(names):
                return [], {"params": self._get(names)}
            case "get" | "set", _:
                raise BadMessage(f"{name} has no params, expected {'a list' if name == 'get' else 'an object'}")
            case _:
                raise BadMessage(f"request is {name[:40]!r}, expected setup, get or set")

    def _choose_codec(self, codecs: object) -> str:
        names = [codec.get("name") for codec in codecs if isinstance(codec, dict)] if isinstance(codecs, list) else []
        if self._begun:
            raise BadMessage("found a second setup after the first audio, expected get or set")
        # Asterisk takes no other codec than its first one.
        name = names[0] if names else None
        if not isinstance(name, str) or name not in CODECS:
            raise UnsupportedFormat(f"codec is {str(name)[:40]}, expected one of {', '.join(CODECS)}")
        encoding, rate = CODECS[name]
        self._decoder = PcmDecoder(encoding, (name == "slin" and self._rate) or rate)
        return name

    def _set(self, options: Mapping[str, object]) -> None:
        """Set what is known of these options; Asterisk's dtmf and results_type, and whatever else, are kept only.

        Raises:
            UnsupportedFormat: a value is not supported; nothing is set.
        """
        found = {str(name)[:40]: str(value)[:1000] for name, value in options.items() if name != "token"}
        changed = dict(list((self._options | found).items())[:MAX_OPTIONS])
        form = TextForm.from_options(changed)
        language = check_language(changed["language"]) if changed.get("language") else None
        rate = read_sample_rate(changed["sample_rate"]) if changed.get("sample_rate") else None
        self._options, self._form, self._asked_language, self._rate = changed, form, language, rate
        self._hotwords = read_phrases(changed.get("hotwords", "").split(","))

    def _configure(self) -> list[Command]:
        return [Configure(self._asked_language, hotwords=self._hotwords)] if self._begun else []

    def _get(self, names: Sequence[object]) -> dict[str, Any]:
        if "results" in names:
            return {"results": self._results}
        asked = [str(name)[:40] for name in names]
        missing = [name for name in asked if name not in self._options]
        if missing or not asked:
            raise BadMessage(f"get asks for {', '.join(missing)[:100] or 'nothing'}, expected results or what was set")
        return {name: self._options[name] for name in asked}

    # ---- server to client

    def send(self, event: Event) -> list[Message]:
        """A request with the results of an utterance."""
        match event:
            case Ready(language=language) if self._asked_language is None:
                self._default_language = language
            case Committed(words):
                language = None if self._asked_language == AUTO else self._asked_language or self._default_language
                if told := self._form.words(words, language):
                    return [self._tell(told)]
            case _:
                pass
        return []

    def fail(self, error: WhisperLiveKitError, session: str) -> list[Message]:  # noqa: ARG002
        """Nothing: Asterisk knows errors in responses only. The close frame says the rest."""
        return []

    def _tell(self, words: Sequence[Word]) -> str:
        text = " ".join(word.text for word in words)
        score = round(100 * sum(word.probability for word in words) / len(words))
        self._results = [{"text": text, "score": score, "grammar": "", "best": 0}]
        self._requests += 1
        request = {"request": "set", "id": f"{self._session}-{self._requests}"}
        # Asterisk looks at the first parameter only.
        return _encode({**request, "params": {"results": self._results}})


def _parse(text: str) -> dict[str, Any]:
    try:
        found = from_json(text, allow_inf_nan=False)
    except ValueError:
        raise BadMessage(f"found text of {len(text)} characters that is not JSON, expected a JSON object") from None
    if not isinstance(found, dict):
        raise BadMessage("found JSON that is not an object, expected a request or a response")
    return found


def _encode(message: dict[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))
