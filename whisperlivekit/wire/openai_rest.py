"""The answers of OpenAI's ``/v1/audio/transcriptions``, ``/v1/audio/translations`` and ``/v1/models``."""

import math
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from pydantic import BaseModel, Field

from whisperlivekit.core.hypothesis import Task, Word
from whisperlivekit.core.units import SAMPLE_RATE, to_seconds
from whisperlivekit.errors import WhisperLiveKitError
from whisperlivekit.wire import subtitles
from whisperlivekit.wire.languages import LANGUAGES

ResponseFormat = Literal["json", "text", "srt", "vtt", "verbose_json"]
Granularity = Literal["segment", "word"]
"""What ``verbose_json`` has times for."""

DEFAULT_GRANULARITIES: tuple[Granularity, ...] = ("segment",)
"""Source: OpenAI's API reference."""

FRAMES_PER_SECOND = 100
"""The unit of a segment's ``seek``: Whisper's feature frames."""

LEAST_PROBABILITY = 1e-10
"""In place of 0 where a logarithm is taken."""


@dataclass(frozen=True, slots=True)
class Passage:
    """Words that were decoded together."""

    words: tuple[Word, ...]
    no_speech_probability: float = 0.0
    channel: int = 0


@dataclass(frozen=True, slots=True)
class Transcription:
    """The result of transcribing or translating one file."""

    passages: tuple[Passage, ...]
    duration: int
    """Samples of audio."""
    language: str | None
    """The code that the client asked for or the model detected; None if neither: the file holds no speech."""
    gaps: int = 0
    """Samples that could not be transcribed."""
    task: Task = "transcribe"
    channels: int = 1
    """More than 1: each channel has a speaker of its own, and the text is a dialogue."""

    @property
    def words(self) -> tuple[Word, ...]:
        """In the order in which they begin."""
        return tuple(word for _, word in subtitles.in_order(self.words_by_channel))

    @property
    def words_by_channel(self) -> tuple[tuple[Word, ...], ...]:
        return tuple(
            tuple(chain.from_iterable(passage.words for passage in self.passages if passage.channel == channel))
            for channel in range(self.channels)
        )

    @property
    def text(self) -> str:
        if self.channels > 1:
            return subtitles.text(*self.words_by_channel).strip()
        return "".join(word.text for word in self.words).strip()


# The field descriptions below become the server's OpenAPI document.

_SECONDS = "seconds from the beginning of the file"
_CHANNEL = "only with multichannel: 0 for the first speaker, 1 for the second"


class Usage(BaseModel):
    """What OpenAI charges for by duration."""

    type: Literal["duration"] = "duration"
    seconds: int = Field(ge=0, description="seconds of audio, rounded up")


class SpokenLanguage(BaseModel):
    """A language of the speech."""

    code: str = Field(description='a Whisper language code such as "ru"')


class TranscriptionWord(BaseModel):
    """One word."""

    word: str = Field(description="the word with its punctuation, without spaces around it")
    start: float = Field(ge=0, description=_SECONDS)
    end: float = Field(ge=0, description=_SECONDS)
    probability: float = Field(ge=0, le=1, description="mean probability of the word's tokens")
    channel: int = Field(0, ge=0, description=_CHANNEL)


class TranscriptionSegment(BaseModel):
    """One subtitle cue."""

    id: int = Field(ge=0, description="0, 1, 2 ... in order")
    seek: int = Field(ge=0, description="where the passage begins that was decoded together, in 0.01 s")
    start: float = Field(ge=0, description=_SECONDS)
    end: float = Field(ge=0, description=_SECONDS)
    text: str = Field(description="begins with a space where one belongs before it")
    tokens: list[int] = Field([], description="always empty")
    temperature: float = Field(0.0, description="always 0: the text is the result of a beam search")
    avg_logprob: float = Field(le=0, description="mean of the logarithms of the words' probabilities")
    compression_ratio: float = Field(ge=0, description="length of the text divided by its length compressed by zlib")
    no_speech_prob: float = Field(ge=0, le=1, description="the model's probability of no speech in the passage")
    channel: int = Field(0, ge=0, description=_CHANNEL)


class TranscriptionBody(BaseModel):
    """The answer in the formats ``json``, which has the first three fields only, and ``verbose_json``."""

    text: str
    languages: list[SpokenLanguage] = Field(
        description="what was asked for or detected; empty if none was asked for and no speech was found"
    )
    usage: Usage
    task: Task = "transcribe"
    language: str = Field(
        default="",
        description="English name of the language of the text; empty if none was asked for and no speech was found",
    )
    duration: float = Field(default=0.0, ge=0, description="seconds of audio")
    segments: list[TranscriptionSegment] = Field([], description="unless timestamp_granularities[] is word only")
    words: list[TranscriptionWord] = Field([], description="only if timestamp_granularities[] has word")
    gap_s: float = Field(default=0.0, ge=0, description="seconds of audio that could not be transcribed")


class TextDelta(BaseModel):
    """The next text of a transcript."""

    type: Literal["transcript.text.delta"] = "transcript.text.delta"
    delta: str


class TextDone(BaseModel):
    """The whole transcript. It is the sum of all deltas."""

    type: Literal["transcript.text.done"] = "transcript.text.done"
    text: str


class ModelBody(BaseModel):
    """The model that the server has loaded."""

    id: str = Field(description="its name in WLK_MODEL")
    object: Literal["model"] = "model"
    created: int = Field(ge=0, description="when its files were put on the server, in seconds since 1970")
    owned_by: Literal["whisperlivekit"] = "whisperlivekit"


class ModelList(BaseModel):
    """All models of the server: one."""

    object: Literal["list"] = "list"
    data: list[ModelBody]


