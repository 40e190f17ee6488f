"""Draws the mel spectrogram of a recording with the words that are said in it, to find out what a decoder misheard.

    python -m benchmarks.spectrogram A.flac --start 10 --end 16 -o a.png

The spectrogram has the 80 mel bands, windows of 25 ms and steps of 10 ms that Whisper's encoder gets, in dB below the
loudest value. A line marks the end of each word of ``A.json`` (or ``--words``). Times are in seconds of the recording.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.scoring import TimedWord
from benchmarks.speech import read_reference, read_samples
from whisperlivekit.core.units import SAMPLE_RATE

MELS = 80
WINDOW = 400
HOP = 160
RANGE_DB = 80.0
INCHES_PER_S = 1.6


def mel_spectrogram(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32[80, frames] of decibels, 0 for the loudest and at least -80; a frame is 10 ms."""
    import librosa

    power = librosa.feature.melspectrogram(y=samples, sr=SAMPLE_RATE, n_fft=WINDOW, hop_length=HOP, n_mels=MELS)
    decibels: NDArray[np.float32] = librosa.power_to_db(power, ref=np.max, top_db=RANGE_DB)
    return decibels


def draw(samples: NDArray[np.float32], words: Sequence[TimedWord], path: Path, start_s: float, title: str) -> None:
    """Writes the picture. ``samples`` begin at ``start_s`` of the recording, in which the words' times are counted."""
    import librosa.display
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib import ticker

    seconds = len(samples) / SAMPLE_RATE
    figure, axes = plt.subplots(figsize=(max(6.0, min(60.0, INCHES_PER_S * seconds)), 4), layout="constrained")
    decibels = mel_spectrogram(samples)
    times = start_s + np.arange(decibels.shape[1]) * HOP / SAMPLE_RATE
    image = librosa.display.specshow(
        decibels, x_coords=times, y_axis="mel", sr=SAMPLE_RATE, hop_length=HOP, n_fft=WINDOW, ax=axes
    )
    # specshow removes the ticks of an axis that it does not label; its own time labels round to whole seconds.
    axes.xaxis.set_major_locator(ticker.MultipleLocator(0.5 if seconds <= 20 else 5))
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    figure.colorbar(image, ax=axes, format="%+2.0f dB")
    for word in words:
        axes.axvline(word.end_s, color="white", linewidth=0.8)
        axes.text(word.end_s, 1.01, word.text, rotation=60, fontsize=8, transform=axes.get_xaxis_transform())
    axes.set_xlim(start_s, start_s + seconds)
    axes.set_xlabel(f"{title}, s")
    axes.set_ylabel("Hz")
    figure.savefig(path)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", type=Path)
    parser.add_argument("--words", type=Path, help="default: the audio's name with .json, where it exists")
    parser.add_argument("--start", type=float, default=0.0, help="seconds")
    parser.add_argument("--end", type=float, help="seconds; default: the end of the recording")
    parser.add_argument("-o", "--output", type=Path, required=True, help="PNG, SVG or PDF")
    options = parser.parse_args(arguments)
    samples = read_samples(options.audio)
    seconds = len(samples) / SAMPLE_RATE
    end = seconds if options.end is None else min(options.end, seconds)
    if not 0 <= options.start < end:
        parser.error(f"--start is {options.start:g}, expected from 0 to less than {end:g}")
    path = options.words or options.audio.with_suffix(".json")
    words = read_reference(path) if options.words or path.is_file() else []
    draw(
        samples[round(options.start * SAMPLE_RATE) : round(end * SAMPLE_RATE)],
        [word for word in words if options.start <= word.end_s <= end],
        options.output,
        options.start,
        options.audio.name,
    )


if __name__ == "__main__":
    main()
