"""``whisperlivekit check``: examines everything that a start depends on, and prints a remedy for each problem.

Long because each thing that can be wrong is one short check, and all of them run in one order.
"""

import ctypes
import os
import platform
import shlex
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from whisperlivekit.engine import cuda, models
from whisperlivekit.engine.ct2_format import UnknownFormat
from whisperlivekit.engine.whisper_folder import examine
from whisperlivekit.errors import ModelFileError, SettingsError, StartError
from whisperlivekit.observe.gpu import Gpu, NoGpu, read_gpus, visible_gpus
from whisperlivekit.server.launch import need_free_port
from whisperlivekit.settings.declarations import Settings
from whisperlivekit.settings.env_file import describe_source, load_settings
from whisperlivekit.settings.machine import (
    available_cores,
    need_device,
    resolved_compute_type,
    resolved_device,
    threads_per_worker,
    worker_count,
)

LIBRARIES = ("ctranslate2", "faster-whisper", "onnxruntime", "fastapi", "uvicorn", "gunicorn", "websockets")
MIN_CTRANSLATE2 = (4, 8, 1)
MIN_FREE_BYTES = 200 << 20
VRAM_BESIDE_MODEL_BYTES = 800 << 20
"""GPU memory of one worker beside its model: the CUDA context, the workspace of cuBLAS, the logits of an alignment.
An estimate, not a measurement."""
COPY_BYTES = 300 << 20
"""What the file that a worker loads from has beyond the model: at most twice the embeddings of the largest model."""
CERTIFICATE_DAYS = 14
INSTALL = "bash install.sh"
UVM = Path("/dev/nvidia-uvm")
WSL = Path("/dev/dxg")
"""The only device file of a GPU in Linux on Windows (WSL)."""
TYPES_BY_CAPABILITY = {
    "float16": (7, 0),
    "int8_float16": (7, 0),
    "bfloat16": (8, 0),
    "int8_bfloat16": (8, 0),
    "int8": (6, 1),
    "int8_float32": (6, 1),
    "float32": (5, 3),
}
"""The lowest compute capability at which CTranslate2 computes in this type. Source: its documentation. At a lower one
it silently takes another type, or fails. Its wheel does not run below 5.3."""
NO_INT8 = (6, 2)
"""The only compute capability above 6.1 without fast int8. Source: the same table."""
LOADED_FACTOR = {"int8": 0.6, "int8_float32": 0.6, "int8_float16": 0.6, "int8_bfloat16": 0.6, "float32": 2.0}
"""Rough memory of a loaded model in proportion to a file of 16-bit numbers. Other types: 1."""
FILE_FACTOR = {"int8": 0.6, "float32": 2.0}
"""Rough size of a file whose numbers have this type, in proportion to one of 16-bit numbers. Other types: 1."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    good: bool
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{'ok  ' if self.good else 'BAD '} {self.what}" + (f"\n       {self.remedy}" if self.remedy else "")


def run_checks(settings: Settings) -> Iterator[Finding]:
    """Every check except that of the settings, which ``load_settings`` has done."""
    yield _python()
    yield from _libraries()
    yield from _device(settings)
    yield from _model_files(settings)
    yield from _folders(settings)
    yield from _network(settings)
    yield _clock()


def report() -> int:
    """Print the findings. The result is 0 if all of them are good, otherwise 1."""
    try:
        settings = load_settings()
    except SettingsError as error:
        print(Finding(good=False, what=f"settings: {error.message}", remedy="correct them, then run this again"))
        return 1
    print(Finding(good=True, what=f"settings: {describe_source()}"))
    bad = 0
    for finding in run_checks(settings):
        print(finding)
        bad += not finding.good
    print(_count(bad, "problem") if bad else "no problems")
    return 1 if bad else 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


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
        yield Finding(good=False, what=f"not installed: {', '.join(missing)}", remedy=f"run: {INSTALL}")
    if "ctranslate2" not in missing:
        release = version("ctranslate2")
        if tuple(int(part) for part in release.split(".")[:3] if part.isdigit()) < MIN_CTRANSLATE2:
            wanted = ".".join(map(str, MIN_CTRANSLATE2))
            yield Finding(
                good=False,
                what=f"found ctranslate2 {release}, expected {wanted} or newer: older versions can crash a worker",
                remedy=f"run: {INSTALL}",
            )


def _device(settings: Settings) -> Iterator[Finding]:
    device = resolved_device(settings)
    gpus, _ = list_gpus()
    for gpu in gpus:
        yield Finding(good=True, what=f"GPU: {gpu}")
    if device == "cpu":
        workers, threads = worker_count(settings), threads_per_worker(settings)
        how = f"device: CPU, {resolved_compute_type(settings)}, {_count(workers, 'worker')}"
        yield Finding(good=True, what=f"{how} with {_count(threads, 'thread')}{' each' if workers > 1 else ''}")
        if gpus:
            yield Finding(good=True, what="the GPU is not used", remedy="to use it, set WHISPER_DEVICE=cuda")
        return
    workers = worker_count(settings)
    yield Finding(good=True, what=f"device: CUDA, {resolved_compute_type(settings)}, {_count(workers, 'worker')}")
    try:
        need_device(settings)
        visible = visible_gpus(settings.cuda_visible_devices)
    except StartError as error:
        what, _, remedy = error.message.rpartition(". ")
        yield Finding(good=False, what=f"no NVIDIA GPU can be used: {what}", remedy=remedy)
    except NoGpu as reason:
        yield Finding(good=True, what=f"there is a device file of a GPU, but NVML cannot read the GPU: {reason}")
    else:
        yield from _gpus(settings, visible)
    yield _driver()
    cublas = cuda.find_cublas()
    if cublas is None:
        yield Finding(
            good=False,
            what="libcublas.so.12 was not found: CTranslate2 needs cuBLAS of CUDA 12",
            remedy=f"run: {shlex.quote(sys.executable)} -m pip install nvidia-cublas-cu12 (install.sh does this if "
            "nvidia-smi lists a GPU)",
        )
    else:
        yield Finding(good=True, what=f"cuBLAS 12: {cublas}")


def _driver() -> Finding:
    """The driver's library for CUDA. A container may have NVML without it, and then nothing can be computed."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return Finding(
            good=False,
            what=f"the driver's CUDA library cannot be loaded: {error}",
            remedy="install NVIDIA's driver; for a container set NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        )
    return Finding(good=True, what="the driver's CUDA library: libcuda.so.1")


