"""``whisperlivekit models``: fetch, add, list, verify, remove. Functions print, and return exit statuses."""

from collections.abc import Iterator
from pathlib import Path

from whisperlivekit.admin import add as adding
from whisperlivekit.admin.fetch import fetch, fetch_silero
from whisperlivekit.admin.progress import ProgressBar
from whisperlivekit.engine import models
from whisperlivekit.errors import ModelFileError
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
    if name in {settings.model, *models.added_names(settings.model_dir)} - {*models.NAMES}:
        # The operator's own model: there is nothing to download.
        path = models.find(name, settings.model_dir)
    else:
        path = fetch(name, settings.model_dir, settings.cache_dir, bar.report, bar.say)
        bar.end()
    print(f"model {name}: {path}")
    print(f"speech detector: {detector}")
    return 0


def add_model(settings: Settings, source: str, name: str | None, *, replace: bool) -> int:
    """Add a model of the operator's own, see ``admin/add.py``. The default name is that of the folder or repository.

    Raises:
        ModelFileError: the model cannot be added; the message says why.
    """
    origin = adding.parse_source(source)
    name = name or origin.name
    bar = ProgressBar()
    try:
        path, details = adding.add(
            origin,
            name,
            settings.model_dir,
            settings.cache_dir,
            report=bar.report,
            say=bar.say,
            replace_other=replace,
        )
    except OSError as error:
        raise ModelFileError(f"cannot add {source}: {error}") from error
    finally:
        bar.end()
    added = models.read_added(path)
    print(f"model {name}: {path}, {added.size_bytes / 1e6:.0f} MB, {details}")
    print(f"source: {added.source}")
    if name != settings.model:
        print(f"to use it, set WLK_MODEL={name} in .env and restart the server")
    if not details.multilingual and settings.language != "en":
        print(f"this model knows English only, but WLK_LANGUAGE is {settings.language}")
    return 0


def remove_model(settings: Settings, name: str) -> int:
    """Delete the files of a model, unless it is ``WLK_MODEL``.

    Raises:
        ModelFileError: there is no such model, or the server is set to use it.
    """
    if name == settings.model:
        raise ModelFileError(f"WLK_MODEL is {name}: the server could not start without it; set another model first")
    try:
        adding.remove(name, settings.model_dir)
    except OSError as error:
        raise ModelFileError(f"cannot remove the model {name}: {error}") from error
    print(f"removed the model {name}")
    return 0


def list_models(settings: Settings) -> int:
    """Print one line for each pinned and each added model, with its size, its state and where it comes from."""
    for model in models.MODELS.values():
        path = models.folder(model.name, settings.model_dir)
        edition = models.edition_in(path, model)
        _print_line(
            model, settings, ("downloaded" if _is_whole(path, edition) else "incomplete") if path.is_dir() else "-"
        )
    for name in models.added_names(settings.model_dir):
        path = models.folder(name, settings.model_dir)
        try:
            model = models.read_added(path)
        except ModelFileError as error:
            print(f"{name}: {error}")
        else:
            _print_line(model, settings, "added" if _is_whole(path, model.editions[0]) else "incomplete")
    return 0


def _print_line(model: models.Model, settings: Settings, state: str) -> None:
    chosen = "  <- WLK_MODEL" if model.name == settings.model else ""
    size = f"{model.size_bytes / 1e6:>6.0f} MB"
    print(f"{model.name:<15} {size}  {state:<10} {model.source or model.repository}{chosen}")


def _is_whole(path: Path, edition: models.Edition) -> bool:
    return all((path / file.name).is_file() for file in edition.files)


def verify_models(settings: Settings) -> int:
    """Read every file of every model that is here, print each problem, and return 1 if there is one."""
    bad = 0
    for name, remedy, problems in _verify(settings):
        print(f"{name}: {'; '.join(problems) or 'all files are correct'}")
        if problems and remedy:
            print(f"  {remedy}")
        bad += bool(problems)
    return 1 if bad else 0


def _verify(settings: Settings) -> Iterator[tuple[str, str, list[str]]]:
    """(name, remedy, problems) of every downloaded or added model, the chosen one, and the speech detector."""
    downloaded = [name for name in models.NAMES if models.folder(name, settings.model_dir).is_dir()]
    for name in dict.fromkeys([*downloaded, *models.added_names(settings.model_dir), settings.model]):
        path = models.folder(name, settings.model_dir)
        try:
            model = models.model_in(path)
        except ModelFileError as error:
            yield name, "", [str(error)]
            continue
        problems = list(models.find_problems(path, model, trust_record=False))
        yield name, model.remedy if model else "", problems
    path = models.silero_folder(settings.model_dir)
    yield models.SILERO.name, models.SILERO.remedy, list(models.find_problems(path, models.SILERO, trust_record=False))
