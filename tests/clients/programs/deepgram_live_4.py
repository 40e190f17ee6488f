# mypy: ignore-errors
"""Deepgram's SDK, version 4: a live stream and a file, as its README has them.

python deepgram_live_4.py http://HOST:PORT AUDIO.wav
"""

import json
import sys
import time
import wave
from pathlib import Path

from deepgram import (
    DeepgramClient,
    DeepgramClientOptions,
    LiveOptions,
    LiveTranscriptionEvents,
    PrerecordedOptions,
    __version__,
)

CHUNK_S = 0.1
PACE = 2.0
"""Times real time."""


def main(url: str, path: str) -> None:
    client = DeepgramClient("none", DeepgramClientOptions(url=url, options={"keepalive": "true"}))
    found = {"results": [], "started": 0, "ended": [], "metadata": [], "others": [], "closed": 0}
    connection = client.listen.websocket.v("1")

    def on_result(_, result, **__) -> None:
        found["results"].append(result.to_dict())

    def on_started(_, speech_started, **__) -> None:
        found["started"] += 1

    def on_end(_, utterance_end, **__) -> None:
        found["ended"].append(utterance_end.last_word_end)

    def on_metadata(_, metadata, **__) -> None:
        found["metadata"].append(metadata.to_dict())

    def on_other(_, *values, **named) -> None:
        found["others"].append(repr((values, named)))

    def on_close(*_, **__) -> None:
        found["closed"] += 1

    connection.on(LiveTranscriptionEvents.Transcript, on_result)
    connection.on(LiveTranscriptionEvents.SpeechStarted, on_started)
    connection.on(LiveTranscriptionEvents.UtteranceEnd, on_end)
    connection.on(LiveTranscriptionEvents.Metadata, on_metadata)
    connection.on(LiveTranscriptionEvents.Error, on_other)
    connection.on(LiveTranscriptionEvents.Unhandled, on_other)
    connection.on(LiveTranscriptionEvents.Close, on_close)
    with wave.open(path) as file:
        rate, audio = file.getframerate(), file.readframes(file.getnframes())
    options = LiveOptions(
        model="nova-2",
        language="ru",
        encoding="linear16",
        channels=1,
        sample_rate=rate,
        interim_results=True,
        punctuate=True,
        vad_events=True,
        utterance_end_ms="1000",
        endpointing=500,
    )
    assert connection.start(options)
    step = int(rate * CHUNK_S) * 2
    for at in range(0, len(audio), step):
        assert connection.send(audio[at : at + step])
        time.sleep(CHUNK_S / PACE)
    assert connection.keep_alive()
    assert connection.finalize()
    deadline = time.monotonic() + 30
    while not any(result.get("from_finalize") for result in found["results"]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert connection.send(bytes(rate * 3))
    time.sleep(0.5)
    connection.finish()
    answer = client.listen.rest.v("1").transcribe_file(
        {"buffer": Path(path).read_bytes()}, PrerecordedOptions(model="nova-2", language="ru", punctuate=True)
    )
    print(
        json.dumps({"version": __version__, "live": found, "file": answer.to_dict()}, ensure_ascii=False, default=str)
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
