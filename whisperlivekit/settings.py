"""The one description of every setting: the only reader of ``.env``, and the maker of the small configs below it.

``python -m whisperlivekit.settings > .env.example`` writes the example file; a test holds the two together.

One module although it is long: a setting, what it must be, and the complaint when it is not, are read together.
"""

import io
import logging
import os
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from dotenv.parser import parse_stream
from pydantic import AliasGenerator, Field, JsonValue, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from whisperlivekit.engine import models
from whisperlivekit.errors import SettingsError, StartError
from whisperlivekit.observe.gpu import Gpu, NoGpu, visible_gpus
from whisperlivekit.wire.languages import AUTO, LANGUAGES

if TYPE_CHECKING:
    from whisperlivekit.core.session import SessionConfig
    from whisperlivekit.engine.whisper import EngineConfig

PREFIX = "WLK_"

DEVICE_FILES = Path("/dev")

_CUDA_ONLY_TYPES = {"float16", "bfloat16", "int8_float16", "int8_bfloat16"}
_WATCHED_IN_FILE = ("WLK_", "WHISPER_", "FASTER_WHISPER_")
"""Names with these beginnings are ours: one that is not known is a mistake. Other names in the file are left alone."""

_REFUSED = {
    "diarization": "false: telling speakers apart is not in this version",
    "enable_adaptive_buffering": "false: adaptive buffering was taken out for stability",
}


def _setting(default: Any, section: str, description: str, *, allowed: str = "", **constraints: Any) -> Any:
    """A field with its place in ``.env.example`` and, where the type does not say it, what is allowed."""
    extra: dict[str, JsonValue] = {"section": section, "allowed": allowed}
    return Field(default, description=description, json_schema_extra=extra, **constraints)


