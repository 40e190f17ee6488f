"""The command line: ``whisperlivekit serve | check | models | transcribe | settings-example``."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from whisperlivekit.admin import migrate
from whisperlivekit.core.commands import Start
from whisperlivekit.core.hypothesis import Task
from whisperlivekit.engine import models
from whisperlivekit.errors import WhisperLiveKitError
from whisperlivekit.settings import documents
from whisperlivekit.settings.env_file import load_settings
from whisperlivekit.wire.languages import check_language
from whisperlivekit.wire.subtitles import FORMATS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Exit status: 0 success, 1 the command found problems, 2 the command failed.

    130 and 141 are those of a program that SIGINT or SIGPIPE ended.
    """
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except WhisperLiveKitError as error:
        print(f"whisperlivekit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has ended, as in: whisperlivekit check | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit would fail again
        return 141


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whisperlivekit",
        description="Real-time speech to text. Settings are read from the environment and from .env in the folder of "
        "the checkout, or in the folder that the environment variable WLK_HOME names.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="start the server")
    serve.set_defaults(run=_serve)

    check = commands.add_parser("check", help="check settings, libraries, GPU, model files, folders and port")
    check.add_argument(
        "--env", type=Path, metavar="OLD.env", help="instead, print what became of each line of an older .env"
    )
    check.set_defaults(run=_check)

    model = commands.add_parser("models", help="fetch, add, list, verify or remove models")
    actions = model.add_subparsers(required=True, metavar="ACTION")
    fetch = actions.add_parser("fetch", help="download the files of a model and of the speech detector, and check them")
    fetch.add_argument("name", nargs="?", help=f"one of {', '.join(models.NAMES)}; default: WLK_MODEL")
    fetch.set_defaults(run=_models_fetch)
    add = actions.add_parser("add", help="copy a model of your own, for example a fine-tuned one, to the other models")
    add.add_argument(
        "source",
        help="the path of a folder with a Whisper model in CTranslate2's format, or hf:OWNER/NAME@REVISION on the hub",
    )
    add.add_argument("--name", help="its name in WLK_MODEL; default: the name of the folder or repository")
    add.add_argument("--replace", action="store_true", help="replace a model of this name that has other files")
    add.set_defaults(run=_models_add)
    actions.add_parser("list", help="list all models and which of them are here").set_defaults(run=_models_list)
    verify = actions.add_parser("verify", help="read the files of all models that are here and compare their SHA-256")
    verify.set_defaults(run=_models_verify)
    remove = actions.add_parser("remove", help="delete the files of a model")
    remove.add_argument("name")
    remove.set_defaults(run=_models_remove)

    transcribe = commands.add_parser("transcribe", help="transcribe an audio or video file")
    transcribe.add_argument("file", type=Path)
    transcribe.add_argument("--format", choices=list(FORMATS), default="txt")
    transcribe.add_argument("--output", type=Path, help="file to write; default: standard output")
    transcribe.add_argument("--language", help="a language code, or auto; default: WLK_LANGUAGE")
    transcribe.add_argument("--translate", action="store_true", help="write in English what is said")
    transcribe.add_argument(
        "--multichannel", action="store_true", help="a stereo file with one speaker on each channel: write a dialogue"
    )
    transcribe.add_argument("--prompt", help="text that shows the model names and style; default: WLK_INIT_PROMPT")
    transcribe.set_defaults(run=_transcribe)

    example = commands.add_parser("settings-example", help="print .env.example")
    example.add_argument("--markdown", action="store_true", help="instead, print the table of the README")
    example.set_defaults(run=_settings_example)
    return parser


# Each command imports what it needs, so that a mistake in .env is reported before the web framework is loaded.


def _serve(_: argparse.Namespace) -> int:
    settings = load_settings()
    from whisperlivekit.server.launch import serve

    serve(settings)


def _check(options: argparse.Namespace) -> int:
    if options.env:
        return migrate.report(options.env)
    from whisperlivekit.admin.check import report

    return report()


def _models_fetch(options: argparse.Namespace) -> int:
    from whisperlivekit.admin.models import fetch_models

    return fetch_models(load_settings(), options.name)


# WLK_MODEL may name a model that these three are about to add, and need not be right for them.


def _models_add(options: argparse.Namespace) -> int:
    from whisperlivekit.admin.models import add_model

    return add_model(load_settings(any_model=True), options.source, options.name, replace=options.replace)


def _models_list(_: argparse.Namespace) -> int:
    from whisperlivekit.admin.models import list_models

    return list_models(load_settings(any_model=True))


def _models_remove(options: argparse.Namespace) -> int:
    from whisperlivekit.admin.models import remove_model

    return remove_model(load_settings(any_model=True), options.name)


def _models_verify(_: argparse.Namespace) -> int:
    from whisperlivekit.admin.models import verify_models

    return verify_models(load_settings())


def _transcribe(options: argparse.Namespace) -> int:
    if options.language:
        check_language(options.language)
    if not options.file.is_file():
        print(f"whisperlivekit: there is no file {options.file}", file=sys.stderr)
        return 2
    from whisperlivekit.admin.transcribe import transcribe

    task: Task = "translate" if options.translate else "transcribe"
    channels = 2 if options.multichannel else 1
    start = Start(language=options.language, prompt=options.prompt, realtime=False, task=task, channels=channels)
    result = FORMATS[options.format](*transcribe(load_settings(), options.file, start))
    if options.output:
        options.output.write_text(result, encoding="utf-8")
    else:
        sys.stdout.write(result)
    return 0


def _settings_example(options: argparse.Namespace) -> int:
    print(documents.markdown_table() if options.markdown else documents.example(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
