"""``whisperlivekit check``: looks at everything a start depends on, and says what it found and what helps."""

import ctypes
import os
import platform
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from whisperlivekit.engine import cuda, models
from whisperlivekit.errors import ModelFileError, StartError
from whisperlivekit.observe.gpu import Gpu, NoGpu, read_gpus, visible_gpus
from whisperlivekit.server.launch import need_free_port
from whisperlivekit.settings.declarations import Settings
from whisperlivekit.settings.machine import (
    available_cores,
    need_device,
    resolved_compute_type,
    resolved_device,
    threads_per_worker,
)

LIBRARIES = ("ctranslate2", "faster-whisper", "onnxruntime", "fastapi", "uvicorn", "gunicorn", "websockets")
MIN_CTRANSLATE2 = (4, 8, 1)
MIN_FREE_BYTES = 200 << 20
VRAM_BESIDE_MODEL_BYTES = 800 << 20
"""Of one worker on a GPU, whatever its model: CUDA's context, cuBLAS' workspace, the logits of an alignment.
Estimated: no GPU was at hand."""
COPY_BYTES = 300 << 20
"""What the copy that a worker loads from has beyond the model: at most twice the embeddings of the largest."""
CERTIFICATE_DAYS = 14
UVM = Path("/dev/nvidia-uvm")
WSL = Path("/dev/dxg")
"""Windows' way to show a GPU to Linux, which has no other device files."""
TYPES_BY_CAPABILITY = {
    "float16": (7, 0),
    "int8_float16": (7, 0),
    "bfloat16": (8, 0),
    "int8_bfloat16": (8, 0),
    "int8": (6, 1),
    "int8_float32": (6, 1),
    "float32": (5, 3),
}
"""The compute capability from which CTranslate2 computes in this type. Source: its documentation; on less it silently
takes another one, or fails. Nothing of its wheel runs below 5.3."""
NO_INT8 = (6, 2)
"""Alone above 6.1 this one has no fast int8. Source: the same table."""
LOADED_FACTOR = {"int8": 0.6, "int8_float32": 0.6, "int8_float16": 0.6, "int8_bfloat16": 0.6, "float32": 2.0}
"""Rough memory of a loaded model beside its file, which holds 16-bit numbers."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    good: bool
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{'ok  ' if self.good else 'BAD '} {self.what}" + (f"\n       {self.remedy}" if self.remedy else "")


def run_checks(settings: Settings) -> Iterator[Finding]:
    """Everything but the settings themselves, which were good or there would be none."""
    yield _python()
    yield from _libraries()
    yield from _device(settings)
    yield from _model_files(settings)
    yield from _folders(settings)
    yield from _network(settings)
    yield _clock()


def report(settings: Settings) -> int:
    """Prints the findings. The result is 0 if all of them are good, else 1."""
    bad = 0
    for finding in run_checks(settings):
        print(finding)
        bad += not finding.good
    print("everything is in order" if not bad else f"{bad} problem{'s' if bad > 1 else ''}")
    return 1 if bad else 0


def _python() -> Finding:
    return Finding(good=True, what=f"Python {platform.python_version()}, {available_cores()} CPU cores")


def _libraries() -> Iterator[Finding]:
    found, missing = [], []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if found:
        yield Finding(good=True, what="libraries: " + ", ".join(found))
    if missing:
        yield Finding(good=False, what=f"not installed: {', '.join(missing)}", remedy="run: bash install.sh")
    if "ctranslate2" not in missing:
        release = version("ctranslate2")
        if tuple(int(part) for part in release.split(".")[:3] if part.isdigit()) < MIN_CTRANSLATE2:
            wanted = ".".join(map(str, MIN_CTRANSLATE2))
            yield Finding(
                good=False,
                what=f"ctranslate2 {release}, expected {wanted} or newer: older ones can end the whole process",
                remedy="run: bash install.sh",
            )


def _device(settings: Settings) -> Iterator[Finding]:
    device = resolved_device(settings)
    gpus, _ = list_gpus()
    for gpu in gpus:
        yield Finding(good=True, what=f"GPU: {gpu}")
    if device == "cpu":
        how = f"device: CPU, {resolved_compute_type(settings)}, {settings.gunicorn_workers} worker(s)"
        yield Finding(good=True, what=f"{how} with {threads_per_worker(settings)} thread(s) each")
        if gpus:
            yield Finding(
                good=True, what="a GPU is there and will not be used", remedy="to use it: WHISPER_DEVICE=cuda"
            )
        return
    yield Finding(good=True, what=f"device: CUDA, {resolved_compute_type(settings)}")
    try:
        need_device(settings)
        visible = visible_gpus(settings.cuda_visible_devices)
    except StartError as error:
        what, _, remedy = error.message.rpartition(". ")
        yield Finding(good=False, what=f"no NVIDIA GPU can be used: {what}", remedy=remedy)
    except NoGpu as reason:
        yield Finding(good=True, what=f"a GPU's device file is there, but it cannot be read: {reason}")
    else:
        yield from _gpus(settings, visible)
    yield _driver()
    cublas = cuda.find_cublas()
    if cublas is None:
        yield Finding(
            good=False,
            what="libcublas.so.12 was not found: CTranslate2 needs cuBLAS of CUDA 12",
            remedy="run: venv/bin/pip install nvidia-cublas-cu12 (install.sh does it where nvidia-smi lists a GPU)",
        )
    else:
        yield Finding(good=True, what=f"cuBLAS 12: {cublas}")


def _driver() -> Finding:
    """The library that CUDA itself is: NVML alone, as a container may have it, computes nothing."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return Finding(
            good=False,
            what=f"CUDA's driver library does not load: {error}",
            remedy="install NVIDIA's driver; in a container: NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        )
    return Finding(good=True, what="CUDA's driver library: libcuda.so.1")


