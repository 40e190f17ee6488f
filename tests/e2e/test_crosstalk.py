"""Nothing of one session reaches another: neither words nor language, prompt or hotwords."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.scoring import normalise
from tests.speech import Clip, assert_says, sentences
from whisperlivekit.core.commands import Audio, Start, Stop
from whisperlivekit.core.events import Committed, Partial
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, Word
from whisperlivekit.core.session import Session, SessionConfig
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.engine.batcher import Engine
from whisperlivekit.engine.scripted import WORD_S, LoudnessDetector
from whisperlivekit.engine.silero import SileroDetector, SileroModel
from whisperlivekit.engine.whisper import EngineConfig, WhisperModel
from whisperlivekit.session.runner import SessionRunner

SESSIONS = 8
LANGUAGES = ("ru", "en", "de", "fr", "uk", "es", "it", "pl")


# ------------------------------------------------------------------------------ with a model that outputs its requests


class EchoModel(WhisperModel):
    """A model whose words hold what was in the request: language, prompt, hotwords, and the level of the audio."""

    def __init__(self) -> None:
        self.stages_s = {}
        self.largest = 0

    def lane(self) -> "EchoModel":
        return self

    def decode(self, requests: Sequence[DecodeRequest]) -> list[Hypothesis]:
        self.largest = max(self.largest, len(requests))
        return [self._answer(request) for request in requests]

    def _answer(self, request: DecodeRequest) -> Hypothesis:
        voices = {round(float(value) * 100) for value in np.unique(np.concatenate([request.context, request.samples]))}
        assert len(voices - {0}) <= 1, f"audio of several sessions in one request: {voices}"
        mark = f" {request.language}/{request.prompt}/{'+'.join(request.hotwords)}/{max(voices)}#"
        for text in (request.prefix, request.context_text):
            assert all(word.startswith(mark.strip()) for word in text.split()), f"{text!r} went to {mark}"
        length = round(WORD_S * SAMPLE_RATE)
        first = -(-request.start // length) + len(request.prefix.split())
        last = (request.start + len(request.samples)) // length
        words = tuple(Word(f"{mark}{n}", n * length, (n + 1) * length, 0.9) for n in range(first, last))
        return Hypothesis(request.id, words, language=request.language)


class NoSilero(SileroModel):
    """Loads nothing: the sessions detect speech by its loudness."""

    def __init__(self) -> None:
        pass

    def close(self) -> None:
        pass

    def initial_state(self) -> None:
        return None

    async def run(self, windows: NDArray[np.float32], state: None) -> tuple[NDArray[np.float32], None]:
        return np.zeros(len(windows), np.float32), state


class EchoEngine(Engine):
    """The real engine with ``EchoModel``."""

    def __init__(self) -> None:
        super().__init__(EngineConfig(Path("models/whisper/none"), "cpu", max_batch=4, lanes=2))
        self.echo = EchoModel()

    def _load(self) -> WhisperModel:
        self._silero = NoSilero()
        return self.echo


@dataclass(frozen=True, slots=True)
class Talk:
    """One session's audio, and the size of its messages."""

    stretches: tuple[tuple[float, float], ...]
    """Seconds of speech and of silence."""
    chunk: int


talks = st.builds(
    Talk,
    st.lists(
        st.tuples(st.sampled_from([0.5, 1.3, 4.0, 17.0]), st.sampled_from([0.1, 0.6, 2.0])), min_size=1, max_size=3
    ).map(tuple),
    st.sampled_from([640, 5_000, 16_000]),
)


async def talk(engine: Engine, number: int, said: Talk) -> tuple[str, list[str], list[str]]:
    """The mark that every word of the session must begin with, and its committed and partial words."""
    language, prompt, hotwords = LANGUAGES[number], f"p{number}", (f"h{number}", "same")
    voice = 10 * (number + 1)
    audio = np.concatenate(
        [
            np.concatenate([np.full(round(s * SAMPLE_RATE), voice / 100), np.zeros(round(q * SAMPLE_RATE))])
            for s, q in said.stretches
        ]
    ).astype(np.float32)
    start = Start(language, prompt, hotwords)
    runner = SessionRunner(engine, LoudnessDetector(), Session(SessionConfig(language="xx"), start))

    async def feed() -> None:
        for begin in range(0, len(audio), said.chunk):
            await runner.receive(Audio(audio[begin : begin + said.chunk]))
            await asyncio.sleep(0)
        await runner.receive(Stop())

    feeding = asyncio.create_task(feed())
    committed: list[str] = []
    shown: list[str] = []
    async for event in runner.events():
        match event:
            case Committed(words):
                committed += [word.text.strip() for word in words]
            case Partial(text):
                shown += text.split()
            case _:
                pass
    await feeding
    await runner.close()
    return f"{language}/{prompt}/{'+'.join(hotwords)}/{voice}#", committed, shown


