"""What ``auto`` and 0 mean on this machine: its GPUs and its CPU cores."""

import os
from pathlib import Path
from typing import Literal

from whisperlivekit.errors import StartError
from whisperlivekit.observe.gpu import Gpu, NoGpu, visible_gpus
from whisperlivekit.settings.declarations import Settings

DEVICE_FILES = Path("/dev")


def resolved_device(settings: Settings) -> Literal["cuda", "cpu"]:
    """``auto`` settled. Asks NVML only: CUDA stays untouched, so the master process may call this."""
    if settings.device != "auto":
        return settings.device
    if settings.faster_whisper_cuda is not None:
        return "cuda" if settings.faster_whisper_cuda else "cpu"
    if settings.hides_every_gpu:
        return "cpu"
    return "cuda" if found_gpus(settings) else "cpu"


def need_device(settings: Settings) -> None:
    """Make sure that a GPU is there if one is asked for. Never falls back: a GPU silently unused is the worst case.

    Raises:
        StartError: there is none; the message says why and what helps.
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
    """The visible ones, by NVML."""
    try:
        return visible_gpus(settings.cuda_visible_devices)
    except NoGpu:
        return ()


def resolved_compute_type(settings: Settings) -> str:
    """``auto`` settled by the device and, on a GPU, by its compute capability."""
    if settings.compute_type != "auto":
        return settings.compute_type
    if resolved_device(settings) == "cpu":
        return "int8"
    # Source: CTranslate2's table of types. Pascal has fast int8 (6.1) and no fast float16. The least of several
    # GPUs decides, because all workers share one setting.
    capability = min((gpu.capability for gpu in found_gpus(settings) if gpu.capability), default=(7, 0))
    if capability >= (7, 0):
        return "float16"
    return "int8_float32" if capability == (6, 1) else "float32"


def threads_per_worker(settings: Settings) -> int:
    return settings.cpu_threads or max(1, available_cores() // settings.gunicorn_workers)


def lanes_per_worker(settings: Settings) -> int:
    """Decodes at once: on a CPU one for each thread, on a GPU one, because a batch fills it."""
    return threads_per_worker(settings) if resolved_device(settings) == "cpu" else 1


def available_cores() -> int:
    """CPU cores this process may use: its affinity, and the quota of its container."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))
