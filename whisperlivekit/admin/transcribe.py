"""``whisperlivekit transcribe``: feeds an audio or video file to a session and returns its words."""

import asyncio
import os
import time
from pathlib import Path

from whisperlivekit.admin.progress import ProgressBar
from whisperlivekit.core.commands import Audio, Start, Stop
from whisperlivekit.core.events import Committed, Gap, Progress
from whisperlivekit.core.hypothesis import Word
from whisperlivekit.core.units import to_seconds
from whisperlivekit.engine import models
from whisperlivekit.errors import WhisperLiveKitError
from whisperlivekit.settings.configs import engine_config, file_config, library_environment
from whisperlivekit.settings.declarations import Settings

PROGRESS_S = 2.0


def transcribe(settings: Settings, file: Path, start: Start) -> list[list[Word]]:
    """The words of each channel that ``start`` asks for: one list, unless the file is multichannel.

    Raises:
        WhisperLiveKitError: the model cannot be loaded or cannot translate, or the file cannot be decoded.
    """
    settings = settings.model_copy(update={"gunicorn_workers": 1})  # this process may use every core
    os.environ.update(library_environment(settings))
    models.find(settings.model, settings.model_dir)
    models.find_silero(settings.model_dir)
    words: list[list[Word]] = []
    try:
        words = asyncio.run(_transcribe(settings, file, start))
    except* WhisperLiveKitError as group:  # the first failure of the two tasks is the reason
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    return words


async def _transcribe(settings: Settings, file: Path, start: Start) -> list[list[Word]]:
    from whisperlivekit.audio.container import decode
    from whisperlivekit.core.file_session import FileSession
    from whisperlivekit.engine.api import check_task
    from whisperlivekit.engine.batcher import Engine
    from whisperlivekit.session.multichannel import MultichannelRunner, Runner
    from whisperlivekit.session.runner import SessionRunner

    bar = ProgressBar()
    bar.say(f"loading {settings.model}")
    engine = Engine(engine_config(settings))
    words: list[list[Word]] = [[] for _ in range(start.channels)]

    def run(start: Start, moved: asyncio.Event | None = None) -> SessionRunner:
        return SessionRunner(engine, engine.detector(), FileSession(file_config(settings), start), moved)

    try:
        await engine.load()
        check_task(start.task, settings.model, translates=engine.translates)
        runner: Runner = run(start) if start.channels == 1 else MultichannelRunner(start, run)

        async def feed() -> None:
            for samples in decode(file, start.channels):
                await runner.receive(Audio(samples))
            await runner.receive(Stop())

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(feed())
            shown = time.monotonic()
            async for event in runner.events():
                match event:
                    case Committed():
                        words[event.channel or 0] += event.words
                    case Gap():
                        where = f"{to_seconds(event.start)} to {to_seconds(event.end)} s"
                        bar.say(f"not transcribed: {where} ({event.reason})")
                    case Progress() if time.monotonic() - shown > PROGRESS_S:
                        shown = time.monotonic()
                        bar.say(f"  {to_seconds(event.settled):.0f} s of audio done")
                    case _:
                        pass
    finally:
        engine.close()
    return words