def _gpus(settings: Settings, visible: tuple[Gpu, ...]) -> Iterator[Finding]:
    """Whether the GPUs can compute in the chosen type and have the memory for their workers."""
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
            what=f"{UVM} is missing: CUDA cannot be initialised without it",
            remedy="run as root: nvidia-modprobe -u -c=0 (for a container: pass this device to it)",
        )
    path = models.folder(settings.model, settings.model_dir) / "model.bin"
    if not path.is_file():
        return
    size = path.stat().st_size
    # Other memory grows with the model too: the embeddings copied for second ids, and the cross-attention's keys and
    # values for a batch of 8 with its blank row. The size of the file is the estimate for both together.
    each = _loaded_bytes(path.parent, compute_type) + VRAM_BESIDE_MODEL_BYTES + size
    for place, gpu in enumerate(visible):
        workers = len(range(place, worker_count(settings), len(visible)))
        free = gpu.memory_total_bytes - gpu.memory_used_bytes
        good = workers * each < free
        yield Finding(
            good=good,
            what=f"GPU {gpu.index}: {_count(workers, 'worker')} will need about {workers * each / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB are free",
            remedy=""
            if good
            else "set fewer WLK_GUNICORN_WORKERS, WLK_COMPUTE_TYPE=int8_float16 or a smaller WLK_MODEL. Memory that a "
            "running server uses is not free: stop it before you check",
        )


def list_gpus() -> tuple[list[str], str]:
    """A description of each GPU, and the reason if there is none. Asks NVML; CUDA is not initialised."""
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
        model = models.model_in(path)
        if model and not model.source:
            known = "digests as published"
        elif model:
            known = f"added from {model.source}, digests as when it was added"
        else:
            known = "a folder that was not added, so its digests are unknown"
        yield Finding(good=True, what=f"model {settings.model}: {path}, {known}")
        if model is None or model.source:
            yield from _language(settings, path)
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


