"""Nothing of one session reaches another: not its words, not its language, not its prompt, not its hotwords."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.client import read_sound
from benchmarks.scoring import TimedWord, count_errors, normalise
from benchmarks.speech import read_reference
from whisperlivekit.core.commands import Audio, Start, Stop
from whisperlivekit.core.events import Committed, Partial
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, Word
from whisperlivekit.core.session import SessionConfig
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.engine.batcher import Engine
from whisperlivekit.engine.scripted import WORD_S, LoudnessDetector
from whisperlivekit.engine.silero import SileroDetector, SileroModel
from whisperlivekit.engine.whisper import EngineConfig, WhisperModel
from whisperlivekit.session.runner import SessionRunner

DATA = Path(__file__).parents[1] / "data"
SESSIONS = 8
LANGUAGES = ("ru", "en", "de", "fr", "uk", "es", "it", "pl")


# ---------------------------------------------------------------------------------- with a model that tells what it got


class EchoModel(WhisperModel):
    """Each word says everything that its request came with: language, prompt, hotwords, and whose voice is in it."""

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
    """Nothing to load; the sessions take loud for speech."""

    def __init__(self) -> None:
        pass

    def close(self) -> None:
        pass

    def initial_state(self) -> None:
        return None

    async def run(self, windows: NDArray[np.float32], state: None) -> tuple[NDArray[np.float32], None]:
        return np.zeros(len(windows), np.float32), state


class EchoEngine(Engine):
    """The real engine around it."""

    def __init__(self) -> None:
        super().__init__(EngineConfig(Path("models/whisper/none"), "cpu", max_batch=4, lanes=2))
        self.echo = EchoModel()

    def _load(self) -> WhisperModel:
        self._silero = NoSilero()
        return self.echo


@dataclass(frozen=True, slots=True)
class Talk:
    """What one session says, and how its audio is cut."""

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
    """The mark that every word must carry, and the words committed and shown."""
    language, prompt, hotwords = LANGUAGES[number], f"p{number}", (f"h{number}", "same")
    voice = 10 * (number + 1)
    audio = np.concatenate(
        [
            np.concatenate([np.full(round(s * SAMPLE_RATE), voice / 100), np.zeros(round(q * SAMPLE_RATE))])
            for s, q in said.stretches
        ]
    ).astype(np.float32)
    start = Start(language, prompt, hotwords)
    runner = SessionRunner(engine, LoudnessDetector(), SessionConfig(language="xx"), start)

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
    """Eight sessions on one engine: each word carries its session's language, prompt, hotwords and voice; the words of
    a session are in order, and none comes twice.
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


def test_sessions_of_one_kind_do_share_a_batch() -> None:
    """The property above is about batches: sessions alike do go through the model together, and do not mix."""

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


@dataclass(frozen=True, slots=True)
class Clip:
    samples: NDArray[np.float32]
    words: list[str]


def eight_clips() -> list[Clip]:
    """The prompts of tests/data, one by one, and a noise that says nothing."""
    clips = []
    for name, suffix in (("prompts_24s", "flac"), ("phrase_3s", "flac"), ("telephone_8k", "wav")):
        sound = read_sound(DATA / f"{name}.{suffix}")
        samples = sound.samples.astype(np.float32) / np.float32(32768)
        if sound.rate != SAMPLE_RATE:
            samples = np.repeat(samples, SAMPLE_RATE // sound.rate)
        clips += [Clip(*part) for part in split(samples, read_reference(DATA / f"{name}.json"))]
    noise = np.random.default_rng(1).normal(0, 0.003, 5 * SAMPLE_RATE).astype(np.float32)
    return [*clips, Clip(noise, [])][-SESSIONS:]


def split(samples: NDArray[np.float32], words: list[TimedWord]) -> list[tuple[NDArray[np.float32], list[str]]]:
    """Cut where a word ends more than 1.2 s after the one before: a pause and the word itself."""
    parts: list[tuple[NDArray[np.float32], list[str]]] = []
    begin, own = 0, [words[0].text]
    for before, word in pairwise(words):
        if word.end_s - before.end_s > 1.2:
            cut = round((before.end_s + 0.35) * SAMPLE_RATE)
            parts.append((samples[begin:cut], own))
            begin, own = cut, []
        own.append(word.text)
    return [*parts, (samples[begin:], own)]


async def heard(engine: Engine, silero: SileroModel, clip: Clip) -> str:
    runner = SessionRunner(engine, SileroDetector(silero), SessionConfig(), Start("ru"))

    async def feed() -> None:
        for begin in range(0, len(clip.samples), SAMPLE_RATE // 4):
            await runner.receive(Audio(clip.samples[begin : begin + SAMPLE_RATE // 4]))
            # As fast as the model, not faster: otherwise nothing but finals would be decoded.
            await asyncio.sleep(0.05)
        await runner.receive(Stop())

    feeding = asyncio.create_task(feed())
    text = "".join([event.text async for event in runner.events() if isinstance(event, Committed)])
    await feeding
    await runner.close()
    return text


@pytest.mark.model
@pytest.mark.slow
def test_eight_voices_on_the_real_model(base_model: Path) -> None:
    """Each of eight clips at once reads as it does alone, and holds no word that only another clip has.

    A session under load decodes at other moments than alone, so a word that the model is unsure of may come out
    otherwise: a quarter of the words and one more may differ, which the words of another clip would exceed.
    """
    clips = eight_clips()
    assert len(clips) == SESSIONS

    async def run() -> tuple[list[str], list[str]]:
        engine = Engine(EngineConfig(base_model, "cpu", threads=2))
        await engine.load()
        silero = SileroModel(base_model.parents[1] / "silero_vad")
        try:
            alone = [await heard(engine, silero, clip) for clip in clips]
            return alone, list(await asyncio.gather(*(heard(engine, silero, clip) for clip in clips)))
        finally:
            silero.close()
            await asyncio.to_thread(engine.close)

    alone, together = asyncio.run(run())
    for number, clip in enumerate(clips):
        own = normalise(alone[number])
        errors = count_errors(own, together[number])
        differences = errors.substitutions + errors.deletions + errors.insertions
        assert differences <= (1 + len(own) / 4 if own else 0), (alone[number], together[number])
        others = {word for place, other in enumerate(clips) if place != number for word in other.words}
        others |= {word for place, text in enumerate(alone) if place != number for word in normalise(text)}
        # A word of two letters that the model makes up is nobody's.
        foreign = {word for word in normalise(together[number]) if len(word) > 3} & (others - {*clip.words, *own})
        assert not foreign, (together[number], foreign)
