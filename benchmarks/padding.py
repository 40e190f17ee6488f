"""How much silence a short window needs behind it: loops and changed words against a window padded to 30 s.

``python -m benchmarks.padding [--windows 20]``: random windows of 1.5 to 6 s, most of them ending inside a word, from
three streams of benchmarks/material; base int8, greedy. docs/decisions.md has the table.
"""

import argparse
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import soundfile
from numpy.typing import NDArray

from benchmarks.scoring import normalise
from whisperlivekit.core.hypothesis import DecodeRequest
from whisperlivekit.core.units import SAMPLE_RATE
from whisperlivekit.engine import whisper
from whisperlivekit.engine.whisper import EngineConfig, WhisperModel

MATERIAL = Path(__file__).parent / "material"
STREAMS = ("telephone_ru", "long", "digits")
LOUD = 0.02
"""Root mean square below which a window is taken for a pause."""

CASES = (
    *((seconds, 1) for seconds in (0.5, 1.0, 2.0, 3.0, 5.0)),
    *((seconds, 50) for seconds in (0.0, 0.5, 1.0, 2.0)),
    *((1.0, frames) for frames in (20, 400)),
)
"""Seconds of encoded silence, and encoder frames of far silence."""


def windows(count: int) -> list[NDArray[np.float32]]:
    """Up to ``count`` windows of each stream, float32[n] at 16 kHz, always the same ones."""
    seed = np.random.default_rng(1)
    chosen = []
    for name in STREAMS:
        samples, _ = soundfile.read(MATERIAL / f"{name}.flac", dtype="float32")
        for _ in range(count):
            length = int(seed.uniform(1.5, 6) * SAMPLE_RATE)
            start = int(seed.uniform(0, len(samples) - length))
            window = samples[start : start + length]
            if np.sqrt(np.mean(window**2)) > LOUD:
                chosen.append(window)
    return chosen


def decode(model_dir: Path, sounds: list[NDArray[np.float32]], padding_s: float, tail: int) -> tuple[list[str], int]:
    """The texts, and how many of them looped."""
    constants: Any = whisper
    constants.PADDING_S, constants.TAIL_FRAMES = padding_s, tail
    model = WhisperModel(EngineConfig(model_dir, "cpu", beams=1))
    texts, loops = [], 0
    for sound in sounds:
        (hypothesis,) = model.decode([DecodeRequest(0, sound, 0, "ru")])
        texts.append(" ".join(normalise("".join(word.text for word in hypothesis.words))) or "-")
        loops += hypothesis.looped
    return texts, loops


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, default=Path("models/whisper/base"))
    parser.add_argument("--windows", type=int, default=20, help="windows of each stream")
    arguments = parser.parse_args()
    sounds = windows(arguments.windows)
    full, _ = decode(arguments.model, sounds, 30.0, 1)
    print(f"{len(sounds)} windows\n\n| padding | far silence | loops | WER against 30 s |\n|---|---|---|---|")
    for padding_s, tail in CASES:
        texts, loops = decode(arguments.model, sounds, padding_s, tail)
        print(f"| {padding_s} s | {tail} frames | {loops} | {jiwer.wer(full, texts):.3f} |", flush=True)


if __name__ == "__main__":
    main()
