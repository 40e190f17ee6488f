"""The configurations that are made from the settings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.settings.gpus import gpus_found
from whisperlivekit.core.paragraph import LONGEST_S
from whisperlivekit.settings.configs import engine_config, file_config, library_environment, session_config
from whisperlivekit.settings.declarations import Settings


@pytest.mark.parametrize(("device", "asked", "expected"), [("cpu", "auto", "int8"), ("cpu", "float32", "float32")])
def test_the_engine_gets_no_auto(tmp_path: Path, device: str, asked: str, expected: str) -> None:
    """The engine never gets `auto`, because CTranslate2 would fall back to the CPU without an error."""
    settings = Settings(device=device, compute_type=asked, model="base")
    config = engine_config(settings)
    assert (config.device, config.compute_type, config.device_index) == ("cpu", expected, 0)
    assert config.model_dir == Path("models/whisper/base")
    assert (config.beams, config.language) == (3, "ru")


def test_workers_are_distributed_over_the_listed_gpus(tmp_path: Path) -> None:
    settings = Settings(device="cuda", cuda_visible_devices="2,3", compute_type="float16")
    assert [engine_config(settings, worker).device_index for worker in range(4)] == [0, 1, 0, 1]
    assert library_environment(settings)["CUDA_VISIBLE_DEVICES"] == "2,3"


@pytest.mark.parametrize(
    ("visible", "indices"), [(None, [0, 1, 2, 0, 1]), ("0,1", [0, 1, 0, 1, 0]), ("2", [0, 0, 0, 0, 0])]
)
def test_workers_are_distributed_over_the_found_gpus(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, indices: list[int]
) -> None:
    """Worker i gets GPU i modulo n of the visible ones, in CUDA's numbering."""
    gpus_found(monkeypatch, (8, 0), (8, 0), (8, 0))
    settings = Settings(cuda_visible_devices=visible)
    assert [engine_config(settings, worker).device_index for worker in range(5)] == indices


def test_libraries_do_not_contact_the_model_hub() -> None:
    assert library_environment(Settings())["HF_HUB_OFFLINE"] == "1"


def test_sessions_get_their_settings() -> None:
    config = session_config(
        Settings(language="auto", min_chunk_size=0.75, vad_threshold=0.4, init_prompt="Имена: Анна")
    )
    assert (config.language, config.step_s, config.speech_threshold) == (None, 0.75, 0.4)
    assert (config.prompt, config.min_silence_s, config.frame_threshold) == ("Имена: Анна", 0.5, 25)


def test_files_get_their_settings() -> None:
    """And as many paragraphs at once as keep every lane busy."""
    config = file_config(Settings(device="cpu", cpu_threads=3, language="auto", vad_threshold=0.4, init_prompt="Анна"))
    assert (config.language, config.speech_threshold, config.prompt, config.at_once) == (None, 0.4, "Анна", 6)
    assert file_config(Settings(device="cuda", cuda_visible_devices="0")).at_once == 16


def test_the_longest_request_is_a_paragraph() -> None:
    """A GPU's memory is filled with it when the model is loaded."""
    assert engine_config(Settings(device="cpu")).longest_s == LONGEST_S


def test_reading_settings_loads_no_model_library() -> None:
    """Gunicorn's master reads them before it forks."""
    program = (
        "import sys\n"
        "from whisperlivekit.settings.configs import engine_config\n"
        "from whisperlivekit.settings.env_file import load_settings\n"
        "engine_config(load_settings(None))\n"
        "print([name for name in ('torch', 'ctranslate2', 'onnxruntime', 'faster_whisper') if name in sys.modules])"
    )
    environment = {**os.environ, "WHISPER_DEVICE": "cpu"}
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