def _gpus(settings: Settings, visible: tuple[Gpu, ...]) -> Iterator[Finding]:
    """What the workers need of the GPUs they are dealt out over."""
    compute_type = resolved_compute_type(settings)
    for gpu in visible:
        needed = TYPES_BY_CAPABILITY.get(compute_type, (0, 0))
        if gpu.capability is not None:
            capability = ".".join(map(str, gpu.capability))
            good = gpu.capability >= needed and not (gpu.capability == NO_INT8 and "int8" in compute_type)
            what = f"GPU {gpu.index} has compute capability {capability}, {compute_type} needs {needed[0]}.{needed[1]}"
            what += " and not 6.2" if needed == (6, 1) else ""
            remedy = "" if good else "set WLK_COMPUTE_TYPE=auto"
            yield Finding(good=good, what=what, remedy=remedy)
    if not UVM.exists() and not WSL.exists():
        yield Finding(
            good=False,
            what=f"{UVM} is missing: CUDA does not start without it",
            remedy="run as root: nvidia-modprobe -u -c=0 (in a container: give it this device too)",
        )
    path = models.folder(settings.model, settings.model_dir) / "model.bin"
    if not path.is_file():
        return
    factor = LOADED_FACTOR.get(compute_type, 1.0)
    size = path.stat().st_size
    # What grows with the model is taken for as much again as its file: embeddings copied for second ids, and the
    # cross-attention's keys and values of a batch of 8 with its blank row.
    each = int(size * factor) + VRAM_BESIDE_MODEL_BYTES + size
    for place, gpu in enumerate(visible):
        workers = len(range(place, settings.gunicorn_workers, len(visible)))
        free = gpu.memory_total_bytes - gpu.memory_used_bytes
        good = workers * each < free
        yield Finding(
            good=good,
            what=f"GPU {gpu.index}: about {workers * each / 1e9:.1f} GB for {workers} worker(s), "
            f"{free / 1e9:.1f} GB free",
            remedy=""
            if good
            else "set WLK_GUNICORN_WORKERS lower, WLK_COMPUTE_TYPE=int8_float16 or WLK_MODEL smaller "
            "(and run this while the server is stopped: what it holds counts as used)",
        )


def list_gpus() -> tuple[list[str], str]:
    """Each GPU in words, by NVML, which leaves CUDA untouched; or none and why."""
    try:
        gpus = read_gpus()
    except NoGpu as reason:
        return [], str(reason)
    return [
        f"{gpu.index}: {gpu.name}, {(gpu.memory_total_bytes - gpu.memory_used_bytes) / 2**30:.1f} of "
        f"{gpu.memory_total_bytes / 2**30:.1f} GiB free, driver {gpu.driver}"
        for gpu in gpus
    ], ""


def _model_files(settings: Settings) -> Iterator[Finding]:
    try:
        path = models.find(settings.model, settings.model_dir)
    except ModelFileError as error:
        what, _, remedy = str(error).rpartition("; ")
        yield Finding(good=False, what=what, remedy=remedy)
    else:
        known = "digests as published" if "/" not in settings.model else "a model of your own: nobody knows its digests"
        yield Finding(good=True, what=f"model {settings.model}: {path}, {known}")
        yield from _memory(settings, path)
        yield _copies(settings, path)
    try:
        place = models.find_silero(settings.model_dir)
    except ModelFileError as error:
        what, _, remedy = str(error).rpartition("; ")
        yield Finding(good=False, what=what, remedy=remedy)
    else:
        yield Finding(
            good=True, what=f"speech detector: silero-vad {models.SILERO.revision} in {place}, digest as published"
        )


