# mypy: ignore-errors
"""LiveKit's speech-to-text class for OpenAI's files, as an agent calls it for each utterance.

Arguments: the base URL, and a file of raw audio, 16 bits and 16 kHz.
"""

import asyncio
import json
import sys
from pathlib import Path

from livekit import rtc
from livekit.agents import utils
from livekit.plugins import openai

RATE = 16_000


async def main(url: str, audio: bytes) -> dict:
    found = {}
    frame = rtc.AudioFrame(data=audio, sample_rate=RATE, num_channels=1, samples_per_channel=len(audio) // 2)
    async with utils.http_context.open():
        for model, options in (("whisper-1", {"language": "ru"}), ("gpt-4o-transcribe", {"detect_language": True})):
            recogniser = openai.STT(base_url=url, api_key="none", model=model, use_realtime=False, **options)
            event = await recogniser.recognize(frame)
            found[model] = [event.alternatives[0].text, event.alternatives[0].language]
            await recogniser.aclose()
    return found


if __name__ == "__main__":
    address, path = sys.argv[1:]
    print(json.dumps(asyncio.run(main(address, Path(path).read_bytes())), ensure_ascii=False))
