"""A file through the real engine: detector, paragraphs and model."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.scoring import TimedWord
from tests.speech import Clip, assert_says, assert_times, clip, spans, text_of
from whisperlivekit.core.commands import Audio, Start, Stop
from whisperlivekit.core.events import Committed, Done, Event, UtteranceEnded
from whisperlivekit.core.file_session import FileConfig, FileSession
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, Word
from whisperlivekit.core.paragraph import LONGEST_S
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.engine.batcher import Engine
from whisperlivekit.engine.whisper import EngineConfig
from whisperlivekit.session.runner import SessionRunner

pytestmark = [pytest.mark.model, pytest.mark.slow]


class Counted:
    """The engine, with its requests counted."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.requests: list[DecodeRequest] = []

    async def transcribe(self, request: DecodeRequest) -> Hypothesis:
        self.requests.append(request)
        return await self._engine.transcribe(request)

    def replace(self, request: DecodeRequest, newer: DecodeRequest) -> bool:
        return self._engine.replace(request, newer)


@dataclass(frozen=True, slots=True)
class Transcript:
    events: list[Event]
    requests: list[DecodeRequest]
    language: str | None

    @property
    def words(self) -> list[Word]:
        return [word for event in self.events if isinstance(event, Committed) for word in event.words]


def transcribe(base_model: Path, silero_dir: Path, samples: NDArray[np.float32], start: Start) -> Transcript:
    async def test() -> Transcript:
        engine = Engine(EngineConfig(base_model, "cpu", lanes=2, silero_dir=silero_dir))
        await engine.load()
        counted = Counted(engine)
        try:
            runner = SessionRunner(counted, engine.detector(), FileSession(FileConfig(), start))
            await runner.receive(Audio(samples))
            await runner.receive(Stop())
            events = [event async for event in runner.events()]
            return Transcript(events, counted.requests, runner.language)
        finally:
            await asyncio.to_thread(engine.close)

    return asyncio.run(test())


def joined(*clips: Clip, pause_s: float) -> Clip:
    """The clips with faint noise before, between and after them."""
    noise = np.random.default_rng(1).normal(0, 0.0005, round(pause_s * SAMPLE_RATE)).astype(np.float32)
    parts, words = [noise], list[TimedWord]()
    for one in clips:
        at_s = sum(map(len, parts)) / SAMPLE_RATE
        words += [TimedWord(word.text, at_s + word.end_s) for word in one.words]
        parts += [one.samples, noise]
    return Clip(np.concatenate(parts), tuple(words))


CLIPS: Sequence[Clip] = [clip(name) for name in ("phrase_3s", "prompts_24s", "telephone_8k", "phrase_3s")]


@pytest.mark.parametrize("start", [Start("ru"), Start("auto")])
def test_a_file_of_several_paragraphs_has_its_words_and_times(base_model: Path, silero_dir: Path, start: Start) -> None:
    """Pauses that are cut out of the decodes come back in the times, and no word is lost at a border."""
    whole = joined(*CLIPS, pause_s=1.5)
    found = transcribe(base_model, silero_dir, whole.samples, start)
    assert_says(text_of(found.words), whole.text)
    assert_times(spans(found.words), whole.words, audio_s=(0, len(whole.samples) / SAMPLE_RATE))
    assert found.language == "ru"
    assert isinstance(found.events[-1], Done)
    assert all(len(request.samples) <= LONGEST_S * SAMPLE_RATE for request in found.requests)
    utterances = sum(isinstance(event, UtteranceEnded) for event in found.events)
    assert len(found.requests) < utterances, "utterances were not decoded together"


def test_silence_and_noise_have_no_words(base_model: Path, silero_dir: Path) -> None:
    """Nothing is invented, and nothing is decoded."""
    noise = np.random.default_rng(0).normal(0, 0.003, 40 * SAMPLE_RATE).astype(np.float32)
    found = transcribe(base_model, silero_dir, noise, Start("ru"))
    assert found.words == []
    assert found.requests == []
