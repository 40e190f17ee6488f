# mypy: ignore-errors
"""Deepgram's SDK, version 7: a live stream and a file, as its README has them.

python deepgram_live.py http://HOST:PORT AUDIO.wav
"""

import json
import sys
import threading
import time
import wave
from pathlib import Path

from deepgram import DeepgramClient, DeepgramClientEnvironment, __version__
from deepgram.core.events import EventType
from deepgram.listen.v1.types import (
    ListenV1Configure,
    ListenV1ConfigureFailure,
    ListenV1ConfigureSuccess,
    ListenV1Metadata,
    ListenV1Results,
    ListenV1SpeechStarted,
    ListenV1UtteranceEnd,
)

CHUNK_S = 0.1
PACE = 2.0
"""Times real time."""


def client_for(url: str) -> DeepgramClient:
    ws_url = url.replace("http", "ws", 1)
    environment = DeepgramClientEnvironment(base=url, production=ws_url, agent=ws_url, agent_rest=url)
    return DeepgramClient(api_key="none", environment=environment)


def listen(client: DeepgramClient, path: str) -> dict:
    """A stream with every message that the SDK can send."""
    found = {"results": [], "started": 0, "ended": [], "metadata": None, "others": [], "configured": []}

    def receive(message) -> None:
        match message:
            case ListenV1Results():
                found["results"].append(message.dict())
            case ListenV1SpeechStarted():
                found["started"] += 1
            case ListenV1ConfigureSuccess() | ListenV1ConfigureFailure():
                found["configured"].append([type(message).__name__, message.dict()])
            case ListenV1UtteranceEnd():
                found["ended"].append(message.last_word_end)
            case ListenV1Metadata():
                found["metadata"] = message.dict()
            case _:
                found["others"].append(repr(message))

    with wave.open(path) as file:
        rate, audio = file.getframerate(), file.readframes(file.getnframes())
    options = {
        "model": "nova-3",
        "language": "ru",
        "encoding": "linear16",
        "sample_rate": str(rate),
        "interim_results": "true",
        "smart_format": "true",
        "vad_events": "true",
        "utterance_end_ms": "1000",
        "endpointing": "500",
    }
    with client.listen.v1.connect(**options) as connection:
        connection.on(EventType.MESSAGE, receive)
        connection.on(EventType.ERROR, lambda error: found["others"].append(repr(error)))
        listening = threading.Thread(target=connection.start_listening)
        listening.start()
        connection.send_configure(
            ListenV1Configure(keyterms=["абонент", "голосовой ящик"], features={"numerals": True})
        )
        connection.send_configure(ListenV1Configure(keyterms=["а" * 100]))
        step = int(rate * CHUNK_S) * 2
        for at in range(0, len(audio), step):
            connection.send_media(audio[at : at + step])
            time.sleep(CHUNK_S / PACE)
        connection.send_keep_alive()
        connection.send_finalize()
        deadline = time.monotonic() + 30
        while not any(result["from_finalize"] for result in found["results"]) and time.monotonic() < deadline:
            time.sleep(0.05)
        connection.send_media(bytes(rate * 3))
        time.sleep(0.5)
        connection.send_close_stream()
        listening.join(30)
    return found


def main(url: str, path: str) -> None:
    client = client_for(url)
    found = listen(client, path)
    answer = client.listen.v1.media.transcribe_file(
        request=Path(path).read_bytes(), model="nova-3", language="ru", smart_format=True, utterances=True
    )
    print(json.dumps({"version": __version__, "live": found, "file": answer.dict()}, ensure_ascii=False, default=str))


if __name__ == "__main__":
    main(*sys.argv[1:])
