# mypy: ignore-errors
"""LiveKit's speech-to-text class for OpenAI's Realtime API: streams raw audio of 24 kHz, and prints its events.

python realtime_livekit.py http://HOST:PORT/v1 AUDIO.s16le
"""

import asyncio
import json
import sys
from pathlib import Path

from livekit import rtc
from livekit.agents import stt as agents_stt
from livekit.agents import utils
from livekit.plugins import openai

RATE = 24_000
FRAME = RATE // 50
"""Samples of 20 ms, as a room sends them."""

SILENCE_S = 1.2
"""At least so much silence follows, as a room sends it: the server ends the utterance."""


async def push(stream, audio: bytes, final: asyncio.Event) -> None:
    """Sends the audio and, until there is text, silence; then closes the stream, as an agent that leaves."""
    padded = audio + bytes(int(RATE * SILENCE_S) * 2)
    at = 0
    while at < len(padded) or not final.is_set():
        data = padded[at : at + 2 * FRAME].ljust(2 * FRAME, b"\0")
        stream.push_frame(rtc.AudioFrame(data=data, sample_rate=RATE, num_channels=1, samples_per_channel=FRAME))
        at += 2 * FRAME
        await asyncio.sleep(FRAME / RATE)
    await stream.aclose()


async def main(url: str, audio: bytes) -> None:
    found = {"kinds": [], "finals": [], "interims": [], "languages": []}
    async with utils.http_context.open():
        recogniser = openai.STT(
            base_url=url, api_key="none", model="gpt-4o-transcribe", language="ru", use_realtime=True
        )
        stream = recogniser.stream()
        final = asyncio.Event()
        pushing = asyncio.create_task(push(stream, audio, final))
        async for event in stream:
            found["kinds"].append(event.type)
            if event.type == agents_stt.SpeechEventType.FINAL_TRANSCRIPT:
                final.set()
                found["finals"].append(event.alternatives[0].text)
                found["languages"].append(event.alternatives[0].language)
            elif event.type == agents_stt.SpeechEventType.INTERIM_TRANSCRIPT:
                found["interims"].append(event.alternatives[0].text)
        await pushing
        await recogniser.aclose()
    print(json.dumps(found, ensure_ascii=False))


if __name__ == "__main__":
    address, path = sys.argv[1:]
    asyncio.run(main(address, Path(path).read_bytes()))
