"""The answers of OpenAI's ``POST /v1/audio/transcriptions``: the transcript of a file in each response format."""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, Field

from whisperlivekit.core.hypothesis import Word
from whisperlivekit.core.units import to_seconds
from whisperlivekit.errors import WhisperLiveKitError
from whisperlivekit.wire import subtitles
from whisperlivekit.wire.languages import LANGUAGES


@dataclass(frozen=True, slots=True)
class Transcription:
    """The result of transcribing one file."""

    words: tuple[Word, ...]
    duration: int
    """Samples of audio."""
    language: str | None
    """The code that the client asked for or the model detected; None if neither: the file holds no speech."""
    gaps: int = 0
    """Samples that could not be transcribed."""

    @property
    def text(self) -> str:
        return "".join(word.text for word in self.words).strip()


# The field descriptions below become the server's OpenAPI document.


class TranscriptionWord(BaseModel):
    """One word."""

    word: str = Field(description="the word with its punctuation, without spaces around it")
    start: float = Field(ge=0, description="seconds from the beginning of the file")
    end: float = Field(ge=0, description="seconds from the beginning of the file")
    probability: float = Field(ge=0, le=1, description="mean probability of the word's tokens")


class TranscriptionSegment(BaseModel):
    """One subtitle cue. The decoder's internal values that OpenAI adds to a segment are not given."""

    id: int = Field(ge=0, description="0, 1, 2 ... in order")
    start: float = Field(ge=0, description="seconds from the beginning of the file")
    end: float = Field(ge=0, description="seconds from the beginning of the file")
    text: str = Field(description="begins with a space where one belongs before it")


class TranscriptionBody(BaseModel):
    """The answer in the formats ``json``, which has ``text`` only, and ``verbose_json``, which has every field."""

    text: str
    task: str = Field(default="transcribe", description="always transcribe")
    language: str | None = Field(
        default=None, description="English name of the language; null if none was asked for and no speech was found"
    )
    duration: float = Field(default=0.0, ge=0, description="seconds of audio")
    segments: list[TranscriptionSegment] = []
    words: list[TranscriptionWord] = []
    gap_s: float = Field(default=0.0, ge=0, description="seconds of audio that could not be transcribed")


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


def _json(result: Transcription) -> str:
    return _dump(TranscriptionBody(text=result.text))


def _verbose_json(result: Transcription) -> str:
    return _dump(
        TranscriptionBody(
            task="transcribe",
            language=LANGUAGES.get(result.language or "", result.language),
            duration=to_seconds(result.duration),
            text=result.text,
            segments=[
                TranscriptionSegment(
                    id=number,
                    start=to_seconds(cue[0].start),
                    end=to_seconds(cue[-1].end),
                    text="".join(word.text for word in cue),
                )
                for number, cue in enumerate(subtitles.cues(result.words))
            ],
            words=[
                TranscriptionWord(
                    word=word.text.strip(),
                    start=to_seconds(word.start),
                    end=to_seconds(word.end),
                    probability=round(word.probability, 3),
                )
                for word in result.words
            ],
            gap_s=to_seconds(result.gaps),
        )
    )


def _dump(answer: TranscriptionBody) -> str:
    # The two JSON formats differ in the fields that were set.
    return answer.model_dump_json(exclude_unset=True)


RESPONSE_FORMATS: dict[str, tuple[str, Callable[[Transcription], str]]] = {
    "json": ("application/json", _json),
    "text": ("text/plain; charset=utf-8", lambda result: f"{result.text}\n"),
    "srt": ("application/x-subrip; charset=utf-8", lambda result: subtitles.srt(result.words)),
    "vtt": ("text/vtt; charset=utf-8", lambda result: subtitles.vtt(result.words)),
    "verbose_json": ("application/json", _verbose_json),
}
"""Name of a format -> (media type, function that writes a transcription in it)."""


def error_body(error: WhisperLiveKitError, session: str) -> dict[str, dict[str, str | None]]:
    """``error`` as an ``ErrorBody``; ``session`` is the id to quote in a report."""
    kind = "invalid_request_error" if error.http_status < 500 else "server_error"
    detail = ErrorDetail(message=error.message, type=kind, code=error.code, session=session)
    body: dict[str, dict[str, str | None]] = ErrorBody(error=detail).model_dump()
    return body