@hypothesis_settings(max_examples=15)
@given(st.lists(talks, min_size=SESSIONS, max_size=SESSIONS))
def test_every_word_is_of_its_own_session(said: list[Talk]) -> None:
    """Eight sessions on one engine: each word has its session's language, prompt, hotwords and audio level. The words
    of a session are in order, and none is committed twice.
    """

    async def together() -> list[tuple[str, list[str], list[str]]]:
        engine = EchoEngine()
        await engine.load()
        try:
            return await asyncio.gather(*(talk(engine, number, one) for number, one in enumerate(said)))
        finally:
            await asyncio.to_thread(engine.close)

    for (mark, committed, shown), one in zip(asyncio.run(together()), said, strict=True):
        assert all(word.startswith(mark) for word in committed + shown), mark
        places = [int(word.rpartition("#")[2]) for word in committed]
        assert places == sorted(set(places))
        if max(speech for speech, _ in one.stretches) > 2:
            assert places


def test_sessions_share_batches() -> None:
    """The test above is about batches, so they must happen: requests of one kind are decoded together, unmixed."""

    async def together() -> tuple[int, list[list[str]]]:
        engine = EchoEngine()
        await engine.load()
        try:
            levels = [10 * (number + 1) for number in range(4)]
            silence = np.zeros(0, np.float32)
            answers = await asyncio.gather(
                *(
                    engine.transcribe(
                        DecodeRequest(1, np.full(SAMPLE_RATE, level / 100, np.float32), 0, "ru", context=silence)
                    )
                    for level in levels
                )
            )
            return engine.echo.largest, [[word.text for word in answer.words] for answer in answers]
        finally:
            await asyncio.to_thread(engine.close)

    largest, words = asyncio.run(together())
    assert largest > 1
    assert words == [[f" ru///{10 * (number + 1)}#{n}" for n in range(2)] for number in range(4)]


# ---------------------------------------------------------------------------------------------------- with the real one


def eight_clips() -> list[Clip]:
    """Seven sentences, and noise without a word."""
    noise = np.random.default_rng(1).normal(0, 0.003, 5 * SAMPLE_RATE).astype(np.float32)
    return [*sentences(), Clip(noise, ())]


async def transcript(engine: Engine, silero: SileroModel, clip: Clip) -> str:
    runner = SessionRunner(engine, SileroDetector(silero), Session(SessionConfig(), Start("ru")))

    async def feed() -> None:
        for begin in range(0, len(clip.samples), SAMPLE_RATE // 4):
            await runner.receive(Audio(clip.samples[begin : begin + SAMPLE_RATE // 4]))
            # Not all at once: otherwise every decode would be a final one.
            await asyncio.sleep(0.05)
        await runner.receive(Stop())

    feeding = asyncio.create_task(feed())
    text = "".join([event.text async for event in runner.events() if isinstance(event, Committed)])
    await feeding
    await runner.close()
    return text


@pytest.mark.model
@pytest.mark.slow
def test_eight_streams_on_the_real_model(base_model: Path) -> None:
    """Of eight streams at once each has its own words, and no word that only another stream has.

    The engine batches, as it does on a GPU.
    """
    clips = eight_clips()
    assert len(clips) == SESSIONS

    async def run() -> list[str]:
        engine = Engine(EngineConfig(base_model, "cpu", lanes=2, max_batch=4))
        await engine.load()
        silero = SileroModel(base_model.parents[1] / "silero_vad")
        try:
            return list(await asyncio.gather(*(transcript(engine, silero, clip) for clip in clips)))
        finally:
            silero.close()
            await asyncio.to_thread(engine.close)

    texts = asyncio.run(run())
    for number, clip in enumerate(clips):
        assert_says(texts[number], clip.text)
        others = {word.text for place, other in enumerate(clips) if place != number for word in other.words}
        # Short words may be wrong anywhere: a model makes them up.
        foreign = {word for word in normalise(texts[number]) if len(word) > 3} & (others - set(clip.text.split()))
        assert not foreign, (texts[number], foreign)
