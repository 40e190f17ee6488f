"""The machine's NVIDIA GPUs, read with NVML: without initialising CUDA, so a process that forks later may do it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pynvml


@dataclass(frozen=True, slots=True)
class Gpu:
    """The state of one GPU. NVML's index counts all GPUs of the machine, regardless of CUDA_VISIBLE_DEVICES."""

    index: int
    uuid: str
    name: str
    driver: str
    memory_total_bytes: int
    memory_used_bytes: int
    utilization: float | None
    """Share of NVML's last sample period in which a kernel ran, 0 to 1; None: this GPU does not report it (MIG)."""
    temperature_celsius: int | None
    power_w: float | None
    capability: tuple[int, int] | None = None
    """CUDA's compute capability. It says which number formats the chip computes fast."""


class NoGpu(Exception):
    """No NVIDIA GPU can be read; the message says why."""


def read_gpus() -> tuple[Gpu, ...]:
    """Every NVIDIA GPU of the machine that answers. One that has fallen off the bus does not hide the others.

    Raises:
        NoGpu: no driver, no library, or no GPU.
    """
    gpus: list[Gpu] = []
    trouble: pynvml.NVMLError | None = None
    with _nvml():
        driver = pynvml.nvmlSystemGetDriverVersion()
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                gpus.append(_read(index, driver))
            except pynvml.NVMLError as error:
                trouble = error
        if trouble is not None and not gpus:
            raise trouble
    if not gpus:
        raise NoGpu("no NVIDIA GPU: the driver is loaded and finds none")
    return tuple(gpus)


def visible(gpus: tuple[Gpu, ...], cuda_visible_devices: str | None) -> tuple[Gpu, ...]:
    """The GPUs that CUDA shows to a process, in CUDA's order.

    Numbers follow the PCI order here, as in NVML. CUDA agrees if CUDA_DEVICE_ORDER=PCI_BUS_ID or if all GPUs are alike.
    Like CUDA, this stops at the first entry that names no GPU.
    """
    if cuda_visible_devices is None:
        return gpus
    chosen: list[Gpu] = []
    for entry in (part.strip() for part in cuda_visible_devices.split(",")):
        found = [gpu for gpu in gpus if entry and (gpu.uuid.startswith(entry) or str(gpu.index) == entry)]
        if len(found) != 1:
            break
        chosen += found
    return tuple(chosen)


def visible_gpus(cuda_visible_devices: str | None) -> tuple[Gpu, ...]:
    """The GPUs that CUDA shows to a process with this setting.

    Raises:
        NoGpu: there is no GPU, or the setting names none of them.
    """
    gpus = read_gpus()
    chosen = visible(gpus, cuda_visible_devices)
    if not chosen:
        raise NoGpu(
            f"CUDA_VISIBLE_DEVICES={cuda_visible_devices} names none of the GPUs of this machine: "
            + ", ".join(f"{gpu.index} ({gpu.uuid})" for gpu in gpus)
        )
    return chosen


def describe() -> str:
    """One line for the log: the GPUs, or why there are none."""
    try:
        gpus = read_gpus()
    except NoGpu as reason:
        return str(reason)
    return "; ".join(
        f"GPU {gpu.index}: {gpu.name}, {gpu.memory_total_bytes / 2**30:.0f} GiB "
        f"({gpu.memory_used_bytes / 2**30:.1f} in use), driver {gpu.driver}"
        for gpu in gpus
    )


@contextmanager
def _nvml() -> Iterator[None]:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        raise NoGpu("no NVIDIA GPU: NVML, a part of NVIDIA's driver, is not installed") from None
    except pynvml.NVMLError as error:
        raise NoGpu(f"no NVIDIA GPU: NVML says {error}") from None
    try:
        yield
    except pynvml.NVMLError as error:
        raise NoGpu(f"the NVIDIA GPU cannot be read: NVML says {error}") from None
    finally:
        pynvml.nvmlShutdown()


def _read(index: int, driver: str) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    utilization = _optional(pynvml.nvmlDeviceGetUtilizationRates, handle)
    temperature = _optional(pynvml.nvmlDeviceGetTemperatureV, handle, pynvml.NVML_TEMPERATURE_GPU)
    if temperature is None:  # older drivers, 550 among them, have the older call only
        temperature = _optional(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU)
    capability = _optional(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
    power_mw = _optional(pynvml.nvmlDeviceGetPowerUsage, handle)
    return Gpu(
        index=index,
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        name=pynvml.nvmlDeviceGetName(handle),
        driver=driver,
        memory_total_bytes=memory.total,
        memory_used_bytes=memory.used,
        utilization=None if utilization is None else utilization.gpu / 100,  # type: ignore[attr-defined]
        temperature_celsius=temperature,  # type: ignore[arg-type]
        power_w=None if power_mw is None else power_mw / 1000,  # type: ignore[operator]
        capability=None if capability is None else (int(capability[0]), int(capability[1])),  # type: ignore[index]
    )


def _optional(ask: object, *arguments: object) -> object:
    """A property that not every GPU reports; None if this one does not."""
    try:
        return ask(*arguments)  # type: ignore[operator]
    except pynvml.NVMLError:
        return None
