"""The application for Gunicorn with a scripted engine that fails when a test asks for it."""

import asyncio
import os
from pathlib import Path

import numpy as np
from fastapi import FastAPI
from numpy.typing import NDArray

from benchmarks.client import Sound
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.engine.scripted import WORD_S, ScriptedEngine
from whisperlivekit.errors import DecodeFailed, ModelUnavailable
from whisperlivekit.server.app import create_app
from whisperlivekit.settings.env_file import load_settings

SYLLABLES = [first + second for first in "бвгдзклмнпрстфхцчш" for second in "аеиоуыэюя"]
SCRIPT = tuple(dict.fromkeys(f"{SYLLABLES[n % 162]}{SYLLABLES[n * 7 % 161]}" for n in range(161)))
"""No word occurs twice within a minute, so that a lost or repeated one is seen."""

TROUBLE = "SCRIPTED_TROUBLE"
"""Environment variable with a folder. A file "oom" or "bad" in it makes one decode of one worker fail, which removes
the file. While there is a file "slow", models take ``SLOW_S`` to load."""

SLOW_S = 4.0

SPEECH_S, PAUSE_S = 7.8, 1.8
"""Seconds of loud audio and of silence. Utterances begin and end in the middle of a word's time, so that the position
of the speech detector's windows does not matter."""


def build() -> FastAPI:
    return create_app(load_settings(), lambda _: Fragile(Path(os.environ[TROUBLE])))


class Fragile(ScriptedEngine):
    """Fails as ``TROUBLE`` says."""

    def __init__(self, trouble: Path) -> None:
        super().__init__(SCRIPT)
        self._trouble = trouble

    async def load(self) -> None:
        if (self._trouble / "slow").exists():
            await asyncio.sleep(SLOW_S)

    async def transcribe(self, request: DecodeRequest) -> Hypothesis:
        if self._takes("oom"):
            # As the real engine after CUDA has failed several times in a row.
            self.failed = True
            raise ModelUnavailable("the model failed: RuntimeError")
        if self._takes("bad"):
            raise DecodeFailed("the model failed: RuntimeError")
        return await super().transcribe(request)

    def _takes(self, name: str) -> bool:
        try:
            (self._trouble / name).unlink()
        except FileNotFoundError:
            return False
        return True


def speech(runs: int) -> Sound:
    """``runs`` stretches of speech for the scripted engine, with pauses between them."""
    chance = np.random.default_rng(3)
    parts: list[NDArray[np.float64]] = [np.zeros(round(0.5 * SAMPLE_RATE))]
    for _ in range(runs):
        parts += [chance.normal(0, 0.2, round(SPEECH_S * SAMPLE_RATE)), np.zeros(round(PAUSE_S * SAMPLE_RATE))]
    return Sound((np.clip(np.concatenate(parts), -1, 1) * 32_767).astype(np.int16), SAMPLE_RATE)


def said(runs: int) -> str:
    """The whole transcript of ``speech(runs)``."""
    words = []
    for run in range(runs):
        begin = 0.5 + run * (SPEECH_S + PAUSE_S)
        # An utterance includes 0.3 s before and after its speech.
        first, last = -(-(begin - 0.3) // WORD_S), (begin + SPEECH_S + 0.3) // WORD_S
        words += [SCRIPT[index % len(SCRIPT)] for index in range(int(first), int(last))]
    return " " + " ".join(words)
