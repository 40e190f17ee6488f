"""Measures the same weights offline, on whole files: what a live transcript can be expected to reach.

    python -m benchmarks.offline --model models/whisper/base benchmarks/material/*.flac
    python -m benchmarks.offline --group 'read=speech/read_*.flac' --group 'phone=speech/phone/*.flac'

Runs faster-whisper with its VAD filter, with beam 1 and beam 5, as a user of that library would. Each audio file needs
its words beside it as .json. Prints a Markdown table with the word error rate (errors per reference word) and the CPU
seconds per second of audio. With ``--group`` a table of the groups follows for each beam size (see
``benchmarks.groups``).
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.client import read_sound
from benchmarks.groups import group_rows, table
from benchmarks.scoring import count_errors
from benchmarks.speech import Speech, add_group_option, read_groups, read_recording


def transcribe(model: Any, path: Path, beams: int, language: str) -> tuple[str, float]:
    """The text, and the CPU seconds that the transcription took in all threads."""
    before = time.process_time()
    segments, _ = model.transcribe(str(path), language=language, beam_size=beams, vad_filter=True)
    text = "".join(segment.text for segment in segments)
    return text, time.process_time() - before


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", type=Path, nargs="*")
    add_group_option(parser)
    parser.add_argument("--model", type=Path, default=Path("models/whisper/base"))
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--language", default="ru")
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--threads", type=int, default=0, help="0: as many as faster-whisper chooses")
    parser.add_argument("--texts", type=Path, help="write the transcripts into this folder")
    options = parser.parse_args(arguments)
    recordings = [*(read_recording(path) for path in options.audio), *read_groups(options.group)]
    if not recordings:
        parser.error("expected audio files or --group")

    from faster_whisper import WhisperModel

    model = WhisperModel(
        str(options.model),
        device=options.device,
        compute_type=options.compute_type,
        cpu_threads=options.threads,
        local_files_only=True,
    )
    print("| stream | s | words | beams | WER | WER raw | sub / del / ins | CPU s per audio s |")
    print("|---|---|---|---|---|---|---|---|")
    texts: dict[int, list[tuple[Speech, str]]] = {beams: [] for beams in options.beams}
    for recording in recordings:
        words = [word.text for word in recording.words]
        seconds = read_sound(recording.audio).seconds
        for beams in options.beams:
            text, cpu_s = transcribe(model, recording.audio, beams, options.language)
            texts[beams].append((recording, text))
            errors, raw = count_errors(words, text), count_errors(words, text, spell=False)
            rates = f"{errors.wer:.3f} | {raw.wer:.3f}" if words else "- | -"
            print(
                f"| {recording.name} | {seconds:.0f} | {errors.reference_words} | {beams} | {rates} "
                f"| {errors.substitutions} / {errors.deletions} / {errors.insertions} | {cpu_s / seconds:.3f} |"
            )
            sys.stdout.flush()
            if options.texts:
                options.texts.mkdir(parents=True, exist_ok=True)
                (options.texts / f"{recording.name}-beam{beams}.txt").write_text(text + "\n", encoding="utf-8")
    for beams in options.beams if options.group else ():
        print(f"\nBeam {beams}:\n\n{table(group_rows(pair for pair in texts[beams] if pair[0].group))}")


if __name__ == "__main__":
    main()
