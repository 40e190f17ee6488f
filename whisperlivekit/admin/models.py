"""``whisperlivekit models``: fetch, list and verify model files."""

from whisperlivekit.admin.fetch import fetch, fetch_silero
from whisperlivekit.admin.progress import ProgressBar
from whisperlivekit.engine import models
from whisperlivekit.settings.declarations import Settings


def fetch_model_files(settings: Settings, name: str | None) -> int:
    name = name or settings.model
    bar = ProgressBar()
    fetch_silero(settings.model_dir, settings.cache_dir, bar.report, bar.say)
    bar.end()
    if name == settings.model and name not in models.NAMES:
        print(
            f"{name}: {models.find(name, settings.model_dir)}"
        )  # somebody's own model: nothing to fetch, only to check
        return 0
    path = fetch(name, settings.model_dir, settings.cache_dir, bar.report, bar.say)
    bar.end()
    print(f"model {name}: {path}")
    return 0


def list_models(settings: Settings) -> int:
    for model in models.MODELS.values():
        path = models.folder(model.name, settings.model_dir)
        state = "-" if not path.is_dir() else "here"
        if state == "here" and not all((path / file.name).is_file() for file in models.edition_in(path, model).files):
            state = "incomplete"
        chosen = "  <- WLK_MODEL" if model.name == settings.model else ""
        print(f"{model.name:<15} {model.size_bytes / 1e6:>6.0f} MB  {state:<10} {model.repository}{chosen}")
    return 0


def verify_models(settings: Settings) -> int:
    bad = 0
    names = [name for name in models.NAMES if models.folder(name, settings.model_dir).is_dir()]
    for name in dict.fromkeys([*names, settings.model]):
        path = models.folder(name, settings.model_dir)
        problems = list(models.find_problems(path, models.MODELS.get(name), trust_record=False))
        print(f"{name}: {'; '.join(problems) or 'every file is as it should be'}")
        if problems:
            print(f"  fetch it again with: whisperlivekit models fetch {name}")
        bad += bool(problems)
    problems = list(models.find_problems(models.silero_folder(settings.model_dir), models.SILERO, trust_record=False))
    print(f"silero_vad: {'; '.join(problems) or 'every file is as it should be'}")
    if problems:
        print("  fetch it again with: whisperlivekit models fetch")
    bad += bool(problems)
    return 1 if bad else 0
