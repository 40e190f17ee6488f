"""Measures how much silence a short window needs behind it, in loops and in words that change.

    python -m benchmarks.padding [--windows 20]

Decodes random windows of 1.5 to 6 s from three streams of benchmarks/material with several lengths of silence. Most
windows end inside a word. The model is base int8 with greedy decoding. WER is against the text of the same window
padded to 30 s, as Whisper was trained. The table is in docs/decisions.md.
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
"""A window whose root mean square is not above this is taken for a pause and left out."""

CASES = (
    *((seconds, 1) for seconds in (0.5, 1.0, 2.0, 3.0, 5.0)),
    *((seconds, 50) for seconds in (0.0, 0.5, 1.0, 2.0)),
    *((1.0, frames) for frames in (20, 400)),
)
"""Pairs: seconds of silence that are encoded after the window, and encoder frames of silence from far behind it."""


def windows(count: int) -> list[NDArray[np.float32]]:
    """Up to ``count`` windows of each stream, float32[n] mono 16 kHz; every call returns the same ones."""
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
    """The normalised texts of the windows, and how many of them had a loop."""
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