def _language(settings: Settings, path: Path) -> Iterator[Finding]:
    """Whether the model knows the language."""
    if settings.language != "en" and not examine(path).multilingual:
        yield Finding(
            good=False,
            what=f"the model {settings.model} knows English only, and WLK_LANGUAGE is {settings.language}",
            remedy="set WLK_LANGUAGE=en or another WLK_MODEL",
        )


def _loaded_bytes(path: Path, compute_type: str) -> int:
    """The memory of the model in this folder when it is loaded in this type. Rough."""
    try:
        stored = FILE_FACTOR.get(examine(path).type, 1.0)
    except (OSError, UnknownFormat):  # reported by the check of the model files
        stored = 1.0
    return int((path / "model.bin").stat().st_size * LOADED_FACTOR.get(compute_type, 1.0) / stored)


def _memory(settings: Settings, path: Path) -> Iterator[Finding]:
    """Whether the models of all workers fit into main memory."""
    if resolved_device(settings) != "cpu":
        return
    each = _loaded_bytes(path, resolved_compute_type(settings)) + (400 << 20)  # for libraries and audio
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    need = each * worker_count(settings)
    yield Finding(
        good=need < total,
        what=f"memory: {_count(worker_count(settings), 'worker')} will need about {need / 1e9:.1f} GB, "
        f"this machine has {total / 1e9:.1f} GB",
        remedy="" if need < total else "set fewer WLK_GUNICORN_WORKERS or a smaller WLK_MODEL",
    )


def _copies(settings: Settings, path: Path) -> Finding:
    """Disk space for the file that each worker writes while it loads its model (see engine/second_ids.py)."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    need = ((path / "model.bin").stat().st_size + COPY_BYTES) * worker_count(settings)
    return Finding(
        good=need < free,
        what=f"{folder}: starting workers need about {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free",
        remedy=""
        if need < free
        else "set TMPDIR to a folder with more space; a worker without its copy decodes slower",
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
                good=False,
                what=f"{variable}={folder} is not writable",
                remedy=f"check the owner and the mode of {existing}",
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
    for variable, port in settings.ports.items():
        try:
            need_free_port(settings.host, port, variable)
        except StartError as error:
            what, _, remedy = str(error).partition(": ")
            yield Finding(good=False, what=what, remedy=remedy)
        else:
            yield Finding(good=True, what=f"port {port} of {settings.host} is free")
    if settings.ssl_certfile:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile)
        except (OSError, ssl.SSLError) as error:
            what = f"the certificate or its key cannot be loaded: {error}"
            yield Finding(
                good=False, what=what, remedy="expected a certificate and its key in PEM format, without a passphrase"
            )
        else:
            yield _validity(settings.ssl_certfile)
    elif settings.host not in {"127.0.0.1", "localhost", "::1"}:
        yield Finding(
            good=True,
            what=f"WLK_HOST={settings.host} without a certificate: browsers elsewhere will not allow the microphone",
            remedy=f"set WLK_SSL_CERTFILE and WLK_SSL_KEYFILE ({INSTALL} certificate makes both), or use a proxy",
        )


def _validity(certificate: Path) -> Finding:
    """Whether the certificate is valid now and in CERTIFICATE_DAYS days. Browsers check the names."""
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
        return Finding(good=True, what=f"certificate: {certificate} (openssl is not installed, so its end is unknown)")
    until = next((line.partition("=")[2] for line in done.stdout.splitlines() if "notAfter" in line), "unknown")
    good = done.returncode == 0
    return Finding(
        good=good,
        what=f"certificate: {certificate}, valid until {until}",
        remedy="" if good else "renew it; a running server loads the new files by itself",
    )


def _clock() -> Finding:
    """A clock that is behind the program's newest file is wrong, and certificates will be rejected."""
    newest = max(path.stat().st_mtime for path in Path(__file__).parents[1].rglob("*.py"))
    now = time.time()
    if now + 86_400 < newest:
        shown = time.strftime("%Y-%m-%d", time.localtime(now))
        return Finding(
            good=False,
            what=f"the clock shows {shown}, which is before this program was installed",
            remedy="set the clock, for example by NTP: timedatectl set-ntp true",
        )
    return Finding(good=True, what=time.strftime("clock: %Y-%m-%d %H:%M:%S %z"))
