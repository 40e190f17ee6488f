"""Converts a Whisper model from transformers' format to CTranslate2's, where transformers and torch are installed.

The server does not install these two: torch alone is larger than everything else together. Without them the error says
how to convert on any machine.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

from whisperlivekit.admin.downloads import Say
from whisperlivekit.engine.whisper_folder import PREPROCESSOR, TOKENIZER
from whisperlivekit.errors import ModelFileError
from whisperlivekit.program import command

TYPE = "float16"
"""The type that weights are stored in. Half the size of float32, and any WLK_COMPUTE_TYPE can be made from it when the
model is loaded. From int8 no better type can be made again. The pinned models have this type too."""

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_INDEXES = tuple(f"{name}.index.json" for name in _WEIGHTS)
"""Large models are split into several files, which one of these lists."""
_SAVE_TOKENIZER = (
    "import sys; from transformers import AutoTokenizer; "
    "AutoTokenizer.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])"
)


def weights_among(names: Collection[str]) -> str | None:
    """The file that shows that a folder with these files has a model in transformers' format; None: it has none."""
    return next((name for name in (*_WEIGHTS, *_INDEXES) if name in names), None)


def explain(names: Collection[str], model: str, revision: str = "") -> str:
    """How to convert a model, for a person.

    ``names``: its files. ``model``: its folder, or OWNER/NAME on the hub, then with a ``revision``.
    """
    name = model.rstrip("/").rpartition("/")[2]
    where = f"{model} --revision {revision}" if revision else model
    copied = " ".join(_copied(names))
    lines = [
        f"found {weights_among(names)}, which is transformers' format; expected model.bin, which is CTranslate2's.",
        "To convert the model on any machine, run there:",
        "  python3 -m venv convert && convert/bin/pip install ctranslate2 transformers torch",
        f"  convert/bin/ct2-transformers-converter --model {where} --output_dir {name}-ct2 --quantization {TYPE}"
        + (f" --copy_files {copied}" if copied else ""),
    ]
    if TOKENIZER not in names:
        lines.append(f"  convert/bin/python -c {shlex.quote(_SAVE_TOKENIZER)} {model} {name}-ct2")
    add = command("models", "add", f"{name}-ct2", "--name", name)
    return "\n".join([*lines, f"Then copy the folder {name}-ct2 to this machine and run: {add}"])


def convert(source: Path, target: Path, say: Say) -> None:
    """Write the model in the folder ``source`` to the folder ``target``, which does not exist yet.

    Raises:
        ModelFileError: transformers or torch is not installed, or the conversion failed.
    """
    names = [path.name for path in source.iterdir()]
    if not (find_spec("transformers") and find_spec("torch")):
        raise ModelFileError(explain(names, str(source)))
    say(f"converting {source} to CTranslate2's format")
    options = ["--model", str(source), "--output_dir", str(target), "--quantization", TYPE]
    copied = _copied(names)
    if copied:
        options += ["--copy_files", *copied]
    _run("-m", "ctranslate2.converters.transformers", *options, cwd=target.parent)
    if TOKENIZER not in copied:
        _run("-c", _SAVE_TOKENIZER, str(source), str(target), cwd=target.parent)


def _copied(names: Collection[str]) -> list[str]:
    """The files that the conversion leaves as they are."""
    return [name for name in (TOKENIZER, PREPROCESSOR) if name in names]


def _run(*arguments: str, cwd: Path) -> None:
    # Python imports from the current folder first, so that must not be the model's. Offline: nothing is downloaded.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit status {done.returncode}"]
        raise ModelFileError(f"the conversion failed: {lines[-1].strip()}")
