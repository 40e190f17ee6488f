"""The command line: ``whisperlivekit serve | check | models | transcribe``. Thin: the work is done elsewhere."""

import argparse
import asyncio
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from whisperlivekit import migrate
from whisperlivekit import settings as settings_module
from whisperlivekit.core.commands import Audio, Start, Stop
from whisperlivekit.core.events import Committed, Gap, Progress
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.core.units import to_seconds
from whisperlivekit.engine import models
from whisperlivekit.errors import ModelFileError, SettingsError, WhisperLiveKitError
from whisperlivekit.settings import Settings, load_settings
from whisperlivekit.wire.languages import check_language
from whisperlivekit.wire.subtitles import FORMATS


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the result is the exit status: 0 good, 1 problems were found, 2 it could not be done."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except WhisperLiveKitError as error:
        print(f"whisperlivekit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="whisperlivekit", description="Live speech to text, Russian first.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="serve the page and the protocols, as .env says")
    serve.set_defaults(run=_serve)

    check = commands.add_parser("check", help="look at settings, model files, port, GPU and libraries")
    check.add_argument(
        "--env", type=Path, metavar="OLD.env", help="say of each line of an older .env what became of it"
    )
    check.set_defaults(run=_check)

    model = commands.add_parser("models", help="model files: fetch, list, verify")
    actions = model.add_subparsers(required=True, metavar="ACTION")
    fetch = actions.add_parser("fetch", help="get a model's files and check them")
    fetch.add_argument("name", nargs="?", help=f"one of {', '.join(models.NAMES)}; default: WLK_MODEL")
    fetch.set_defaults(run=_models_fetch)
    actions.add_parser("list", help="which models there are, and which are here").set_defaults(run=_models_list)
    verify = actions.add_parser("verify", help="read every file of the models that are here and check its SHA-256")
    verify.set_defaults(run=_models_verify)

    transcribe = commands.add_parser("transcribe", help="turn a sound or video file into text")
    transcribe.add_argument("file", type=Path)
    transcribe.add_argument("--format", choices=list(FORMATS), default="txt")
    transcribe.add_argument("--output", type=Path, help="default: the terminal")
    transcribe.add_argument("--language", help="a language code, or auto; default: WLK_LANGUAGE")
    transcribe.add_argument("--prompt", help="names and style; default: WLK_INIT_PROMPT")
    transcribe.set_defaults(run=_transcribe)

    example = commands.add_parser("settings-example", help="print .env.example")
    example.add_argument("--markdown", action="store_true", help="the table of the README instead")
    example.set_defaults(run=_settings_example)
    return parser


# -------------------------------------------------------------------------------------------------------------- serve


def _serve(_: argparse.Namespace) -> int:
    settings = load_settings()
    # After the settings were found good: this loads the web framework.
    from whisperlivekit.server.launch import serve

    serve(settings)


# -------------------------------------------------------------------------------------------------------------- check


def _check(options: argparse.Namespace) -> int:
    if options.env:
        return _check_old(options.env)
    from whisperlivekit.check import examine

    try:
        settings = load_settings()
    except SettingsError as error:
        print(f"BAD  settings: {error}")
        return 1
    read = ".env and the environment" if Path(".env").exists() else "the environment and defaults; there is no .env"
    print(f"ok   settings: from {read}")
    bad = 0
    for finding in examine(settings):
        print(finding)
        bad += not finding.good
    print("everything is in order" if not bad else f"{bad} problem{'s' if bad > 1 else ''}")
    return 1 if bad else 0


def _check_old(env_file: Path) -> int:
    """0 if the file can be used as it is."""
    counts = dict.fromkeys(migrate.Fate, 0)
    refused = 0
    for verdict in migrate.examine(env_file):
        print(verdict)
        counts[verdict.fate] += 1
        refused += bool(verdict.problem)
    print(", ".join(f"{count} {fate.value}" for fate, count in counts.items() if count) or "no settings in it")
    if refused:
        print(f"{refused} with a value that is refused")
    usable = not refused and not any(
        counts[fate] for fate in (migrate.Fate.RENAMED, migrate.Fate.UNKNOWN, migrate.Fate.GONE, migrate.Fate.BROKEN)
    )
    return 0 if usable else 1


# ------------------------------------------------------------------------------------------------------------- models


def _models_fetch(options: argparse.Namespace) -> int:
    from whisperlivekit.engine.fetch import fetch

    settings = load_settings()
    name = options.name or settings.model
    if name == settings.model and name not in models.NAMES:
        print(
            f"{name}: {models.find(name, settings.model_dir)}"
        )  # somebody's own model: nothing to fetch, only to check
        return 0
    bar = ProgressBar()
    path = fetch(name, settings.model_dir, settings.cache_dir, bar.report, bar.say)
    bar.end()
    models.place_silero(settings.model_dir)
    print(f"model {name}: {path}")
    return 0


