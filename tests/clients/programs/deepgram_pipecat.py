# mypy: ignore-errors
"""Pipecat's service for Deepgram in a pipeline, which says itself when the speaker has stopped. Prints the transcripts.

python deepgram_pipecat.py ws://HOST:PORT AUDIO.wav
"""

import asyncio
import json
import sys
import wave

from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.deepgram.stt import DeepgramSTTService
from pipecat.transcriptions.language import Language


class Collector(FrameProcessor):
    """The end of the pipeline."""

    def __init__(self) -> None:
        super().__init__()
        self.found = {"finals": [], "finalized": [], "interims": [], "errors": []}

    async def process_frame(self, frame, direction) -> None:
        await super().process_frame(frame, direction)
        match frame:
            case TranscriptionFrame():
                self.found["finals"].append(frame.text)
                self.found["finalized"].append(frame.finalized)
            case InterimTranscriptionFrame():
                self.found["interims"].append(frame.text)
            case ErrorFrame():
                self.found["errors"].append(frame.error)
        await self.push_frame(frame, direction)


async def main(url: str, path: str) -> None:
    with wave.open(path) as file:
        rate, audio = file.getframerate(), file.readframes(file.getnframes())
    service = DeepgramSTTService(
        api_key="none", base_url=url, settings=DeepgramSTTService.Settings(model="nova-3", language=Language.RU)
    )
    collector = Collector()
    task = PipelineTask(Pipeline([service, collector]), params=PipelineParams(audio_in_sample_rate=rate))

    async def push() -> None:
        await asyncio.sleep(0.7)
        step = rate // 50 * 2
        await task.queue_frame(VADUserStartedSpeakingFrame())
        for at in range(0, len(audio) - step + 1, step):
            await task.queue_frame(InputAudioRawFrame(audio=audio[at : at + step], sample_rate=rate, num_channels=1))
            await asyncio.sleep(0.01)  # twice real time
        await task.queue_frame(VADUserStoppedSpeakingFrame())
        await asyncio.sleep(2.0)
        await task.queue_frame(EndFrame())

    await asyncio.gather(PipelineRunner(handle_sigint=False).run(task), push())
    print(json.dumps(collector.found, ensure_ascii=False))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
