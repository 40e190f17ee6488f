"""The ``/asr`` socket of WhisperLiveKit 0.2, for its page and the pages made from it.

The server tells the whole transcript again with each update (``mode=full``), or what has changed (``mode=diff``).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whisperlivekit.audio.pcm import PcmDecoder
from whisperlivekit.core.commands import Audio, Command, Start, Stop
from whisperlivekit.core.events import Committed, Done, Event, Partial, Progress
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.errors import ClientError, UnsupportedFormat, WhisperLiveKitError
from whisperlivekit.wire.adapter import Message, Reply
from whisperlivekit.wire.languages import check_language

MODES = ("full", "diff")

SILENCE_S = 5.0
"""Silence from which on it is a line of its own. Source: MIN_DURATION_REAL_SILENCE in WhisperLiveKit 0.2.26."""

SPEAKER, SILENCE = 1, -2
"""Speakers of a line. Without diarization all speech is of one."""


class BadParameter(UnsupportedFormat):
    """An option in the address that this server does not support. The page is told so after the handshake."""

    close_code = 4400


@dataclass(slots=True)
class _Line:
    """Speech between two silences, or such a silence. Positions are samples."""

    start: int
    end: int
    text: str = ""
    """Empty: silence."""

    def fields(self) -> dict[str, Any]:
        speaker = SPEAKER if self.text else SILENCE
        return {"speaker": speaker, "text": self.text.strip(), "start": _clock(self.start), "end": _clock(self.end)}


def ends_audio(message: Message) -> bool:
    """The page sends an empty frame when the user has stopped the recording."""
    return message == b""


class WhisperLiveKitAdapter:
    """Translates one connection's messages into commands, and events into messages."""

    resumes = False
    may_be_silent = False
    continues = False
    holds_text = False

    def __init__(self, query: Mapping[str, str]) -> None:
        """``query``: of the address. ``target_language`` is ignored, as WhisperLiveKit does without a translator."""
        self._query = query
        self._mode = query.get("mode") or "full"
        self._decoder = PcmDecoder()
        self._odd = b""
        """The first byte of a sample that was cut in two."""
        self._stopped = False
        self._lines: list[_Line] = []
        self._buffer = ""
        self._unheard_s = self._undecided_s = 0.0
        """Received and not decoded; decoded and not committed."""
        self._told: dict[str, Any] | None = None
        """The state that the client has."""
        self._seq = 0

    def open(self, session: str) -> list[Command | Reply]:  # noqa: ARG002  (the interface of adapters)
        """The server speaks first, and audio may follow at once.

        Raises:
            BadParameter: an option has a value that is not supported.
        """
        if self._mode not in MODES:
            raise BadParameter(f'mode is "{self._mode[:40]}", expected one of {", ".join(MODES)}')
        try:
            language = check_language(self._query["language"]) if self._query.get("language") else None
        except ClientError as error:
            raise BadParameter(error.message) from None
        return [Reply(_encode({"type": "config", "useAudioWorklet": True, "mode": self._mode})), Start(language)]

    def expect_decoded(self) -> None:
        """The client sends a media file: the server decodes it, and ``receive`` gets pcm_f32le, mono 16 kHz."""
        self._decoder = PcmDecoder("pcm_f32le")

    def receive(self, message: Message) -> Sequence[Command]:
        """Audio as pcm_s16le, mono 16 kHz, cut anywhere; empty: the end. Text means nothing here.

        The page sends one more piece of audio after the end, which is ignored.
        """
        if self._stopped or isinstance(message, str):
            return []
        if ends_audio(message):
            self._stopped = True
            return [Stop()]
        audio = self._odd + message
        whole = len(audio) - len(audio) % self._decoder.frame_bytes
        self._odd = audio[whole:]
        return [Audio(self._decoder.feed(audio[:whole]))] if whole else []

    def send(self, event: Event) -> list[Message]:
        """An update if something has changed. The last one is followed by ``ready_to_stop``."""
        match event:
            case Committed(words):
                self._add_text(words[0].start, words[-1].end, event.text)
                self._buffer = ""
            case Partial(text):
                self._buffer = text
            case Progress(received, settled):
                heard = settled if event.heard is None else max(settled, event.heard)
                self._unheard_s = _tenths(received - heard)
                self._undecided_s = _tenths(heard - settled)
                self._extend_silence(settled)
            case Done():
                self._buffer, self._unheard_s, self._undecided_s = "", 0.0, 0.0
                return [*self._update(), _encode({"type": "ready_to_stop"})]
            case _:
                return []
        return self._update()

    def fail(self, error: WhisperLiveKitError, session: str) -> list[Message]:  # noqa: ARG002  (the interface)
        """The last update, with the error."""
        if isinstance(error, BadParameter):
            return [_encode({"type": "error", "error": error.message})]
        return self._update(error.message)

    # ---- the transcript

    def _add_text(self, start: int, end: int, text: str) -> None:
        last = self._lines[-1] if self._lines else None
        spoken_to = last.end if last is not None else 0
        if last is not None and last.text and start - spoken_to < SILENCE_S * SAMPLE_RATE:
            last.text += text
            last.end = max(last.end, end)
            return
        if last is not None and not last.text:
            last.end = max(last.start, start)  # it was told as far as it was known to be silent
        elif start - spoken_to >= SILENCE_S * SAMPLE_RATE:
            self._lines.append(_Line(spoken_to, start))
        self._lines.append(_Line(start, end, text))

    def _extend_silence(self, settled: int) -> None:
        """Everything before ``settled`` is committed or silent."""
        last = self._lines[-1] if self._lines else None
        if last is not None and not last.text:
            last.end = max(last.end, settled)
            return
        start = last.end if last is not None else 0
        if settled - start >= SILENCE_S * SAMPLE_RATE:
            self._lines.append(_Line(start, settled))

    def _update(self, error: str = "") -> list[Message]:
        lines = [line.fields() for line in self._lines]
        # The page writes the buffer behind the last line.
        buffer = self._buffer if lines and lines[-1]["text"] else self._buffer.lstrip()
        status = "error" if error else "active_transcription" if lines or buffer else "no_audio_detected"
        state: dict[str, Any] = {
            "status": status,
            "lines": lines,
            "buffer_transcription": buffer,
            "buffer_diarization": "",
            "buffer_translation": "",
            "remaining_time_transcription": round(self._unheard_s + self._undecided_s, 1),
            "remaining_time_transcription_processing": self._unheard_s,
            "remaining_time_transcription_policy": self._undecided_s,
            "remaining_time_diarization": 0.0,
        } | ({"error": error} if error else {})
        if state == self._told:
            return []
        told, self._told = self._told, state
        return [_encode(state if self._mode == "full" else self._difference(told, state))]

    def _difference(self, told: dict[str, Any] | None, state: dict[str, Any]) -> dict[str, Any]:
        """The message of ``mode=diff``: the client keeps the lines before ``new_lines``, which are ``n_lines`` less
        their number.
        """
        self._seq += 1
        if told is None:
            return {"type": "snapshot", "seq": self._seq, **state}
        before, lines = told["lines"], state["lines"]
        common = 0
        while common < min(len(before), len(lines)) and before[common] == lines[common]:
            common += 1
        rest = {name: value for name, value in state.items() if name != "lines"}
        new = {"new_lines": lines[common:]} if lines[common:] else {}
        return {"type": "diff", "seq": self._seq, **rest, "n_lines": len(lines), **new}


def _encode(message: Mapping[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


def _tenths(samples: int) -> float:
    return round(max(0, samples) / SAMPLE_RATE, 1)


def _clock(samples: int) -> str:
    """A position as H:MM:SS.cc."""
    hundredths = round(samples * 100 / SAMPLE_RATE)
    minutes, hundredths = divmod(hundredths, 6_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{hundredths // 100:02d}.{hundredths % 100:02d}"