class ErrorDetail(BaseModel):
    """What went wrong, in the form that OpenAI's clients read."""

    message: str
    type: str = Field(description="invalid_request_error or server_error")
    param: None = None
    code: str = Field(description="an error code of this server, such as unsupported_format")
    session: str = Field(description="the id of the request in the server's log: quote it in a report")


class ErrorBody(BaseModel):
    """The body of every answer that is not a transcript."""

    error: ErrorDetail


def write(
    result: Transcription, response_format: ResponseFormat, granularities: Collection[Granularity] = ()
) -> tuple[str, str]:
    """The media type and the content of an answer. ``granularities``: of ``verbose_json``; none: the default ones."""
    body: TranscriptionBody
    match response_format:
        case "text":
            return "text/plain; charset=utf-8", f"{result.text}\n"
        case "srt":
            return "application/x-subrip; charset=utf-8", subtitles.srt(*result.words_by_channel)
        case "vtt":
            return "text/vtt; charset=utf-8", subtitles.vtt(*result.words_by_channel)
        case "json":
            body = TranscriptionBody(text=result.text, languages=_languages(result), usage=_usage(result))
        case "verbose_json":
            body = _verbose(result, granularities or DEFAULT_GRANULARITIES)
    # The two JSON formats differ in the fields that were set.
    return "application/json", body.model_dump_json(exclude_unset=True)


def _verbose(result: Transcription, granularities: Collection[Granularity]) -> TranscriptionBody:
    language = "en" if result.task == "translate" else result.language or ""
    body = TranscriptionBody(
        text=result.text,
        languages=_languages(result),
        usage=_usage(result),
        task=result.task,
        language=LANGUAGES.get(language, language),
        duration=to_seconds(result.duration),
        gap_s=to_seconds(result.gaps),
    )
    if "segment" in granularities:
        body.segments = list(_segments(result))
    if "word" in granularities:
        body.words = [
            TranscriptionWord(
                word=word.text.strip(),
                start=to_seconds(word.start),
                end=to_seconds(word.end),
                probability=round(word.probability, 3),
                **_of(channel, result),
            )
            for channel, word in subtitles.in_order(result.words_by_channel)
        ]
    return body


def _of(channel: int, result: Transcription) -> dict[str, int]:
    """The field that only a dialogue has."""
    return {"channel": channel} if result.channels > 1 else {}


def _cues(result: Transcription) -> Iterator[tuple[Passage, list[Word]]]:
    """The subtitle cues of each channel, each with the passage in which it begins."""
    for channel, words in enumerate(result.words_by_channel):
        passage_of = [passage for passage in result.passages if passage.channel == channel for _ in passage.words]
        first = 0
        for cue in subtitles.cues(words):
            yield passage_of[first], cue
            first += len(cue)


def _segments(result: Transcription) -> Iterator[TranscriptionSegment]:
    for number, (passage, cue) in enumerate(sorted(_cues(result), key=lambda found: found[1][0].start)):
        text = "".join(word.text for word in cue)
        logs = [math.log(max(word.probability, LEAST_PROBABILITY)) for word in cue]
        yield TranscriptionSegment(
            id=number,
            seek=passage.words[0].start * FRAMES_PER_SECOND // SAMPLE_RATE,
            start=to_seconds(cue[0].start),
            end=to_seconds(cue[-1].end),
            text=text,
            tokens=[],
            temperature=0.0,
            avg_logprob=round(min(0.0, sum(logs) / len(logs)), 4),
            compression_ratio=round(_compression_ratio(text), 4),
            no_speech_prob=round(passage.no_speech_probability, 4),
            **_of(passage.channel, result),
        )


def _compression_ratio(text: str) -> float:
    # Whisper's own definition: far above 2, a text repeats itself.
    content = text.encode()
    return len(content) / len(zlib.compress(content))


def _languages(result: Transcription) -> list[SpokenLanguage]:
    return [SpokenLanguage(code=result.language)] if result.language else []


def _usage(result: Transcription) -> Usage:
    return Usage(type="duration", seconds=math.ceil(result.duration / SAMPLE_RATE))


EVENT_STREAM = "text/event-stream; charset=utf-8"


class TextStream:
    """The events of a transcript that is sent while it is made. Their deltas add up to the whole text."""

    def __init__(self) -> None:
        self._text = ""
        self._held = ""
        """Spaces at the end: they are sent with what follows, because the text does not end with a space."""

    def delta(self, text: str) -> str:
        """The event for the next text, which may be empty."""
        found = self._held + text
        if not self._text:
            found = found.lstrip()
        sent = found.rstrip()
        self._held = found[len(sent) :]
        self._text += sent
        return _event(TextDelta(delta=sent)) if sent else ""

    def done(self) -> str:
        """The last event."""
        return _event(TextDone(text=self._text))

    def error(self, error: WhisperLiveKitError, session: str) -> str:
        """In place of the last event: an error after which nothing follows."""
        return _event(_error_body(error, session))


def _event(body: BaseModel) -> str:
    return f"data: {body.model_dump_json()}\n\n"


def _error_body(error: WhisperLiveKitError, session: str) -> ErrorBody:
    kind = "invalid_request_error" if error.http_status < 500 else "server_error"
    return ErrorBody(error=ErrorDetail(message=error.message, type=kind, code=error.code, session=session))


def error_body(error: WhisperLiveKitError, session: str) -> dict[str, dict[str, str | None]]:
    """``error`` as an ``ErrorBody``; ``session`` is the id to quote in a report."""
    body: dict[str, dict[str, str | None]] = _error_body(error, session).model_dump()
    return body
