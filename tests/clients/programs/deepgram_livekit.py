# mypy: ignore-errors
"""LiveKit's speech-to-text class for Deepgram: a stream, and a recording at once. Prints its events.

python deepgram_livekit.py http://HOST:PORT/v1/listen AUDIO.wav
"""

import asyncio
import json
import sys
import wave

from livekit import rtc
from livekit.agents import stt as agents_stt
from livekit.agents import utils
from livekit.plugins import deepgram

SILENCE_S = 1.5
PACE = 2.5
"""Times real time."""


def frames_of(audio: bytes, rate: int) -> list:
    samples = rate // 50
    return [
        rtc.AudioFrame(data=audio[at : at + 2 * samples], sample_rate=rate, num_channels=1, samples_per_channel=samples)
        for at in range(0, len(audio) - 2 * samples + 1, 2 * samples)
    ]


async def push(stream, frames: list) -> None:
    for frame in frames:
        stream.push_frame(frame)
        await asyncio.sleep(frame.samples_per_channel / frame.sample_rate / PACE)
    # What an agent does when its own detector says that the speaker has stopped.
    stream.flush()
    await asyncio.sleep(1.0)
    stream.end_input()


async def main(url: str, path: str) -> None:
    with wave.open(path) as file:
        rate, audio = file.getframerate(), file.readframes(file.getnframes())
    frames = frames_of(audio + bytes(2 * int(rate * SILENCE_S)), rate)
    found = {"kinds": [], "finals": [], "interims": [], "words": []}
    async with utils.http_context.open():
        recogniser = deepgram.STT(base_url=url, api_key="none", model="nova-3", language="ru", sample_rate=rate)
        stream = recogniser.stream()
        pushing = asyncio.create_task(push(stream, frames))
        async for event in stream:
            found["kinds"].append(event.type)
            if event.type == agents_stt.SpeechEventType.FINAL_TRANSCRIPT:
                said = event.alternatives[0]
                found["finals"].append(said.text)
                found["words"].append([said.start_time, said.end_time, said.confidence, said.language])
            elif event.type == agents_stt.SpeechEventType.INTERIM_TRANSCRIPT:
                found["interims"].append(event.alternatives[0].text)
        await pushing
        await stream.aclose()
        whole = await recogniser.recognize(buffer=frames)
        found["recognized"] = whole.alternatives[0].text
        await recogniser.aclose()
    print(json.dumps(found, ensure_ascii=False))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
