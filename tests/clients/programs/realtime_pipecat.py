# mypy: ignore-errors
"""Pipecat's service for OpenAI's Realtime API in a pipeline: sends raw audio of 24 kHz, and prints the transcripts.

    python realtime_pipecat.py ws://HOST:PORT/v1/realtime AUDIO.s16le server_vad|local

With "local", the service commits when the pipeline's own speech detection says so; here that is once, when
the audio ends and silence follows.
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
    ProposedUserStartedSpeakingFrame,
    ProposedUserStoppedSpeakingFrame,
    TranscriptionFrame,
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

SILENCE_S = 1.2
"""At least so much silence follows, as a transport sends it: the server ends the utterance."""


class Collector(FrameProcessor):
    """The end of the pipeline."""

    def __init__(self) -> None:
        super().__init__()
        self.final = asyncio.Event()
        self.found = {"finals": [], "interims": [], "started": 0, "stopped": 0, "errors": []}

    async def process_frame(self, frame, direction) -> None:
        await super().process_frame(frame, direction)
        match frame:
            case TranscriptionFrame():
                self.final.set()
                self.found["finals"].append(frame.text)
            case InterimTranscriptionFrame():
                self.found["interims"].append(frame.text)
            case ProposedUserStartedSpeakingFrame():
                self.found["started"] += 1
            case ProposedUserStoppedSpeakingFrame():
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
        await asyncio.sleep(0.3)
        if local:
            await task.queue_frame(VADUserStartedSpeakingFrame())
        padded = audio + bytes(int(RATE * SILENCE_S) * 2)
        at = 0
        while at < len(padded) or not collector.final.is_set():
            if local and at <= len(audio) < at + 2 * FRAME:
                await task.queue_frame(VADUserStoppedSpeakingFrame())
            data = padded[at : at + 2 * FRAME].ljust(2 * FRAME, b"\0")
            await task.queue_frame(InputAudioRawFrame(audio=data, sample_rate=RATE, num_channels=1))
            at += 2 * FRAME
            await asyncio.sleep(FRAME / RATE)
        await task.queue_frame(EndFrame())

    await asyncio.gather(PipelineRunner(handle_sigint=False).run(task), push())
    print(json.dumps(collector.found, ensure_ascii=False))


if __name__ == "__main__":
    address, path, mode = sys.argv[1:]
    asyncio.run(main(address, Path(path).read_bytes(), mode))
