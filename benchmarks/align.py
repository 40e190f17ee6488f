"""Measures when the words of a recording end, by aligning its known text with its sound.

    python -m benchmarks.align A.flac [B.flac ...] [--model models/whisper/base]

Reads the texts of ``NAME.clips.json`` and writes ``NAME.json``, which is overwritten, with the measured word ends. Each
clip is aligned with the engine's cross-attention. An end that falls into a pause is moved to the start of the pause. A
clip that is too long, or whose alignment fails, gets ends that are divided by letters, and is named in the output.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.prompts import RATE, Samples, move_ends_out_of_silence, proportional_ends, sound_frames
from benchmarks.scoring import normalise
from benchmarks.speech import Clip, read_clips, read_reference, read_samples, write_reference
from whisperlivekit.core.hypothesis import DecodeRequest
from whisperlivekit.core.units import to_samples
from whisperlivekit.engine.whisper import CONTEXT_S, PADDING_S, EngineConfig, WhisperModel

LONGEST_S = CONTEXT_S - PADDING_S
"""In seconds: a clip must fit into one window."""
DISTINCT = 0.8
"""Share of different ends below which an alignment has failed: it put many words in one place."""


def aligned_ends(model: WhisperModel, samples: Samples, words: Sequence[str]) -> list[float] | None:
    """When each word ends, in seconds from the beginning of float32[n] at 16 kHz; None where alignment fails."""
    if len(samples) > to_samples(LONGEST_S):
        return None
    found = model.align(DecodeRequest(0, samples, 0, "ru"), "".join(f" {word}" for word in words))
    ends = [word.end / RATE for word in found]
    if [word.text.strip() for word in found] != list(words) or len(set(ends)) < len(ends) * DISTINCT:
        return None
    return move_ends_out_of_silence(ends, sound_frames(samples))


def align(model: WhisperModel, audio: Path) -> list[Clip]:
    """Write the words of a recording with the measured ends; the clips whose ends could not be measured.

    Raises:
        SystemExit: the recording has no clips, a clip with words has no sound, or the words that the recording has
            already are not those of its clips. Nothing is written then.
    """
    clips, reference = read_clips(audio), audio.with_suffix(".json")
    if not clips:
        raise SystemExit(f"{audio.with_suffix('.clips.json')} has no clips, expected the text of at least one")
    words = [word for clip in clips for word in normalise(clip.text)]
    if reference.is_file() and [word.text for word in read_reference(reference)] != words:
        raise SystemExit(f"{reference} has other words than {audio.stem}.clips.json, expected the same or no file")
    samples = read_samples(audio)
    timed: list[tuple[str, float]] = []
    failed = []
    for clip in clips:
        words, part = normalise(clip.text), samples[to_samples(clip.start_s) : to_samples(clip.end_s)]
        if not words:
            continue
        if len(part) < RATE // 100 or not sound_frames(part).any():
            raise SystemExit(f"{audio}: the clip at {clip.start_s:g} s has words and no sound, expected speech")
        ends = aligned_ends(model, part, words)
        if ends is None:
            failed.append(clip)
            ends = proportional_ends(words, sound_frames(part))
        timed += [(word, round(clip.start_s + end_s, 3)) for word, end_s in zip(words, ends, strict=True)]
    write_reference(reference, timed)
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", type=Path, nargs="+", help="any sampling rate, with its clips beside it")
    parser.add_argument("--model", type=Path, default=Path("models/whisper/base"))
    options = parser.parse_args()
    if missing := [str(path) for path in options.audio if not path.is_file()]:
        parser.error(f"found no file {', '.join(missing)}")
    model = WhisperModel(EngineConfig(options.model, "cpu"))
    for path in options.audio:
        failed = align(model, path)
        print(f"{path}: {len(read_clips(path)) - len(failed)} clips aligned, {len(failed)} divided by letters")
        for clip in failed:
            print(f"  divided by letters: {clip.start_s:g} to {clip.end_s:g} s, {clip.text!r}")


if __name__ == "__main__":
    main()
