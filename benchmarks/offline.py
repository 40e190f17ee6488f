"""Measures the same weights offline, on whole files: what a live transcript can be expected to reach.

    python -m benchmarks.offline --model models/whisper/base benchmarks/material/*.flac
    python -m benchmarks.offline --group 'read=speech/read_*.flac' --group 'phone=speech/phone/*.flac'

The methods are faster-whisper with its VAD filter, with beam 1 and beam 5, as a user of that library would run it, and
``files``: the engine and session that serve POST /v1/audio/transcriptions. Each audio file needs its words beside it as
.json. Prints a Markdown table with the word error rate (errors per reference word), and the CPU seconds and the time
per second of audio. With ``--group`` a table of the groups follows for each method (see ``benchmarks.groups``).
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.client import read_sound
from benchmarks.groups import group_rows, table
from benchmarks.scoring import count_errors
from benchmarks.speech import Speech, add_group_option, read_groups, read_recording
from whisperlivekit.audio.container import decode
from whisperlivekit.core.commands import Audio, Start, Stop
from whisperlivekit.core.events import Committed
from whisperlivekit.core.file_session import FileConfig, FileSession
from whisperlivekit.engine.batcher import Engine
from whisperlivekit.engine.models import find_silero
from whisperlivekit.engine.whisper import MAX_BATCH, EngineConfig
from whisperlivekit.session.runner import SessionRunner
from whisperlivekit.settings.machine import available_cores

Method = Callable[[Path], str]
"""The text of an audio file."""


@contextmanager
def faster_whisper(options: argparse.Namespace) -> Iterator[dict[str, Method]]:
    """faster-whisper with each beam size."""
    from faster_whisper import WhisperModel

    model = WhisperModel(
        str(options.model),
        device=options.device,
        compute_type=options.compute_type,
        cpu_threads=options.threads,
        local_files_only=True,
    )

    def method(beams: int) -> Method:
        def transcribe(path: Path) -> str:
            segments, _ = model.transcribe(str(path), language=options.language, beam_size=beams, vad_filter=True)
            return "".join(segment.text for segment in segments)

        return transcribe

    yield {f"beam {beams}": method(beams) for beams in options.beams}


@contextmanager
def files(options: argparse.Namespace) -> Iterator[dict[str, Method]]:
    """The server's way, in this process."""
    lanes = options.threads or available_cores() if options.device == "cpu" else 1
    max_batch = MAX_BATCH[options.device]
    engine = Engine(
        EngineConfig(
            model_dir=options.model,
            device=options.device,
            compute_type=options.compute_type,
            lanes=lanes,
            max_batch=max_batch,
            language=options.language,
            silero_dir=find_silero(Path("models")),
        )
    )
    config = FileConfig(language=options.language, at_once=2 * lanes * max_batch)

    async def transcribe(path: Path) -> str:
        runner = SessionRunner(engine, engine.detector(), FileSession(config, Start()))

        async def feed() -> None:
            with path.open("rb") as file:
                for samples in decode(file):
                    await runner.receive(Audio(samples))
            await runner.receive(Stop())

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(feed())
            return "".join([event.text async for event in runner.events() if isinstance(event, Committed)])

    with asyncio.Runner() as loop:
        loop.run(engine.load())
        try:
            yield {"files": lambda path: loop.run(transcribe(path))}
        finally:
            engine.close()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", type=Path, nargs="*")
    add_group_option(parser)
    parser.add_argument("--model", type=Path, default=Path("models/whisper/base"))
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--language", default="ru")
    parser.add_argument("--beams", type=int, nargs="*", default=[1, 5], help="of faster-whisper; none: leave it out")
    parser.add_argument("--no-files", action="store_true", help="leave out the server's way")
    parser.add_argument("--threads", type=int, default=0, help="0: all, as faster-whisper and the server choose")
    parser.add_argument("--texts", type=Path, help="write the transcripts into this folder")
    options = parser.parse_args(arguments)
    recordings = [*(read_recording(path) for path in options.audio), *read_groups(options.group)]
    if not recordings:
        parser.error("expected audio files or --group")
    print("| stream | s | words | method | WER | WER raw | sub / del / ins | CPU s per audio s | s per audio s |")
    print("|" + "---|" * 9)
    texts: dict[str, list[tuple[Speech, str]]] = {}
    # One after the other: the threads of a model that waits would count too.
    for methods_of in [faster_whisper] * bool(options.beams) + [files] * (not options.no_files):
        with methods_of(options) as methods:
            for name, method in methods.items():
                texts[name] = [(recording, measure(recording, name, method, options.texts)) for recording in recordings]
    for name, pairs in texts.items() if options.group else ():
        print(f"\n{name}:\n\n{table(group_rows(pair for pair in pairs if pair[0].group))}")


def measure(recording: Speech, name: str, method: Method, folder: Path | None) -> str:
    """The text that a method finds, and its row in the table."""
    words = [word.text for word in recording.words]
    seconds = read_sound(recording.audio).seconds
    cpu, clock = time.process_time(), time.monotonic()
    text = method(recording.audio)
    cpu, clock = time.process_time() - cpu, time.monotonic() - clock
    errors, raw = count_errors(words, text), count_errors(words, text, spell=False)
    rates = f"{errors.wer:.3f} | {raw.wer:.3f}" if words else "- | -"
    print(
        f"| {recording.name} | {seconds:.0f} | {errors.reference_words} | {name} | {rates} "
        f"| {errors.substitutions} / {errors.deletions} / {errors.insertions} "
        f"| {cpu / seconds:.3f} | {clock / seconds:.3f} |"
    )
    sys.stdout.flush()
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{recording.name}-{name.replace(' ', '')}.txt").write_text(text + "\n", encoding="utf-8")
    return text


if __name__ == "__main__":
    main()
