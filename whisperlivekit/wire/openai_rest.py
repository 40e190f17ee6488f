"""The answers of OpenAI's ``POST /v1/audio/transcriptions``: what a file's words become in each response format."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from whisperlivekit.core.hypothesis import Word
from whisperlivekit.core.units import to_seconds
from whisperlivekit.errors import WhisperLiveKitError
from whisperlivekit.wire import subtitles
from whisperlivekit.wire.languages import LANGUAGES


@dataclass(frozen=True, slots=True)
class Transcription:
    """What became of one file."""

    words: tuple[Word, ...]
    duration: int
    """Samples of audio."""
    language: str | None
    """As asked or detected; None: nothing was heard that has one."""
    gaps: int = 0
    """Samples that could not be transcribed."""

    @property
    def text(self) -> str:
        return "".join(word.text for word in self.words).strip()


def _json(result: Transcription) -> str:
    return _dump({"text": result.text})


def _verbose_json(result: Transcription) -> str:
    """With segments (cues here) and words. The decoder's internals that OpenAI adds to segments are not given."""
    return _dump(
        {
            "task": "transcribe",
            "language": LANGUAGES.get(result.language or "", result.language),
            "duration": to_seconds(result.duration),
            "text": result.text,
            "segments": [
                {
                    "id": number,
                    "start": to_seconds(cue[0].start),
                    "end": to_seconds(cue[-1].end),
                    "text": "".join(word.text for word in cue),
                }
                for number, cue in enumerate(subtitles.cues(result.words))
            ],
            "words": [
                {
                    "word": word.text.strip(),
                    "start": to_seconds(word.start),
                    "end": to_seconds(word.end),
                    "probability": round(word.probability, 3),
                }
                for word in result.words
            ],
            "gap_s": to_seconds(result.gaps),
        }
    )


def _dump(answer: object) -> str:
    return json.dumps(answer, ensure_ascii=False)


RESPONSE_FORMATS: dict[str, tuple[str, Callable[[Transcription], str]]] = {
    "json": ("application/json", _json),
    "text": ("text/plain; charset=utf-8", lambda result: f"{result.text}\n"),
    "srt": ("application/x-subrip; charset=utf-8", lambda result: subtitles.srt(result.words)),
    "vtt": ("text/vtt; charset=utf-8", lambda result: subtitles.vtt(result.words)),
    "verbose_json": ("application/json", _verbose_json),
}
"""Name -> media type, writer."""


def error_body(error: WhisperLiveKitError, session: str) -> dict[str, dict[str, str | None]]:
    """An error as OpenAI's clients read it, and the id to quote in a report."""
    kind = "invalid_request_error" if error.http_status < 500 else "server_error"
    return {"error": {"message": error.message, "type": kind, "param": None, "code": error.code, "session": session}}
