"""Two lanes of one model."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
import soundfile

from whisperlivekit.core.hypothesis import DecodeRequest
from whisperlivekit.engine.batcher import Engine
from whisperlivekit.engine.whisper import EngineConfig

ROOT = Path(__file__).parents[2]


@pytest.mark.model
def test_lanes_share_the_work_and_give_the_same_text() -> None:
    """Eight decodes at once over two lanes: every caller gets its own answer, the same as from one lane."""
    samples, _ = soundfile.read(ROOT / "tests/data/phrase_3s.flac", dtype="float32")
    requests = [DecodeRequest(number, samples[: 16_000 + 4_000 * number], 0, "ru") for number in range(8)]

    async def decode(lanes: int) -> list[tuple[int, str]]:
        engine = Engine(EngineConfig(ROOT / "models/whisper/base", "cpu", lanes=lanes, max_batch=1))
        await engine.load()
        try:
            answers = await asyncio.gather(*map(engine.transcribe, requests))
        finally:
            engine.close()
        return [(answer.request_id, "".join(word.text for word in answer.words)) for answer in answers]

    one, two = asyncio.run(decode(1)), asyncio.run(decode(2))
    assert [number for number, _ in two] == list(range(8))
    assert two == one
    assert np.any([text for _, text in two])
