# mypy: ignore-errors
"""What Home Assistant does with a Wyoming service for speech to text, by the package ``wyoming``.

    wyoming_home_assistant.py PORT WAV LANGUAGE [PACE]

From Home Assistant's integration (homeassistant/components/wyoming, data.py and stt.py): ``describe`` on a connection
of its own, with a limit of one second; then one connection for the command, on which the audio is sent in pieces of
2048 bytes, as the microphone of a satellite delivers them, while the events are read up to ``transcript`` or ``error``.
PACE is the multiple of real time, 0: as fast as possible.

Prints {"languages", "streaming", "describe_s", "text", "chunks", "error", "end_s"}.
"""

import asyncio
import json
import sys
import time
import wave

from wyoming.asr import Transcribe, Transcript, TranscriptChunk
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.info import Describe, Info


async def load_info(host, port):
    async with AsyncTcpClient(host, port) as client:
        async with asyncio.timeout(1):
            await client.write_event(Describe().event())
            while True:
                event = await client.read_event()
                assert event is not None, "connection closed unexpectedly"
                if Info.is_type(event.type):
                    return Info.from_event(event)


async def upload(client, stream):
    async for audio in stream:
        await client.write_event(AudioChunk(rate=16_000, width=2, channels=1, audio=audio).event())
    await client.write_event(AudioStop().event())


async def receive(client, result):
    while True:
        event = await client.read_event()
        assert event is not None, "connection lost"
        if Error.is_type(event.type):
            result["error"] = Error.from_event(event).code
            return
        if TranscriptChunk.is_type(event.type):
            result["chunks"].append(TranscriptChunk.from_event(event).text)
        if Transcript.is_type(event.type):
            result["text"] = Transcript.from_event(event).text
            return


async def microphone(path, pace):
    with wave.open(path, "rb") as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (16_000, 2, 1)
        began = time.monotonic()
        sent = 0
        while audio := file.readframes(1_024):
            yield audio
            sent += 1_024
            if pace:
                await asyncio.sleep(max(0.0, began + sent / 16_000 / pace - time.monotonic()))


async def main(port, path, language, pace="0"):
    began = time.monotonic()
    info = await load_info("127.0.0.1", int(port))
    result = {"describe_s": time.monotonic() - began, "text": None, "chunks": [], "error": None}
    program = info.asr[0]
    result["languages"] = sorted(
        {language for model in program.models if model.installed for language in model.languages}
    )
    result["streaming"] = program.supports_transcript_streaming
    async with AsyncTcpClient("127.0.0.1", int(port)) as client:
        await client.write_event(Transcribe(language=language).event())
        await client.write_event(AudioStart(rate=16_000, width=2, channels=1).event())
        sending = asyncio.create_task(upload(client, microphone(path, float(pace))))
        reading = asyncio.create_task(receive(client, result))
        await asyncio.wait((sending, reading), return_when=asyncio.FIRST_COMPLETED)
        sent_at = time.monotonic()
        if not reading.done():
            sending.result()
        await reading
        result["end_s"] = time.monotonic() - sent_at
        sending.cancel()
    print(json.dumps(result))


asyncio.run(main(*sys.argv[1:]))
