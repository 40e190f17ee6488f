"""Wyoming as the benchmarks speak it, against the server with a scripted engine."""

import numpy as np
import pytest

from benchmarks.client import Sound, StreamFailed, play
from benchmarks.dialects.wyoming import dialect
from tests.server.scripted import LOUD
from tests.server.test_wyoming import WORDS, running

pytestmark = pytest.mark.anyio

SOUND = Sound(np.frombuffer((LOUD * 2)[: int(1.2 * 32_000)], np.int16), 16_000)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_transcription() -> None:
    """The text of the utterance, when it has ended; the end is recorded."""
    async with running() as server:
        recording = await play(f"tcp://127.0.0.1:{server.port}", dialect(SOUND.rate), SOUND, pace=None)
    assert recording.committed == WORDS
    assert recording.of_type("transcript")[0]["text"] == WORDS
    assert recording.finished_s > 0


async def test_a_refused_transcription() -> None:
    """The server's code is in the error."""
    async with running(load=False) as server:
        with pytest.raises(StreamFailed, match="model_unavailable"):
            await play(f"tcp://127.0.0.1:{server.port}", dialect(SOUND.rate), SOUND, outage_s=1)


def test_only_text_by_utterance() -> None:
    with pytest.raises(ValueError, match="commit is words"):
        dialect(16_000, commit="words")
