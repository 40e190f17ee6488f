"""What a client of Deepgram's asks for in the address, and in the Content-Type of a file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from whisperlivekit.audio.pcm import CHANNELS, SAMPLE_RATES, Encoding
from whisperlivekit.core.commands import Start
from whisperlivekit.core.units import SAMPLE_RATE, to_samples
from whisperlivekit.errors import BadMessage, UnsupportedFormat
from whisperlivekit.wire.languages import AUTO, check_language
from whisperlivekit.wire.options import MAX_HOTWORD, MAX_HOTWORDS

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

UTTERANCE_END_S = (0.5, 60.0)
"""The bounds of ``utterance_end_ms``. Deepgram advises 1 s or more."""

_TRUE, _FALSE = frozenset({"true", "1", ""}), frozenset({"false", "0"})


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
        hotwords=read_hotwords(found.get("keyterm", []), found.get("keywords", [])),
        interim_results=_read_flag(last, "interim_results"),
        silence_s=silence_s,
        speech_final=speech_final,
        utterance_end=None if utterance_end_s is None else to_samples(utterance_end_s),
        vad_events=_read_flag(last, "vad_events"),
        punctuated=_read_flag(last, "punctuate") or _read_flag(last, "smart_format"),
        utterances=_read_flag(last, "utterances"),
    )


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


def read_hotwords(keyterms: Sequence[str], keywords: Sequence[str]) -> tuple[str, ...]:
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
