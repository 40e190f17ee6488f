"""jambonz's protocol for custom speech vendors (docs.jambonz.org, "Adding custom speech vendors").

The client is FreeSWITCH's mod_jambonz_transcribe. It takes messages of the types ``transcription`` and ``error``, and
waits after ``stop`` until the server closes.
"""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import from_json

from whisperlivekit.audio.pcm import PcmDecoder
from whisperlivekit.core.commands import Audio, Command, Start, Stop
from whisperlivekit.core.events import Committed, Event, Partial
from whisperlivekit.errors import BadMessage, UnsupportedFormat, WhisperLiveKitError
from whisperlivekit.wire.adapter import Message
from whisperlivekit.wire.languages import check_language
from whisperlivekit.wire.options import MAX_HOTWORD, MAX_HOTWORDS
from whisperlivekit.wire.telephony import confidence, objects

SAMPLE_RATE = 8_000
"""What jambonz sends, whatever the call's codec."""

CHANNEL = 1
"""The number of a call's first channel. jambonz opens a connection for each leg."""


class _Options(BaseModel):
    """The application's ``recognizer`` options. jambonz passes on any others, too."""

    hints: list[str] = []

    @field_validator("hints", mode="before")
    @classmethod
    def _phrases(cls, found: Any) -> list[str]:
        """A list of phrases, or the JSON text of a list of ``{"phrase": ..., "boost": ...}``."""
        if isinstance(found, str):
            try:
                found = from_json(found)
            except ValueError:
                return []
        hints = found if isinstance(found, list) else []
        phrases = (hint.get("phrase") if isinstance(hint, dict) else hint for hint in hints)
        usable = (phrase.strip() for phrase in phrases if isinstance(phrase, str))
        return [phrase for phrase in usable if 0 < len(phrase) <= MAX_HOTWORD][:MAX_HOTWORDS]


class _StartMessage(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    language: str | None = Field(default=None, max_length=40)
    encoding: str = Field(default="LINEAR16", max_length=40)
    sample_rate: int = Field(default=SAMPLE_RATE, alias="sampleRateHz")
    interim: bool = Field(default=False, alias="interimResults")
    options: _Options = _Options()

    @field_validator("options", mode="before")
    @classmethod
    def _if_any(cls, found: Any) -> Any:
        return found if isinstance(found, dict) else {}


class JambonzAdapter:
    """Translates one connection's messages into commands, and events into messages."""

    resumes = False
    continues = False
    holds_text = False

    def __init__(self) -> None:
        self._decoder: PcmDecoder | None = None
        """None before ``start``."""
        self._stopped = False
        self._start = _StartMessage()

    @property
    def may_be_silent(self) -> bool:
        """``start`` comes at once. A call on hold may then be silent for long."""
        return self._decoder is not None

    def open(self, session: str) -> list[Command]:  # noqa: ARG002  (the interface of adapters)
        """Nothing: the client begins."""
        return []

    def receive(self, message: Message) -> list[Command]:
        """See ``Adapter``. What comes after ``stop`` was on its way when the client sent it, and is ignored."""
        if isinstance(message, bytes):
            return self._receive_audio(message)
        found = objects(message)
        if not found and self._decoder is None:
            raise BadMessage('found text that is not a JSON object, expected {"type": "start", ...}')
        commands: list[Command] = []
        for each in found:
            if self._stopped:
                break
            commands += self._receive_object(each)
        return commands

    def _receive_audio(self, chunk: bytes) -> list[Command]:
        if self._stopped:
            return []
        if self._decoder is None:
            raise BadMessage(f'found {len(chunk)} bytes of audio before the start, expected {{"type": "start", ...}}')
        samples = self._decoder.feed(chunk)
        return [Audio(samples)] if samples.size else []

    def _receive_object(self, found: dict[str, Any]) -> list[Command]:
        kind = found.get("type")
        if self._decoder is None:
            if kind != "start":
                raise BadMessage('found another message before the start, expected {"type": "start", ...}')
            return [self._receive_start(found)]
        if kind == "stop":
            self._stopped = True
            rest = self._decoder.flush()
            return [Audio(rest), Stop()] if rest.size else [Stop()]
        return []

    def _receive_start(self, found: dict[str, Any]) -> Start:
        try:
            start = _StartMessage.model_validate(found)
        except ValidationError as error:
            mistake = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(step) for step in mistake["loc"])
            raise BadMessage(f"start.{field} is wrong: {mistake['msg'].lower()}") from None
        if start.encoding.upper() != "LINEAR16":
            raise UnsupportedFormat(f"encoding is {start.encoding!r}, expected LINEAR16")
        language = check_language(start.language) if start.language else None
        self._decoder = PcmDecoder(sample_rate=start.sample_rate)
        self._start = start
        # An application acts on a final result, so it gets one for each utterance.
        return Start(language, hotwords=tuple(start.options.hints), commit="utterance")

    def send(self, event: Event) -> list[Message]:
        """A final result for an utterance, and interim ones if the client asked for them."""
        match event:
            case Committed(words):
                return [self._result(event.text, confidence(words), final=True)]
            case Partial(text) if text.strip() and self._start.interim:
                return [self._result(text, 0.0, final=False)]
            case _:
                return []

    def _result(self, text: str, probability: float, *, final: bool) -> str:
        return _encode(
            type="transcription",
            is_final=final,
            alternatives=[{"confidence": probability, "transcript": text.strip()}],
            channel=CHANNEL,
            language=self._start.language,
        )

    def fail(self, error: WhisperLiveKitError, session: str) -> list[Message]:
        """See ``Adapter``."""
        return [_encode(type="error", error=error.message, code=error.code, session=session)]


def _encode(**fields: Any) -> str:
    return json.dumps(fields, ensure_ascii=False)