class Settings(BaseSettings):
    """Everything that can be set. An attribute is the variable's name in lower case without ``WLK_``."""

    model_config = SettingsConfigDict(
        alias_generator=AliasGenerator(validation_alias=lambda name: PREFIX + name.upper()),
        env_file_encoding="utf-8-sig",
        case_sensitive=True,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    secret: ClassVar[frozenset[str]] = frozenset({"api_keys"})
    """Never printed, not even in an error."""

    device: Literal["cuda", "cpu", "auto"] = _setting(
        "auto",
        "Device",
        "Where the model runs. auto: on the NVIDIA GPU if there is one. cuda fails loudly where there is none.",
        validation_alias="WHISPER_DEVICE",
    )
    faster_whisper_cuda: bool | None = _setting(
        None,
        "Device",
        "An older way to say WHISPER_DEVICE; may be left out, must not contradict it.",
        validation_alias="FASTER_WHISPER_CUDA",
    )
    cuda_visible_devices: str | None = _setting(
        None,
        "Device",
        "Which GPUs to use, as CUDA reads it: 0, or 0,1. Workers are dealt out over them. Empty: no GPU at all.",
        allowed="GPU numbers or UUIDs separated by commas, for example 0,1",
        pattern=r"^\s*(-1|((\d+|GPU-[0-9a-fA-F-]+|MIG-[0-9a-zA-Z/-]+)(\s*,\s*(\d+|GPU-[0-9a-fA-F-]+|MIG-[0-9a-zA-Z/-]+))*))?\s*$",
        validation_alias="CUDA_VISIBLE_DEVICES",
    )
    compute_type: Literal[
        "auto", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "float16", "bfloat16", "float32"
    ] = _setting(
        "auto",
        "Device",
        "Number format of the model. auto: int8 on a CPU, float16 on a GPU that has it.",
    )
    cpu_threads: int = _setting(
        0, "Device", "CPU threads of one worker's model. 0: the cores divided by the workers.", ge=0, le=256
    )

    host: str = _setting(
        "127.0.0.1",
        "Network",
        "Address to listen on. 127.0.0.1 is reached from this machine only (or through a proxy on it). For other "
        "machines say 0.0.0.0, with a certificate, because browsers give the microphone to https pages only, and "
        "with WLK_API_KEYS.",
        min_length=1,
    )
    port: int = _setting(8000, "Network", "TCP port to listen on.", ge=1, le=65535)
    ssl_certfile: Path | None = _setting(None, "Network", "PEM certificate for https; needs the key too.")
    ssl_keyfile: Path | None = _setting(None, "Network", "PEM private key for https; needs the certificate too.")
    api_keys: str = _setting(
        "",
        "Network",
        "Keys of which a client must present one, separated by commas. Empty: no key is asked for.",
        allowed="keys of at least 16 characters without spaces, separated by commas",
    )
    allowed_origins: str = _setting(
        "",
        "Network",
        "Origins of other pages that may connect from a browser, separated by commas. Empty: only the server's own "
        "page. *: any.",
        allowed="origins such as https://example.org, separated by commas, or *",
    )

    model: str = _setting(
        "small",
        "Recognition",
        f"Whisper model: {', '.join(models.NAMES)}, or a path to a folder with a model converted for CTranslate2.",
        allowed=f"one of {', '.join(models.NAMES)}; or a path with a slash in it",
        min_length=1,
    )
    backend: Literal["faster-whisper"] = _setting("faster-whisper", "Recognition", "The only one there is.")
    language: str = _setting(
        "ru",
        "Recognition",
        "Language of the speech, if the client names none. auto: detect it.",
        allowed="a language code of Whisper such as ru, or auto",
    )
    init_prompt: str = _setting(
        "",
        "Recognition",
        "Text that shows the model names and style, if the client sends none.",
        max_length=1000,
        allowed="text of at most 1000 characters",
    )
    frame_threshold: int = _setting(
        25,
        "Recognition",
        "How far, in frames of 20 ms, a word must end before the end of the audio to be committed. Less is faster, "
        "more is surer.",
        ge=1,
        le=200,
    )
    beams: int = _setting(
        3,
        "Recognition",
        "Width of the search in the last decode of an utterance; while somebody speaks it is 2 at most. 1 is fastest.",
        ge=1,
        le=10,
    )
    min_chunk_size: float = _setting(
        0.6, "Recognition", "Seconds of new audio between two decodes of one stream.", ge=0.1, le=5.0
    )
    vad_threshold: float = _setting(
        0.5, "Recognition", "Probability of speech above which speech begins.", gt=0.0, lt=1.0
    )
    min_silence: float = _setting(0.5, "Recognition", "Seconds of silence that end an utterance.", ge=0.1, le=5.0)
    diarization: bool = _setting(
        False, "Recognition", "Telling speakers apart: not in this version.", allowed="false only"
    )
    enable_adaptive_buffering: bool = _setting(False, "Recognition", "Taken out for stability.", allowed="false only")

    max_sessions: int = _setting(
        0, "Limits", "Streams one worker takes at once. 0: as many as it can hold in real time, measured.", ge=0
    )
    max_sessions_per_address: int = _setting(
        0, "Limits", "Streams of one client address that one worker takes at once. 0: no limit.", ge=0
    )
    idle_timeout: float = _setting(
        300, "Limits", "Seconds without audio after which a stream is closed.", ge=5, le=86400
    )
    max_session_hours: float = _setting(12, "Limits", "Longest stream, in hours.", gt=0, le=168)

    gunicorn_workers: int = _setting(
        4, "Processes", "Worker processes, each with its own model. 1 is right for a CPU.", ge=1, le=64
    )
    gunicorn_timeout: int = _setting(
        120, "Processes", "Seconds after which a worker that gives no sign of life is killed.", ge=10, le=3600
    )
    gunicorn_graceful_timeout: int = _setting(
        30, "Processes", "Seconds a stopping worker has to finish its streams.", ge=1, le=3600
    )
    gunicorn_max_requests: int = _setting(
        500,
        "Processes",
        "Streams and files after which a worker is replaced, once nobody is on it, with some jitter. 0: never.",
        ge=0,
    )
    gunicorn_preload: bool = _setting(
        True, "Processes", "Import the program once, before the workers fork. The model is loaded after, by each."
    )

    model_dir: Path = _setting(Path("models"), "Folders and logs", "Model files: whisper/NAME, silero_vad.")
    cache_dir: Path = _setting(
        Path("models/cache"), "Folders and logs", "Unfinished downloads and what libraries keep."
    )
    log_dir: Path = _setting(Path("logs"), "Folders and logs", "Log files.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = _setting(
        "INFO", "Folders and logs", "Transcribed text appears in the log at DEBUG only."
    )
    log_format: Literal["text", "json"] = _setting(
        "text", "Folders and logs", "text is for people, json (one object a line) for log collectors."
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, data: Any) -> Any:
        """``WLK_PORT=`` means the default. For CUDA an empty CUDA_VISIBLE_DEVICES hides every GPU: that one is kept."""
        if not isinstance(data, dict):
            return data
        keep = {"CUDA_VISIBLE_DEVICES", "cuda_visible_devices"}
        return {name: value for name, value in data.items() if value != "" or name in keep}

    @field_validator("log_level", mode="before")
    @classmethod
    def _any_case(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("diarization", "enable_adaptive_buffering")
    @classmethod
    def _refused(cls, value: bool, info: Any) -> bool:
        if value:
            raise ValueError(_REFUSED[info.field_name])
        return value

    @field_validator("model")
    @classmethod
    def _known_model(cls, value: str) -> str:
        if value not in models.NAMES and "/" not in value:
            raise ValueError(_allowed(cls.model_fields["model"]) + _hint(value, models.NAMES))
        return value

    @field_validator("language")
    @classmethod
    def _known_language(cls, value: str) -> str:
        if value not in LANGUAGES and value != AUTO:
            close = nearest(value, LANGUAGES.values())
            codes = {name: code for code, name in LANGUAGES.items()}
            hint = f"; did you mean {codes[close]}?" if close else ""
            raise ValueError(_allowed(cls.model_fields["language"]) + hint)
        return value

    @field_validator("ssl_certfile", "ssl_keyfile")
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        if value is not None and not os.access(value, os.R_OK):
            raise ValueError("the path of a file that this user can read")
        return value

    @field_validator("api_keys")
    @classmethod
    def _keys(cls, value: str) -> str:
        if any(len(key) < 16 or re.search(r"\s", key) for key in _split(value)):
            raise ValueError(_allowed(cls.model_fields["api_keys"]))
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        if not all(origin == "*" or re.fullmatch(r"https?://[^/\s]+", origin) for origin in _split(value)):
            raise ValueError(_allowed(cls.model_fields["allowed_origins"]))
        return value

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        problems = []
        if self.faster_whisper_cuda is True and self.device == "cpu":
            problems.append("FASTER_WHISPER_CUDA=true contradicts WHISPER_DEVICE=cpu: remove one of the two lines")
        if self.faster_whisper_cuda is False and self.device == "cuda":
            problems.append("FASTER_WHISPER_CUDA=false contradicts WHISPER_DEVICE=cuda: remove one of the two lines")
        if _hides_every_gpu(self.cuda_visible_devices) and self.device == "cuda":
            problems.append("CUDA_VISIBLE_DEVICES hides every GPU, which contradicts WHISPER_DEVICE=cuda")
        if self.ssl_certfile is None and self.ssl_keyfile is not None:
            problems.append("WLK_SSL_KEYFILE is set without WLK_SSL_CERTFILE: https needs both")
        if self.ssl_certfile is not None and self.ssl_keyfile is None:
            problems.append("WLK_SSL_CERTFILE is set without WLK_SSL_KEYFILE: https needs both")
        if self.device == "cpu" and self.compute_type in _CUDA_ONLY_TYPES:
            problems.append(
                f"WLK_COMPUTE_TYPE={self.compute_type} needs a GPU, which contradicts WHISPER_DEVICE=cpu: "
                "use auto, int8, int8_float32 or float32"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def api_key_list(self) -> tuple[str, ...]:
        return _split(self.api_keys)

    @property
    def allowed_origin_list(self) -> tuple[str, ...]:
        return _split(self.allowed_origins)

    @property
    def model_path(self) -> Path:
        """The folder of the model's files, whether or not they are there."""
        return models.folder(self.model, self.model_dir)

    def resolved_device(self) -> Literal["cuda", "cpu"]:
        """``auto`` settled. Asks NVML only: CUDA stays untouched, so the master process may call this."""
        if self.device != "auto":
            return self.device
        if self.faster_whisper_cuda is not None:
            return "cuda" if self.faster_whisper_cuda else "cpu"
        if _hides_every_gpu(self.cuda_visible_devices):
            return "cpu"
        return "cuda" if self._gpus() else "cpu"

    def need_device(self) -> None:
        """Make sure that a GPU is there if one is asked for. Never falls back: a GPU silently unused is the worst case.

        Raises:
            StartError: there is none; the message says why and what helps.
        """
        if self.resolved_device() == "cpu":
            return
        try:
            visible_gpus(self.cuda_visible_devices)
        except NoGpu as reason:
            # A container may have CUDA without NVML, and NVML does not list the slices of a GPU (MIG) as GPUs.
            if DEVICE_FILES.is_dir() and any(DEVICE_FILES.glob("nvidia[0-9]*")):
                return
            raise StartError(
                f"WHISPER_DEVICE={self.device} asks for an NVIDIA GPU: {reason}. Install the driver (nvidia-smi must "
                "list the GPU), or set WHISPER_DEVICE=cpu"
            ) from None

    def _gpus(self) -> tuple[Gpu, ...]:
        """The visible ones, by NVML."""
        try:
            return visible_gpus(self.cuda_visible_devices)
        except NoGpu:
            return ()

    def resolved_compute_type(self) -> str:
        """``auto`` settled by the device and, on a GPU, by its compute capability."""
        if self.compute_type != "auto":
            return self.compute_type
        if self.resolved_device() == "cpu":
            return "int8"
        # Source: CTranslate2's table of types. Pascal has fast int8 (6.1) and no fast float16. The least of several
        # GPUs decides, because all workers share one setting.
        capability = min((gpu.capability for gpu in self._gpus() if gpu.capability), default=(7, 0))
        if capability >= (7, 0):
            return "float16"
        return "int8_float32" if capability == (6, 1) else "float32"

    def threads_per_worker(self) -> int:
        return self.cpu_threads or max(1, available_cores() // self.gunicorn_workers)

    def lanes_per_worker(self) -> int:
        """Decodes at once: on a CPU one for each thread, on a GPU one, because a batch fills it."""
        return self.threads_per_worker() if self.resolved_device() == "cpu" else 1

    @property
    def _language(self) -> str | None:
        return None if self.language == AUTO else self.language

    def environment(self) -> dict[str, str]:
        """What must stand in ``os.environ`` before the model libraries are imported."""
        cache = self.cache_dir.absolute()
        variables = {
            "HF_HUB_OFFLINE": "1",  # serving never asks the hub
            "HF_HOME": str(cache / "huggingface"),
            "TORCH_HOME": str(cache / "torch"),
            "NUMBA_CACHE_DIR": str(cache / "numba"),
            "CUDA_CACHE_PATH": str(cache / "cuda"),
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # so that CUDA and NVML number the GPUs alike
        }
        if self.cuda_visible_devices is not None:
            variables["CUDA_VISIBLE_DEVICES"] = self.cuda_visible_devices
        return variables

    def engine_config(self, worker: int = 0) -> "EngineConfig":
        """What one worker's engine needs; workers are dealt out over the visible GPUs."""
        from whisperlivekit.engine.whisper import MAX_BATCH, EngineConfig

        device = self.resolved_device()
        gpus = (len(self._gpus()) or len(_split(self.cuda_visible_devices or "0"))) if device == "cuda" else 1
        return EngineConfig(
            model_dir=self.model_path,
            device=device,
            device_index=worker % max(1, gpus),
            compute_type=self.resolved_compute_type(),
            threads=1 if device == "cpu" else self.threads_per_worker(),
            lanes=self.lanes_per_worker(),
            max_batch=MAX_BATCH[device],
            beams=self.beams,
            language=self._language,
        )

    def session_config(self) -> "SessionConfig":
        """What a session starts from, where the client does not say otherwise."""
        from whisperlivekit.core.session import SessionConfig

        return SessionConfig(
            step_s=self.min_chunk_size,
            frame_threshold=self.frame_threshold,
            speech_threshold=self.vad_threshold,
            min_silence_s=self.min_silence,
            language=self._language,
            prompt=self.init_prompt,
        )


# ------------------------------------------------------------------------------------------------------------ reading


def load_settings(env_file: Path | None = Path(".env")) -> Settings:
    """The settings of the environment and, below it, of ``env_file``; a file that is not there is an empty one.

    Raises:
        SettingsError: something is wrong; the message lists every problem.
    """
    # A line that is no assignment is listed below with the rest; dotenv would also log a warning for each reading.
    logging.getLogger("dotenv").setLevel(logging.ERROR)
    lines, problems = _read(env_file)
    problems += _unknown(lines, os.environ)
    settings, found = _validate(env_file if lines else None, lines)
    problems += found
    if settings is None or problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        where = f"{env_file} and the environment" if lines else "the environment"
        raise SettingsError(f"{len(problems)} wrong setting{'s' if len(problems) > 1 else ''} in {where}:\n{listed}")
    return settings


def variables() -> dict[str, str]:
    """Variable -> attribute, in the order of the example file."""
    return {_variable(name): name for name in Settings.model_fields}


def value_problem(variable: str, value: str) -> str:
    """What is allowed instead of this value of a known variable; empty if it is a good one."""
    alone: dict[str, Any] = {variable: value}
    try:
        Settings(_env_file=None, **alone)
    except ValidationError as found:
        for error in found.errors():
            if error["loc"] and error["loc"][0] == variable:
                return f"expected {_expected(variables()[variable], error)}"
    return ""


def read_env_lines(env_file: Path) -> Iterator[tuple[int, str | None, str | None]]:
    """(line number, name, value) of every assignment in the file; name None: the line is not an assignment.

    Raises:
        SettingsError: the file cannot be read as text.
    """
    try:
        text = env_file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {env_file}: {error}; expected a text file in UTF-8") from error
    for binding in parse_stream(io.StringIO(text)):
        leading = len(binding.original.string) - len(binding.original.string.lstrip("\n\r"))
        line = binding.original.line + binding.original.string[:leading].count("\n")
        if binding.error:
            yield line, None, binding.original.string.strip()
        elif binding.key is not None:
            yield line, binding.key, binding.value


def _read(env_file: Path | None) -> tuple[dict[str, int], list[str]]:
    """Name -> line of the file, and what is wrong with its form."""
    lines: dict[str, int] = {}
    problems: list[str] = []
    if env_file is None or not env_file.exists():
        return lines, problems
    for line, name, text in read_env_lines(env_file):
        if name is None:
            problems.append(f"line {line} of {env_file}: found {text!r}, expected NAME=value")
            continue
        if name in lines:
            problems.append(f"{name} stands twice in {env_file}, in lines {lines[name]} and {line}: remove one")
        lines[name] = line
    return lines, problems


def _unknown(lines: Mapping[str, int], environment: Mapping[str, str]) -> list[str]:
    known = list(variables())
    problems = []
    for name, line in lines.items():
        if name not in known and name.upper().startswith(_WATCHED_IN_FILE):
            problems.append(f"{name} (line {line}): unknown name{_hint(name, known)}")
    return problems + [
        f"{name} (environment): unknown name{_hint(name, known)}"
        for name in environment
        if name not in known and name.startswith(PREFIX)
    ]


def _validate(env_file: Path | None, lines: Mapping[str, int]) -> tuple[Settings | None, list[str]]:
    """The settings, or every wrong value and contradiction.

    Contradictions are looked for only among valid values, so a second attempt leaves the wrong ones out.
    """
    try:
        return Settings(_env_file=env_file), []
    except ValidationError as first:
        errors = first.errors()
    attributes = variables()
    problems = []
    replaced: dict[str, Any] = {}
    for error in errors:
        if not error["loc"]:
            continue
        variable = str(error["loc"][0])
        attribute = attributes.get(variable, variable)
        problems.append(_problem(attribute, error, lines))
        replaced[attribute] = Settings.model_fields[attribute].default
    try:
        Settings(_env_file=env_file, **replaced)
    except ValidationError as second:
        for error in second.errors():
            problems += str(error["ctx"]["error"]).splitlines()
    return None, problems


def _problem(attribute: str, error: Any, lines: Mapping[str, int]) -> str:
    """One wrong value: variable, value, where it stands, what is allowed."""
    variable = _variable(attribute)
    where = "environment" if variable in os.environ else f"line {lines.get(variable, '?')}"
    value = "..." if attribute in Settings.secret else str(error["input"])
    return f"{variable}={value} ({where}): expected {_expected(attribute, error)}"


def _expected(attribute: str, error: Any) -> str:
    own = error["type"] == "value_error"  # raised by a validator of ours, in our words
    return str(error["ctx"]["error"]) if own else _allowed(Settings.model_fields[attribute])


def _variable(attribute: str) -> str:
    alias = Settings.model_fields[attribute].validation_alias
    assert isinstance(alias, str), f"{attribute} has no variable"  # every field gets one above
    return alias


def _allowed(field: FieldInfo) -> str:
    """What a value of this field may be, for people."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and extra.get("allowed"):
        return str(extra["allowed"])
    kinds = [kind for kind in get_args(field.annotation) if kind is not type(None)] or [field.annotation]
    if get_origin(field.annotation) is Literal:
        return "one of " + ", ".join(str(value) for value in get_args(field.annotation))
    names: dict[Any, str] = {bool: "true or false", int: "a whole number", float: "a number", Path: "a path"}
    return names.get(kinds[0], "text") + _bounds(field)


def _bounds(field: FieldInfo) -> str:
    low = high = ""
    for bound in field.metadata:
        match bound:
            case Ge(ge=value):
                low = f" from {value}"
            case Gt(gt=value):
                low = f" above {value}"
            case Le(le=value):
                high = f" to {value}" if low.startswith(" from") else f" up to {value}"
            case Lt(lt=value):
                high = f" and below {value}"
            case _:
                pass
    return low + (high or (" up" if low.startswith(" from") else ""))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like this one. The common prefix is left out: it makes all names alike."""
    stems = {known_name.removeprefix(PREFIX): known_name for known_name in known}
    close = get_close_matches(name.removeprefix(PREFIX), list(stems), n=1, cutoff=0.6)
    return stems[close[0]] if close else None


def _hint(name: str, known: Iterable[str]) -> str:
    close = nearest(name, known) or nearest(name.upper(), known)
    return f"; did you mean {close}?" if close else ""


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


# ------------------------------------------------------------------------------------------------------------ machine


def available_cores() -> int:
    """CPU cores this process may use: its affinity, and the quota of its container."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def _hides_every_gpu(visible: str | None) -> bool:
    return visible is not None and visible.strip() in {"", "-1"}


# ------------------------------------------------------------------------------------------------------------ writing


def example(overrides: Mapping[str, str] | None = None) -> str:
    """The text of ``.env.example``: every setting with its meaning, what is allowed, and its default.

    ``overrides``: variable -> value, for an ``.env`` that differs from the defaults in these.
    """
    overrides = overrides or {}
    parts = [
        "# Settings of WhisperLiveKit. Real environment variables override this file.",
        "# Made from whisperlivekit/settings.py: python -m whisperlivekit.settings > .env.example",
    ]
    section = ""
    for attribute, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra["section"] != section:
            section = str(extra["section"])
            parts += ["", f"# ---- {section} " + "-" * (100 - len(section))]
        variable = _variable(attribute)
        value = overrides.get(variable, _text(field.default))
        unset = field.default is None and variable not in overrides
        allowed = _allowed(field)
        parts += ["", *_wrapped(f"{field.description}" + (f" Allowed: {allowed}." if allowed != "text" else ""))]
        parts.append(f"# {variable}=" if unset else f"{variable}={value}")
    return "\n".join(parts) + "\n"


def markdown_table() -> str:
    """The settings table of the README."""
    rows = ["| variable | default | allowed | meaning |", "|---|---|---|---|"]
    for attribute, field in Settings.model_fields.items():
        default = _text(field.default)
        shown = f"`{default}`" if default else "not set"
        rows.append(f"| `{_variable(attribute)}` | {shown} | {_allowed(field)} | {field.description} |")
    return "\n".join(rows) + "\n"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 110, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def main(arguments: list[str]) -> None:
    """Prints ``.env.example``, or with arguments ``NAME=value`` an ``.env`` that differs from it in these."""
    overrides = dict(argument.split("=", 1) for argument in arguments)
    unknown = [name for name in overrides if name not in variables()]
    if unknown:
        raise SystemExit(f"unknown name {unknown[0]}{_hint(unknown[0], variables())}")
    print(example(overrides), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