def _models_list(_: argparse.Namespace) -> int:
    settings = load_settings()
    for model in models.MODELS.values():
        path = models.folder(model.name, settings.model_dir)
        state = "-" if not path.is_dir() else "here"
        if state == "here" and not all((path / file.name).is_file() for file in models.edition_in(path, model).files):
            state = "incomplete"
        chosen = "  <- WLK_MODEL" if model.name == settings.model else ""
        print(f"{model.name:<15} {model.size_bytes / 1e6:>6.0f} MB  {state:<10} {model.repository}{chosen}")
    return 0


def _models_verify(_: argparse.Namespace) -> int:
    settings = load_settings()
    bad = 0
    names = [name for name in models.NAMES if models.folder(name, settings.model_dir).is_dir()]
    for name in dict.fromkeys([*names, settings.model]):
        path = models.folder(name, settings.model_dir)
        problems = list(models.examine(path, models.MODELS.get(name), trust_record=False))
        print(f"{name}: {'; '.join(problems) or 'every file is as it should be'}")
        if problems:
            print(f"  fetch it again with: whisperlivekit models fetch {name}")
        bad += bool(problems)
    try:
        print(f"silero_vad: {models.place_silero(settings.model_dir)}: as its package brought it")
    except ModelFileError as error:
        print(f"silero_vad: {error}")
        bad += 1
    return 1 if bad else 0


class ProgressBar:
    """Bytes of one file at a time: a bar on a terminal, a line every ten seconds elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown_s = time.monotonic()
        self._open = False

    def report(self, name: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now - self._shown_s < (0.1 if self._terminal else 10.0) and done != total:
            return
        self._shown_s = now
        size = f"{done / 1e6:.1f} MB" + (f" of {total / 1e6:.1f} MB" if total else "")
        if not self._terminal:
            print(f"  {name}: {size}", file=sys.stderr)
            return
        width = max(10, min(40, shutil.get_terminal_size().columns - len(name) - 30))
        full = width * done // total if total else 0
        print(f"\r\033[K  {name} [{'#' * full}{'.' * (width - full)}] {size}", end="", file=sys.stderr, flush=True)
        self._open = True

    def say(self, line: str) -> None:
        self.end()
        print(line, file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._open:
            print(file=sys.stderr)
        self._open = False


# --------------------------------------------------------------------------------------------------------- transcribe


def _transcribe(options: argparse.Namespace) -> int:
    if options.language:
        check_language(options.language)
    if not options.file.is_file():
        print(f"whisperlivekit: there is no file {options.file}", file=sys.stderr)
        return 2
    settings = load_settings().model_copy(update={"gunicorn_workers": 1})  # one process: it may use every core
    os.environ.update(settings.environment())
    models.find(settings.model, settings.model_dir)
    start = Start(language=options.language, prompt=options.prompt)
    words: list[Word] = []
    try:
        words = asyncio.run(_transcribe_file(settings, options.file, start))
    except* WhisperLiveKitError as group:  # of the two tasks the first that failed tells why
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    result = FORMATS[options.format](words)
    if options.output:
        options.output.write_text(result, encoding="utf-8")
    else:
        sys.stdout.write(result)
    return 0


async def _transcribe_file(settings: Settings, file: Path, start: Start) -> list[Word]:
    """The committed words of a file, which is a session fed as fast as it takes audio."""
    from whisperlivekit.audio.container import decode
    from whisperlivekit.engine.batcher import Engine
    from whisperlivekit.session.runner import SessionRunner

    bar = ProgressBar()
    bar.say(f"loading {settings.model}")
    engine = Engine(settings.engine_config())
    words: list[Word] = []
    try:
        await engine.load()
        runner = SessionRunner(engine, engine.detector(), settings.session_config(), start)

        async def feed() -> None:
            for samples in decode(file):
                await runner.receive(Audio(samples))
            await runner.receive(Stop())

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(feed())
            shown = time.monotonic()
            async for event in runner.events():
                match event:
                    case Committed():
                        words += event.words
                    case Gap():
                        where = f"{to_seconds(event.start)} to {to_seconds(event.end)} s"
                        bar.say(f"not transcribed: {where} ({event.reason})")
                    case Progress() if time.monotonic() - shown > 2:
                        shown = time.monotonic()
                        bar.say(f"  {to_seconds(event.settled):.0f} s of audio done")
                    case _:
                        pass
    finally:
        engine.close()
    return words


# ----------------------------------------------------------------------------------------------------------- settings


def _settings_example(options: argparse.Namespace) -> int:
    print(settings_module.markdown_table() if options.markdown else settings_module.example(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
