"""Makes the configurations of other packages from the settings. They receive these instead of the settings."""

from typing import TYPE_CHECKING

from whisperlivekit.engine import models
from whisperlivekit.settings.declarations import Settings
from whisperlivekit.settings.machine import (
    found_gpus,
    lanes_per_worker,
    resolved_compute_type,
    resolved_device,
    threads_per_worker,
)

if TYPE_CHECKING:
    from whisperlivekit.core.file_session import FileConfig
    from whisperlivekit.core.session import SessionConfig
    from whisperlivekit.engine.whisper import EngineConfig


def library_environment(settings: Settings) -> dict[str, str]:
    """Variables that must be in ``os.environ`` before the model libraries are imported."""
    cache = settings.cache_dir.absolute()
    variables = {
        "HF_HUB_OFFLINE": "1",  # the server never asks the model hub
        "HF_HOME": str(cache / "huggingface"),
        "CUDA_CACHE_PATH": str(cache / "cuda"),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # CUDA then numbers the GPUs as NVML does
    }
    if settings.cuda_visible_devices is not None:
        variables["CUDA_VISIBLE_DEVICES"] = settings.cuda_visible_devices
    return variables


def engine_config(settings: Settings, worker: int = 0) -> "EngineConfig":
    """The configuration of one worker's engine. Worker i gets GPU i modulo the number of visible GPUs."""
    from whisperlivekit.core.paragraph import LONGEST_S
    from whisperlivekit.engine.whisper import MAX_BATCH, EngineConfig

    session = session_config(settings)
    device = resolved_device(settings)
    gpus = (len(found_gpus(settings)) or len(settings.visible_gpu_list)) if device == "cuda" else 1
    return EngineConfig(
        model_dir=settings.model_path,
        device=device,
        device_index=worker % max(1, gpus),
        compute_type=resolved_compute_type(settings),
        threads=1 if device == "cpu" else threads_per_worker(settings),
        lanes=lanes_per_worker(settings),
        max_batch=MAX_BATCH[device],
        beams=settings.beams,
        language=settings.fixed_language,
        longest_s=max(LONGEST_S, session.max_window_s + session.memory_s),
        silero_dir=models.silero_folder(settings.model_dir),
    )


def session_config(settings: Settings) -> "SessionConfig":
    """The configuration of a session, as long as the client does not ask for something else."""
    from whisperlivekit.core.session import SessionConfig

    return SessionConfig(
        step_s=settings.min_chunk_size,
        frame_threshold=settings.frame_threshold,
        speech_threshold=settings.vad_threshold,
        min_silence_s=settings.min_silence,
        language=settings.fixed_language,
        prompt=settings.init_prompt,
    )


def file_config(settings: Settings) -> "FileConfig":
    """The configuration of a file, as long as the client does not ask for something else."""
    from whisperlivekit.core.file_session import FileConfig
    from whisperlivekit.engine.whisper import MAX_BATCH

    return FileConfig(
        speech_threshold=settings.vad_threshold,
        min_silence_s=settings.min_silence,
        language=settings.fixed_language,
        prompt=settings.init_prompt,
        # One paragraph is decoded and one is ready for each place in the batches of all lanes.
        at_once=2 * lanes_per_worker(settings) * MAX_BATCH[resolved_device(settings)],
    )
