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

SILENCE_S = 1.5


async def push(stream, audio: bytes) -> None:
    padded = audio + bytes(int(RATE * SILENCE_S) * 2)
    for at in range(0, len(padded) - 2 * FRAME + 1, 2 * FRAME):
        data = padded[at : at + 2 * FRAME]
        stream.push_frame(rtc.AudioFrame(data=data, sample_rate=RATE, num_channels=1, samples_per_channel=FRAME))
        await asyncio.sleep(FRAME / RATE)
    await asyncio.sleep(2.0)
    stream.end_input()


async def main(url: str, audio: bytes) -> None:
    found = {"kinds": [], "finals": [], "interims": [], "languages": []}
    async with utils.http_context.open():
        recogniser = openai.STT(
            base_url=url, api_key="none", model="gpt-4o-transcribe", language="ru", use_realtime=True
        )
        stream = recogniser.stream()
        pushing = asyncio.create_task(push(stream, audio))
        async for event in stream:
            found["kinds"].append(event.type)
            if event.type == agents_stt.SpeechEventType.FINAL_TRANSCRIPT:
                found["finals"].append(event.alternatives[0].text)
                found["languages"].append(event.alternatives[0].language)
            elif event.type == agents_stt.SpeechEventType.INTERIM_TRANSCRIPT:
                found["interims"].append(event.alternatives[0].text)
        await pushing
        await stream.aclose()
        await recogniser.aclose()
    print(json.dumps(found, ensure_ascii=False))


if __name__ == "__main__":
    address, path = sys.argv[1:]
    asyncio.run(main(address, Path(path).read_bytes()))
