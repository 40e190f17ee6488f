"""The answer of Deepgram's ``POST /v1/listen``: the transcript of a file."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from pydantic import BaseModel, Field

from whisperlivekit.core.hypothesis import Word
from whisperlivekit.core.units import to_samples, to_seconds
from whisperlivekit.wire.deepgram import alternative, describe_model, joined_words, metadata
from whisperlivekit.wire.deepgram_options import Options
from whisperlivekit.wire.languages import AUTO
from whisperlivekit.wire.openai_rest import Transcription

UTTERANCE_SPLIT_S = 0.8
"""A pause between two utterances. Source: Deepgram's default of ``utt_split``."""

_SECONDS = "seconds from the beginning of the file"


class FileWord(BaseModel):
    """One word."""

    word: str = Field(description="in lower case, without punctuation")
    start: float = Field(ge=0, description=_SECONDS)
    end: float = Field(ge=0, description=_SECONDS)
    confidence: float = Field(ge=0, le=1, description="mean probability of the word's tokens")
    punctuated_word: str | None = Field(None, description="as the model writes it; with punctuate or smart_format")


class FileAlternative(BaseModel):
    """The transcript. There is always one."""

    transcript: str
    confidence: float = Field(ge=0, le=1, description="mean of the words'; 0 if there are none")
    words: list[FileWord]


class FileChannel(BaseModel):
    """The transcript of a channel, or of all channels mixed."""

    alternatives: list[FileAlternative]
    detected_language: str | None = Field(None, description="with detect_language or language=multi")


class FileUtterance(FileAlternative):
    """What was said between two pauses."""

    start: float = Field(ge=0, description=_SECONDS)
    end: float = Field(ge=0, description=_SECONDS)
    channel: int
    id: str


class FileResults(BaseModel):
    """What was said."""

    channels: list[FileChannel]
    utterances: list[FileUtterance] | None = Field(None, description="with utterances=true")


class ModelInfo(BaseModel):
    """The model."""

    name: str
    version: str
    arch: str


class FileMetadata(BaseModel):
    """The totals."""

    transaction_key: str = "deprecated"
    request_id: str = Field(description="the id of the request in the server's log")
    sha256: str = Field(description="always empty")
    created: str
    duration: float = Field(ge=0, description="seconds of audio")
    channels: int
    models: list[str]
    model_info: dict[str, ModelInfo]


class FileBody(BaseModel):
    """The answer."""

    metadata: FileMetadata
    results: FileResults


class FileErrorBody(BaseModel):
    """The body of every answer that is not a transcript."""

    err_code: str = Field(description="an error code of this server, such as unsupported_format")
    err_msg: str
    request_id: str = Field(description="the id of the request in the server's log: quote it in a report")


def file_body(result: Transcription, options: Options, model: str, request_id: str, created: str) -> str:
    """The answer for a file as JSON."""
    detected = result.language if options.language == AUTO else None
    results = FileResults(channels=[])
    for words in result.words_by_channel:
        told = FileAlternative.model_validate(alternative(words, punctuated=options.punctuated))
        results.channels.append(FileChannel(alternatives=[told], detected_language=detected))
    if options.utterances:
        said = [
            (words, channel)
            for channel, all_words in enumerate(result.words_by_channel)
            for words in _utterances(joined_words(all_words))
        ]
        results.utterances = [
            FileUtterance(
                start=to_seconds(words[0].start),
                end=to_seconds(words[-1].end),
                channel=channel,
                id=f"{request_id}-{number}",
                **alternative(words, punctuated=options.punctuated),
            )
            for number, (words, channel) in enumerate(sorted(said, key=lambda each: each[0][0].start))
        ]
    described = describe_model(model)
    totals = metadata(request_id, created, result.duration, result.channels)
    identifier = described["model_uuid"]
    about = FileMetadata(**totals, models=[identifier], model_info={identifier: described["model_info"]})
    return FileBody(metadata=about, results=results).model_dump_json(exclude_none=True)


def _utterances(words: Sequence[Word]) -> Iterator[Sequence[Word]]:
    begin = 0
    for place, (before, word) in enumerate(pairwise(words), start=1):
        if word.start - before.end >= to_samples(UTTERANCE_SPLIT_S):
            yield words[begin:place]
            begin = place
    if words:
        yield words[begin:]
