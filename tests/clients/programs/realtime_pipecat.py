# mypy: ignore-errors
"""Pipecat's service for OpenAI's Realtime API in a pipeline: sends raw audio of 24 kHz, and prints the transcripts.

    python realtime_pipecat.py ws://HOST:PORT/v1/realtime AUDIO.s16le server_vad|local

With "local", the service commits when the pipeline's own speech detection says so; here that is once, at the end.
"""

import asyncio
import json
import sys
from pathlib import Path

from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.openai.stt import OpenAIRealtimeSTTService
from pipecat.transcriptions.language import Language

RATE = 24_000
FRAME = RATE // 50
"""Samples of 20 ms, as a transport sends them."""


class Collector(FrameProcessor):
    """The end of the pipeline."""

    def __init__(self) -> None:
        super().__init__()
        self.found = {"finals": [], "interims": [], "started": 0, "stopped": 0, "errors": []}

    async def process_frame(self, frame, direction) -> None:
        await super().process_frame(frame, direction)
        match frame:
            case TranscriptionFrame():
                self.found["finals"].append(frame.text)
            case InterimTranscriptionFrame():
                self.found["interims"].append(frame.text)
            case UserStartedSpeakingFrame():
                self.found["started"] += 1
            case UserStoppedSpeakingFrame():
                self.found["stopped"] += 1
            case ErrorFrame():
                self.found["errors"].append(frame.error)
        await self.push_frame(frame, direction)


async def main(url: str, audio: bytes, turns: str) -> None:
    local = turns == "local"
    service = OpenAIRealtimeSTTService(
        api_key="none",
        base_url=url,
        turn_detection=False if local else None,
        settings=OpenAIRealtimeSTTService.Settings(model="gpt-4o-transcribe", language=Language.RU),
    )
    collector = Collector()
    task = PipelineTask(Pipeline([service, collector]), params=PipelineParams(audio_in_sample_rate=RATE))

    async def push() -> None:
        await asyncio.sleep(0.5)
        padded = audio + bytes(2 * RATE * 3 // 2)
        if local:
            await task.queue_frame(VADUserStartedSpeakingFrame())
        for at in range(0, len(padded) - 2 * FRAME + 1, 2 * FRAME):
            data = padded[at : at + 2 * FRAME]
            await task.queue_frame(InputAudioRawFrame(audio=data, sample_rate=RATE, num_channels=1))
            await asyncio.sleep(FRAME / RATE)
        if local:
            await task.queue_frame(VADUserStoppedSpeakingFrame())
        await asyncio.sleep(3.0)
        await task.queue_frame(EndFrame())

    await asyncio.gather(PipelineRunner(handle_sigint=False).run(task), push())
    print(json.dumps(collector.found, ensure_ascii=False))


if __name__ == "__main__":
    address, path, mode = sys.argv[1:]
    asyncio.run(main(address, Path(path).read_bytes(), mode))
