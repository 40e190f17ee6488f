"""The command line: ``whisperlivekit serve | check | models | transcribe``. Thin: the work is done elsewhere."""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from whisperlivekit.admin import migrate
from whisperlivekit.admin import models as admin_models
from whisperlivekit.admin.progress import ProgressBar
from whisperlivekit.core.commands import Audio, Start, Stop
from whisperlivekit.core.events import Committed, Gap, Progress
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.core.units import to_seconds
from whisperlivekit.engine import models
from whisperlivekit.errors import SettingsError, WhisperLiveKitError
from whisperlivekit.settings import documents
from whisperlivekit.settings.configs import engine_config, library_environment, session_config
from whisperlivekit.settings.declarations import Settings
from whisperlivekit.settings.env_file import load_settings
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


# ----------------------------------------------------------------------------------------------------------- operator


def _check(options: argparse.Namespace) -> int:
    if options.env:
        return migrate.report(options.env)
    try:
        settings = load_settings()
    except SettingsError as error:
        print(f"BAD  settings: {error}")
        return 1
    read = ".env and the environment" if Path(".env").exists() else "the environment and defaults; there is no .env"
    print(f"ok   settings: from {read}")
    from whisperlivekit.admin.check import report

    return report(settings)


def _models_fetch(options: argparse.Namespace) -> int:
    return admin_models.fetch_model_files(load_settings(), options.name)


def _models_list(_: argparse.Namespace) -> int:
    return admin_models.list_models(load_settings())


def _models_verify(_: argparse.Namespace) -> int:
    return admin_models.verify_models(load_settings())


# --------------------------------------------------------------------------------------------------------- transcribe


def _transcribe(options: argparse.Namespace) -> int:
    if options.language:
        check_language(options.language)
    if not options.file.is_file():
        print(f"whisperlivekit: there is no file {options.file}", file=sys.stderr)
        return 2
    settings = load_settings().model_copy(update={"gunicorn_workers": 1})  # one process: it may use every core
    os.environ.update(library_environment(settings))
    models.find(settings.model, settings.model_dir)
    models.find_silero(settings.model_dir)
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
    engine = Engine(engine_config(settings))
    words: list[Word] = []
    try:
        await engine.load()
        runner = SessionRunner(engine, engine.detector(), session_config(settings), start)

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
    print(documents.markdown_table() if options.markdown else documents.example(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
