"""Two lanes of one model."""

import asyncio
import threading
from pathlib import Path

import pytest

from tests.speech import assert_says, sentences, text_of
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis
from whisperlivekit.engine.batcher import Engine
from whisperlivekit.engine.whisper import EngineConfig


class Lanes:
    """An observer that counts the batches of each model thread."""

    def __init__(self) -> None:
        self.batches: dict[str, int] = {}

    def observe_wait(self, seconds: float) -> None:
        pass

    def observe_batch(self, size: int, looped: int, stages_s: dict[str, float]) -> None:
        name = threading.current_thread().name
        self.batches[name] = self.batches.get(name, 0) + 1

    def observe_failure(self, reason: str) -> None:
        raise AssertionError(reason)


@pytest.mark.model
def test_lanes_share_the_work_and_mix_no_answers(base_model: Path) -> None:
    """Two lanes decode seven sentences that arrive together: both work, and each caller gets its own sentence."""
    lanes = Lanes()

    async def decode() -> list[Hypothesis]:
        engine = Engine(EngineConfig(base_model, "cpu", lanes=2, max_batch=1))
        engine.observer = lanes
        await engine.load()
        try:
            return await asyncio.gather(
                *(
                    engine.transcribe(DecodeRequest(number, sentence.samples, 0, "ru"))
                    for number, sentence in enumerate(sentences())
                )
            )
        finally:
            engine.close()

    answers = asyncio.run(decode())
    assert [answer.request_id for answer in answers] == list(range(len(sentences())))
    for answer, sentence in zip(answers, sentences(), strict=True):
        assert_says(text_of(answer), sentence.text)
    assert len(lanes.batches) == 2
    assert sum(lanes.batches.values()) == len(sentences())