def _memory(settings: Settings, path: Path) -> Iterator[Finding]:
    """Whether the models of all workers can fit into the main memory."""
    if resolved_device(settings) != "cpu":
        return
    factor = LOADED_FACTOR.get(resolved_compute_type(settings), 1.0)
    each = int((path / "model.bin").stat().st_size * factor) + (400 << 20)  # and about 0.4 GB for libraries and audio
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    need = each * settings.gunicorn_workers
    yield Finding(
        good=need < total,
        what=f"memory: about {need / 1e9:.1f} GB for {settings.gunicorn_workers} worker(s), {total / 1e9:.1f} GB there",
        remedy="" if need < total else "set WLK_GUNICORN_WORKERS lower or WLK_MODEL smaller",
    )


def _copies(settings: Settings, path: Path) -> Finding:
    """Room for what each worker writes while it loads (see engine/second_ids.py)."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    need = ((path / "model.bin").stat().st_size + COPY_BYTES) * settings.gunicorn_workers
    return Finding(
        good=need < free,
        what=f"{folder}: about {need / 1e9:.1f} GB for copies of the model at the start, {free / 1e9:.1f} GB free",
        remedy="" if need < free else "set TMPDIR to a folder with more room; without its copy a worker decodes slower",
    )


def _folders(settings: Settings) -> Iterator[Finding]:
    named = {
        "WLK_MODEL_DIR": settings.model_dir,
        "WLK_CACHE_DIR": settings.cache_dir,
        "WLK_LOG_DIR": settings.log_dir,
    }
    for variable, folder in named.items():
        existing = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())
        if not os.access(existing, os.W_OK):
            yield Finding(
                good=False, what=f"{variable}={folder} cannot be written to", remedy=f"check who owns {existing}"
            )
            continue
        free = shutil.disk_usage(existing).free
        if free < MIN_FREE_BYTES:
            yield Finding(
                good=False, what=f"{variable}={folder}: only {free / 1e6:.0f} MB free", remedy="free some space"
            )
        else:
            yield Finding(good=True, what=f"{variable}={folder}: writable, {free / 1e9:.0f} GB free")


def _network(settings: Settings) -> Iterator[Finding]:
    try:
        need_free_port(settings.host, settings.port)
    except StartError as error:
        what, _, remedy = str(error).partition(": ")
        yield Finding(good=False, what=what, remedy=remedy)
    else:
        yield Finding(good=True, what=f"port {settings.port} of {settings.host} is free")
    if settings.ssl_certfile:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile)
        except (OSError, ssl.SSLError) as error:
            what = f"certificate and key do not load: {error}"
            yield Finding(good=False, what=what, remedy="expected PEM files that belong together, without a passphrase")
        else:
            yield _validity(settings.ssl_certfile)
    elif settings.host not in {"127.0.0.1", "localhost", "::1"}:
        yield Finding(
            good=True,
            what=f"{settings.host} without a certificate: pages on other machines get no microphone",
            remedy="set WLK_SSL_CERTFILE and WLK_SSL_KEYFILE, or put a proxy with https in front",
        )


def _validity(certificate: Path) -> Finding:
    """Whether the certificate has begun and has not nearly ended; names are the browser's to check."""
    done = (
        subprocess.run(
            [
                "openssl",
                "x509",
                "-noout",
                "-checkend",
                str(CERTIFICATE_DAYS * 86_400),
                "-enddate",
                "-in",
                str(certificate),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if shutil.which("openssl")
        else None
    )
    if done is None:
        return Finding(good=True, what=f"certificate: {certificate} (openssl is not here to tell how long it lasts)")
    until = next((line.partition("=")[2] for line in done.stdout.splitlines() if "notAfter" in line), "unknown")
    good = done.returncode == 0
    return Finding(
        good=good,
        what=f"certificate: {certificate}, until {until}",
        remedy="" if good else "renew it; a running server takes the new files by itself",
    )


def _clock() -> Finding:
    """A clock far behind the newest file of the program was never set: certificates will not be believed."""
    newest = max(path.stat().st_mtime for path in Path(__file__).parents[1].rglob("*.py"))
    now = time.time()
    if now + 86_400 < newest:
        shown = time.strftime("%Y-%m-%d", time.localtime(now))
        return Finding(
            good=False,
            what=f"the clock says {shown}, which is before this program was installed",
            remedy="set it, best by NTP: timedatectl set-ntp true",
        )
    return Finding(good=True, what=time.strftime("clock: %Y-%m-%d %H:%M:%S %z"))
