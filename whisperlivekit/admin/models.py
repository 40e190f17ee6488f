"""``whisperlivekit models``: downloads, lists and verifies model files. Functions print, and return exit statuses."""

from collections.abc import Iterator

from whisperlivekit.admin.fetch import fetch, fetch_silero
from whisperlivekit.admin.progress import ProgressBar
from whisperlivekit.engine import models
from whisperlivekit.program import command
from whisperlivekit.settings.declarations import Settings


def fetch_models(settings: Settings, name: str | None) -> int:
    """Download a model (``WLK_MODEL`` if no name is given) and the speech detector, unless their files are there.

    Raises:
        ModelFileError: a file cannot be downloaded, or the operator's own model is not complete.
    """
    name = name or settings.model
    bar = ProgressBar()
    detector = fetch_silero(settings.model_dir, settings.cache_dir, bar.report, bar.say)
    bar.end()
    if name == settings.model and name not in models.NAMES:
        # The operator's own model: there is nothing to download.
        path = models.find(name, settings.model_dir)
    else:
        path = fetch(name, settings.model_dir, settings.cache_dir, bar.report, bar.say)
        bar.end()
    print(f"model {name}: {path}")
    print(f"speech detector: {detector}")
    return 0


def list_models(settings: Settings) -> int:
    """Print one line for each known model, with its size and whether it is downloaded."""
    for model in models.MODELS.values():
        path = models.folder(model.name, settings.model_dir)
        state = "-"
        if path.is_dir():
            complete = all((path / file.name).is_file() for file in models.edition_in(path, model).files)
            state = "downloaded" if complete else "incomplete"
        chosen = "  <- WLK_MODEL" if model.name == settings.model else ""
        print(f"{model.name:<15} {model.size_bytes / 1e6:>6.0f} MB  {state:<10} {model.repository}{chosen}")
    return 0


def verify_models(settings: Settings) -> int:
    """Read every downloaded file, print each problem, and return 1 if there is one."""
    bad = 0
    for name, fetch_command, problems in _verify(settings):
        print(f"{name}: {'; '.join(problems) or 'all files are correct'}")
        if problems:
            print(f"  to download it again, run: {fetch_command}")
        bad += bool(problems)
    return 1 if bad else 0


def _verify(settings: Settings) -> Iterator[tuple[str, str, list[str]]]:
    """(name, command that downloads it, problems) of the chosen model, all downloaded ones, and the speech detector."""
    downloaded = [name for name in models.NAMES if models.folder(name, settings.model_dir).is_dir()]
    for name in dict.fromkeys([*downloaded, settings.model]):
        path = models.folder(name, settings.model_dir)
        problems = list(models.find_problems(path, models.MODELS.get(name), trust_record=False))
        yield name, command("models", "fetch", name), problems
    path = models.silero_folder(settings.model_dir)
    yield (
        models.SILERO.name,
        command("models", "fetch"),
        list(models.find_problems(path, models.SILERO, trust_record=False)),
    )
