"""The same weights offline, on whole files: the ceiling that a live transcript is compared with.

    python -m benchmarks.offline --model models/whisper/base benchmarks/material/*.flac

faster-whisper with its VAD filter, beam 1 and beam 5, as a user of that library would run it. Prints a Markdown table;
each audio file needs its words beside it as .json.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.client import read_sound
from benchmarks.scoring import count_errors
from benchmarks.speech import read_reference


def transcribe(model: Any, path: Path, beams: int, language: str) -> tuple[str, float]:
    """The text, and the CPU seconds that it took."""
    before = time.process_time()
    segments, _ = model.transcribe(str(path), language=language, beam_size=beams, vad_filter=True)
    text = "".join(segment.text for segment in segments)
    return text, time.process_time() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", type=Path, nargs="+")
    parser.add_argument("--model", type=Path, default=Path("models/whisper/base"))
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--language", default="ru")
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--texts", type=Path, help="folder for the transcripts, to read what went wrong")
    options = parser.parse_args()

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
    for path in options.audio:
        words = [word.text for word in read_reference(path.with_suffix(".json"))]
        seconds = read_sound(path).seconds
        for beams in options.beams:
            text, cpu_s = transcribe(model, path, beams, options.language)
            errors, raw = count_errors(words, text), count_errors(words, text, spell=False)
            rates = f"{errors.wer:.3f} | {raw.wer:.3f}" if words else "- | -"
            print(
                f"| {path.stem} | {seconds:.0f} | {errors.reference_words} | {beams} | {rates} "
                f"| {errors.substitutions} / {errors.deletions} / {errors.insertions} | {cpu_s / seconds:.3f} |"
            )
            sys.stdout.flush()
            if options.texts:
                options.texts.mkdir(parents=True, exist_ok=True)
                (options.texts / f"{path.stem}-beam{beams}.txt").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
