"""What ``auto`` and 0 mean on this machine, which depends on its GPUs and CPU cores."""

import os
from pathlib import Path
from typing import Literal

from whisperlivekit.errors import StartError
from whisperlivekit.observe.gpu import Gpu, NoGpu, visible_gpus
from whisperlivekit.settings.declarations import Settings

DEVICE_FILES = Path("/dev")

WORKERS_ON_GPU = 4
WORKERS_ON_CPU = 1


def resolved_device(settings: Settings) -> Literal["cuda", "cpu"]:
    """The device of the model. Asks NVML only: CUDA is not initialised, so the master process may call this."""
    if settings.device != "auto":
        return settings.device
    if settings.faster_whisper_cuda is not None:
        return "cuda" if settings.faster_whisper_cuda else "cpu"
    if settings.hides_every_gpu:
        return "cpu"
    return "cuda" if found_gpus(settings) else "cpu"


def need_device(settings: Settings) -> None:
    """Make sure that there is a GPU if the settings ask for one.

    The server never falls back to the CPU, because nobody would notice a GPU that is not used.

    Raises:
        StartError: there is no GPU; the message has the reason and a remedy.
    """
    if resolved_device(settings) == "cpu":
        return
    try:
        visible_gpus(settings.cuda_visible_devices)
    except NoGpu as reason:
        # A container may have CUDA without NVML, and NVML does not list the slices of a GPU (MIG) as GPUs.
        if DEVICE_FILES.is_dir() and any(DEVICE_FILES.glob("nvidia[0-9]*")):
            return
        raise StartError(
            f"WHISPER_DEVICE={settings.device} asks for an NVIDIA GPU: {reason}. Install the driver (nvidia-smi must "
            "list the GPU), or set WHISPER_DEVICE=cpu"
        ) from None


def found_gpus(settings: Settings) -> tuple[Gpu, ...]:
    """The GPUs that NVML lists and CUDA_VISIBLE_DEVICES does not hide."""
    try:
        return visible_gpus(settings.cuda_visible_devices)
    except NoGpu:
        return ()


def resolved_compute_type(settings: Settings) -> str:
    """The number format of the model. ``auto`` depends on the device and, on a GPU, on its compute capability."""
    if settings.compute_type != "auto":
        return settings.compute_type
    if resolved_device(settings) == "cpu":
        return "int8"
    # Source: CTranslate2's table of types. Pascal (6.1) computes int8 fast and float16 slowly. The lowest capability of
    # all GPUs decides, because all workers have the same setting.
    capability = min((gpu.capability for gpu in found_gpus(settings) if gpu.capability), default=(7, 0))
    if capability >= (7, 0):
        return "float16"
    return "int8_float32" if capability == (6, 1) else "float32"


def worker_count(settings: Settings) -> int:
    """The number of worker processes."""
    if settings.gunicorn_workers != "auto":
        return settings.gunicorn_workers
    return WORKERS_ON_GPU if resolved_device(settings) == "cuda" else WORKERS_ON_CPU


def threads_per_worker(settings: Settings) -> int:
    """The number of CPU threads of one worker's model."""
    return settings.cpu_threads or max(1, available_cores() // worker_count(settings))


def lanes_per_worker(settings: Settings) -> int:
    """Decodes at the same time: one for each thread on a CPU; one on a GPU, because a batch fills it."""
    return threads_per_worker(settings) if resolved_device(settings) == "cpu" else 1


def available_cores() -> int:
    """The CPU cores that this process may use, by its affinity and by the quota of its container."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))
