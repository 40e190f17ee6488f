"""Makes variants of a recording: the same words at other speeds and pitches, in a room, and through codecs.

    python -m benchmarks.variants A.flac [B.flac ...] OUT_DIR [--only slow,fast]

Each variant is written as ``NAME-VARIANT.flac`` (mono 16 kHz) with the words ``NAME-VARIANT.json``, and
``NAME-VARIANT.clips.json`` where the recording has clips. Times scale with the speed. The same input always gives the
same output. ``benchmarks.material`` makes variants in white noise and in babble.

    slow, fast   0.8 and 1.25 times the speed at the same pitch
    low, high    3 semitones lower and higher at the same speed
    room         in a room with a reverberation time of 0.6 s
    opus         through Opus at about 12 kbit/s
    telephone    300 to 3400 Hz, 8 kHz, G.711 mu-law
"""

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.material import not_clipped, seeded, telephone, write
from benchmarks.prompts import RATE, Samples
from benchmarks.speech import Clip, Speech, read_recording, read_samples

SPEEDS = {"slow": 0.8, "fast": 1.25}
SEMITONES = {"low": -3.0, "high": 3.0}
VARIANTS = (*SPEEDS, *SEMITONES, "room", "opus", "telephone")

REVERBERATION_S = 0.6
"""In this time the echo decays by 60 dB: a furnished living room or a small office."""
PREDELAY_S = 0.005
"""From the direct sound to the first reflection: a detour of 1.7 m."""
DIRECT_TO_ECHO = 2.0
"""Energy of the direct sound over that of the echo: a speaker one or two metres from the microphone."""

OPUS_LEVEL = 0.976
"""libsndfile maps 0 to 256 kbit/s and 1 to 6 kbit/s: this is 12 kbit/s, measured 11.8 on the tests' speech."""


def at_speed(samples: Samples, speed: float) -> Samples:
    """``speed`` times as fast at the same pitch, by a phase vocoder."""
    import librosa

    stretched: Samples = librosa.effects.time_stretch(samples, rate=speed).astype(np.float32)
    return stretched


def at_pitch(samples: Samples, semitones: float) -> Samples:
    """Higher by ``semitones`` (lower where negative) at the same speed; formants move with the pitch."""
    import librosa

    shifted: Samples = librosa.effects.pitch_shift(samples, sr=RATE, n_steps=semitones).astype(np.float32)
    return shifted


def in_room(samples: Samples, name: str) -> Samples:
    """With the echo of a room: exponentially decaying noise, seeded with ``name``, added to the direct sound."""
    from scipy.signal import fftconvolve

    t = np.arange(round(REVERBERATION_S * RATE)) / RATE
    echo = seeded(f"{name}-room").standard_normal(len(t)) * 10 ** (-3 * t / REVERBERATION_S)
    echo *= np.sqrt(1 / DIRECT_TO_ECHO / np.sum(np.square(echo)))
    response = np.concatenate([[1.0], np.zeros(round(PREDELAY_S * RATE) - 1), echo])
    heard: Samples = fftconvolve(samples, response)[: len(samples)].astype(np.float32)
    return heard


def through_opus(samples: Samples) -> Samples:
    """Encoded with Opus at about 12 kbit/s and decoded again."""
    encoded = io.BytesIO()
    options = {"samplerate": RATE, "channels": 1, "format": "OGG", "subtype": "OPUS", "compression_level": OPUS_LEVEL}
    with soundfile.SoundFile(encoded, "w", **options) as file:
        for at in range(0, len(samples), RATE):
            file.write(samples[at : at + RATE])
    encoded.seek(0)
    decoded, _ = soundfile.read(encoded, dtype="float32")
    heard: Samples = decoded
    return heard


def variant(samples: Samples, name: str, kind: str) -> Samples:
    """One of ``VARIANTS`` of float32[n] at 16 kHz, turned down where it would clip.

    Raises:
        ValueError: there is no such variant.
    """
    match kind:
        case "slow" | "fast":
            made = at_speed(samples, SPEEDS[kind])
        case "low" | "high":
            made = at_pitch(samples, SEMITONES[kind])
        case "room":
            made = in_room(samples, name)
        case "opus":
            made = through_opus(samples)
        case "telephone":
            made = telephone(samples)
        case _:
            raise ValueError(f"variant is {kind!r}, expected one of {', '.join(VARIANTS)}")
    return not_clipped(made)


def write_variants(recording: Speech, folder: Path, kinds: Sequence[str]) -> None:
    """Writes the variants of one recording."""
    samples = read_samples(recording.audio)
    for kind in kinds:
        name, speed = f"{recording.name}-{kind}", SPEEDS.get(kind, 1.0)
        words = [(word.text, round(word.end_s / speed, 3)) for word in recording.words]
        clips = [Clip(clip.start_s / speed, clip.end_s / speed, clip.text) for clip in recording.clips]
        write(folder, name, variant(samples, recording.name, kind), words, clips)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", type=Path, nargs="+", help="any sampling rate, with its words beside it as .json")
    parser.add_argument("output", type=Path, help="folder; it is created where it does not exist")
    parser.add_argument("--only", default=",".join(VARIANTS), type=lambda names: names.split(","), metavar="NAME,...")
    options = parser.parse_args()
    if unknown := [name for name in options.only if name not in VARIANTS]:
        parser.error(f"--only has {', '.join(unknown)}, expected {', '.join(VARIANTS)}")
    for path in options.audio:
        print(f"{path}:", file=sys.stderr)
        write_variants(read_recording(path), options.output, options.only)


if __name__ == "__main__":
    main()
