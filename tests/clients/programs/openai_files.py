# mypy: ignore-errors
"""Transcribes and translates a file with OpenAI's own client in every way that it has.

Arguments: the base URL, a short file for everything, and a long one that is streamed.
"""

import asyncio
import json
import sys
from pathlib import Path

from openai import APIStatusError, AsyncOpenAI, OpenAI, __version__


def main(base_url: str, path: str, long_path: str) -> dict:
    client = OpenAI(base_url=base_url, api_key="none", max_retries=0)
    file = Path(path)
    usual = {"file": file, "model": "whisper-1", "language": "ru"}
    create, translate = client.audio.transcriptions.create, client.audio.translations.create
    verbose = create(**usual, response_format="verbose_json")
    words = create(**usual, response_format="verbose_json", timestamp_granularities=["word"])
    plain = create(**usual, prompt="Телефонная станция.", temperature=0.0, chunking_strategy="auto")
    vad = {"type": "server_vad", "threshold": 0.5}
    keyed = create(
        **usual,
        include=["logprobs"],
        chunking_strategy=vad,
        extra_body={"keywords": ["оператор", "конференция"], "something_new": "1"},
    )
    streamed = list(create(**usual | {"file": Path(long_path)}, stream=True))
    try:
        create(file=file, model="whisper-1", language="klingon")
        refused = None
    except APIStatusError as error:
        refused = [error.status_code, error.code, error.type]
    return {
        "version": __version__,
        "models": [model.id for model in client.models.list()],
        "model": client.models.retrieve(client.models.list().data[0].id).model_dump(),
        "json": plain.model_dump(),
        "keywords": keyed.text,
        "text": create(**usual, response_format="text"),
        "srt": create(**usual, response_format="srt"),
        "vtt": create(**usual, response_format="vtt"),
        "verbose_json": verbose.model_dump(),
        "segments_are_typed": all(type(one).__name__ == "TranscriptionSegment" for one in verbose.segments),
        "words": [[word.word, word.start, word.end] for word in words.words],
        "stream": [[type(event).__name__, event.model_dump()] for event in streamed],
        "async_stream": asyncio.run(stream_again(base_url, usual)),
        "translation": translate(file=file, model="whisper-1").text,
        "translation_verbose": translate(file=file, model="whisper-1", response_format="verbose_json").model_dump(),
        "refused": refused,
    }


async def stream_again(base_url: str, usual: dict) -> str:
    async with AsyncOpenAI(base_url=base_url, api_key="none") as client:
        told = await client.audio.transcriptions.create(**usual, stream=True)
        return "".join([event.delta async for event in told if event.type == "transcript.text.delta"])


print(json.dumps(main(*sys.argv[1:])))
