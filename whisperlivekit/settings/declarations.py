"""The declaration of every setting: its name, its meaning, its default and the values that are allowed.

Nothing here reads a file, the environment or the machine. ``env_file.py`` reads the values, ``machine.py`` finds out
what ``auto`` and 0 mean on this machine, ``configs.py`` makes the configurations of other packages, and
``documents.py`` writes ``.env.example`` and the table in the README.

Long because it is a list: each setting is one entry, and what contradicts another is checked beside them.
"""

import os
import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationInfo, field_validator, model_validator

from whisperlivekit.engine import models
from whisperlivekit.program import command
from whisperlivekit.wire.languages import AUTO, LANGUAGES

PREFIX = "WLK_"

ADDED_MODELS = "added_models"
"""The key of the names of added models in the context of a validation. Without it no name is known to be one."""

_CUDA_ONLY_TYPES = {"float16", "bfloat16", "int8_float16", "int8_bfloat16"}

_NOT_AVAILABLE = {
    "diarization": "false: this version does not tell speakers apart",
    "enable_adaptive_buffering": "false: adaptive buffering was removed because it was unstable",
}

_GPUS_ALLOWED = "GPU numbers or UUIDs, separated by commas, for example 0,1"
_MODEL_ALLOWED = f"one of {', '.join(models.NAMES)}; the name of an added model; or a path that contains a slash"
_LANGUAGE_ALLOWED = "a language code of Whisper such as ru, or auto"
_KEYS_ALLOWED = "keys of at least 16 printable ASCII characters without spaces, separated by commas"
_ORIGINS_ALLOWED = "origins such as https://example.org, separated by commas; or *"
_HOSTS_ALLOWED = "host names such as speech.example.org without a port, separated by commas; or *"
_NETWORKS_ALLOWED = "IP addresses or networks such as 10.0.0.0/8, separated by commas"

_GPU = r"(\d+|GPU-[0-9a-fA-F-]+|MIG-[0-9a-zA-Z/-]+)"


def _setting(
    default: Any, section: str, description: str, *, variable: str = "", allowed: str = "", **constraints: Any
) -> Any:
    """A field with its section in ``.env.example``.

    ``variable``: its name in the environment, if that is not the attribute in upper case after ``WLK_``. ``allowed``:
    the allowed values in words, if the type and the constraints do not say them.
    """
    extra: dict[str, JsonValue] = {"section": section, "allowed": allowed, "variable": variable}
    return Field(default, description=description, json_schema_extra=extra, **constraints)


class Settings(BaseModel):
    """Everything that can be set. The attribute of ``WLK_PORT`` is ``port``."""

    # Attributes are the only names that the constructor knows, and it reads no environment.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    secret: ClassVar[frozenset[str]] = frozenset({"api_keys"})
    """Values of these are never printed, not even in an error message."""

    device: Literal["cuda", "cpu", "auto"] = _setting(
        "auto",
        "Device",
        "Where the Whisper model runs. auto: on an NVIDIA GPU if there is one, otherwise on the CPU. cuda: the server "
        "does not start without a GPU.",
        variable="WHISPER_DEVICE",
    )
    faster_whisper_cuda: bool | None = _setting(
        None,
        "Device",
        "Older name for the same choice: true is cuda, false is cpu. It must not contradict WHISPER_DEVICE.",
        variable="FASTER_WHISPER_CUDA",
    )
    cuda_visible_devices: str | None = _setting(
        None,
        "Device",
        "GPUs to use, in CUDA's notation: 0, or 0,1. Workers are distributed over them. An empty value hides all GPUs.",
        variable="CUDA_VISIBLE_DEVICES",
        allowed=_GPUS_ALLOWED,
        pattern=rf"^\s*(-1|({_GPU}(\s*,\s*{_GPU})*))?\s*$",
    )
    compute_type: Literal[
        "auto", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "float16", "bfloat16", "float32"
    ] = _setting(
        "auto",
        "Device",
        "Number format of the model. auto: int8 on a CPU, float16 on a GPU that computes it fast.",
    )
    cpu_threads: int = _setting(
        0, "Device", "CPU threads of each worker's model. 0: CPU cores divided by workers.", ge=0, le=256
    )

    host: str = _setting(
        "127.0.0.1",
        "Network",
        "Address to listen on. 127.0.0.1 accepts connections from this machine only, for example from a proxy. To "
        "accept other machines set 0.0.0.0, a certificate (browsers allow the microphone on https pages only) and "
        "WLK_API_KEYS.",
        min_length=1,
    )
    port: int = _setting(8000, "Network", "TCP port to listen on.", ge=1, le=65535)
    vosk_port: int = _setting(
        0,
        "Network",
        "A second TCP port that serves the same, for programs that expect Vosk's server on its port 2700. 0: none.",
        ge=0,
        le=65535,
    )
    wyoming_port: int = _setting(
        0,
        "Network",
        "TCP port for Home Assistant (the Wyoming protocol), usually 10300. The protocol has neither keys nor "
        "encryption: everybody who reaches the port at WLK_HOST can use it. 0: off.",
        ge=0,
        le=65535,
    )
    ssl_certfile: Path | None = _setting(
        None, "Network", "Certificate for https, a PEM file. WLK_SSL_KEYFILE must be set too."
    )
    ssl_keyfile: Path | None = _setting(
        None, "Network", "Private key for https, a PEM file. WLK_SSL_CERTFILE must be set too."
    )
    api_keys: str = _setting(
        "",
        "Network",
        "Keys, separated by commas. A client must send one of them. Empty: no key is needed.",
        allowed=_KEYS_ALLOWED,
    )
    allowed_origins: str = _setting(
        "",
        "Network",
        "Origins of other web pages that may connect, separated by commas. Empty: only the server's own page. *: any "
        "page.",
        allowed=_ORIGINS_ALLOWED,
    )
    allowed_hosts: str = _setting(
        "",
        "Network",
        "Additional host names of this server, separated by commas, for example the public name of a proxy. localhost, "
        "this machine's own names and IP addresses are always accepted. *: any name.",
        allowed=_HOSTS_ALLOWED,
    )
    metrics_allow: str = _setting(
        "",
        "Network",
        "Client addresses that may read /metrics without a key when WLK_API_KEYS is set, separated by commas. Empty: "
        "no address, not even this machine's.",
        allowed=_NETWORKS_ALLOWED,
    )

    model: str = _setting(
        "small",
        "Recognition",
        "Whisper model. small is meant for a GPU; without one, base answers sooner, and install.sh writes base to "
        ".env. A model of your own: add it with whisperlivekit models add, or give the path of its folder.",
        allowed=_MODEL_ALLOWED,
        min_length=1,
    )
    backend: Literal["faster-whisper"] = _setting("faster-whisper", "Recognition", "There is one backend.")
    language: str = _setting(
        "ru",
        "Recognition",
        "Language of the speech when the client does not name one. auto: detect it.",
        allowed=_LANGUAGE_ALLOWED,
    )
    init_prompt: str = _setting(
        "",
        "Recognition",
        "Text that shows the model names and style, when the client does not send one.",
        max_length=1000,
        allowed="text of at most 1000 characters",
    )
    frame_threshold: int = _setting(
        25,
        "Recognition",
        "A word is committed when it ends at least this many frames of 20 ms before the end of the audio. A lower "
        "value commits sooner; a higher value makes fewer mistakes.",
        ge=1,
        le=200,
    )
    beams: int = _setting(
        3,
        "Recognition",
        "Beam width of the last decode of an utterance. During speech the width is 2 at most. 1 is fastest. "
        "Files and refined text always use 5.",
        ge=1,
        le=10,
    )
    min_chunk_size: float = _setting(
        0.6, "Recognition", "Seconds of new audio between two decodes of one stream.", ge=0.1, le=5.0
    )
    vad_threshold: float = _setting(
        0.5, "Recognition", "Probability of speech above which an utterance begins.", gt=0.0, lt=1.0
    )
    min_silence: float = _setting(0.5, "Recognition", "Seconds of silence that end an utterance.", ge=0.1, le=5.0)
    diarization: bool = _setting(
        False, "Recognition", "Telling speakers apart. Not available in this version.", allowed="false"
    )
    enable_adaptive_buffering: bool = _setting(
        False, "Recognition", "Removed because it was unstable.", allowed="false"
    )

    max_sessions: int = _setting(
        0, "Limits", "Streams that one worker accepts at the same time. 0: as many as it can decode in real time.", ge=0
    )
    max_sessions_per_address: int = _setting(
        0, "Limits", "Streams that one worker accepts from one client address at the same time. 0: no limit.", ge=0
    )
    idle_timeout: float = _setting(
        300, "Limits", "A stream is closed after this many seconds without audio.", ge=5, le=86400
    )
    max_session_hours: float = _setting(12, "Limits", "Longest duration of a stream, in hours.", gt=0, le=168)

    gunicorn_workers: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = _setting(
        "auto",
        "Processes",
        "Worker processes. Each loads its own model. auto: 4 on a GPU; 1 on a CPU, where several workers would share "
        "the same cores and each need the memory of a model.",
        allowed="auto, or a whole number from 1 to 64",
    )
    gunicorn_timeout: int = _setting(
        120, "Processes", "A worker that does not respond for this many seconds is killed.", ge=10, le=3600
    )
    gunicorn_graceful_timeout: int = _setting(
        50, "Processes", "Seconds that a stopping worker may take to finish its streams.", ge=1, le=3600
    )
    gunicorn_max_requests: int = _setting(
        500,
        "Processes",
        "A worker is replaced after about this many streams and files, as soon as it serves none. 0: never.",
        ge=0,
    )
    gunicorn_preload: bool = _setting(
        True,
        "Processes",
        "Import the program once, before the workers are forked. Each worker still loads its own model.",
    )

    model_dir: Path = _setting(
        Path("models"), "Folders and logs", "Folder of the model files: whisper/NAME and silero_vad."
    )
    cache_dir: Path = _setting(
        Path("models/cache"), "Folders and logs", "Folder of unfinished downloads and of caches of libraries."
    )
    log_dir: Path = _setting(Path("logs"), "Folders and logs", "Folder of the log files.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = _setting(
        "INFO", "Folders and logs", "Least severe level that is logged. Transcribed text is logged at DEBUG only."
    )
    log_format: Literal["text", "json"] = _setting(
        "text", "Folders and logs", "text for people; json, one object per line, for log collectors."
    )

    @field_validator("log_level", mode="before")
    @classmethod
    def _accept_any_case(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("diarization", "enable_adaptive_buffering")
    @classmethod
    def _check_availability(cls, value: bool, info: Any) -> bool:
        if value:
            raise ValueError(_NOT_AVAILABLE[info.field_name])
        return value

    @field_validator("model")
    @classmethod
    def _check_model(cls, value: str, info: ValidationInfo) -> str:
        added = (info.context or {}).get(ADDED_MODELS, ())
        if value not in models.NAMES and value not in added and "/" not in value:
            name = value if models.is_name(value) else "NAME"
            raise ValueError(
                f"one of {', '.join(models.NAMES)}; an added model ({', '.join(added) or 'there is none'}); or a path "
                f"that contains a slash; to add a model, run: {command('models', 'add', 'SOURCE', '--name', name)}"
            )
        return value

    @field_validator("language")
    @classmethod
    def _check_language(cls, value: str) -> str:
        if value not in LANGUAGES and value != AUTO:
            raise ValueError(_LANGUAGE_ALLOWED)
        return value

    @field_validator("ssl_certfile", "ssl_keyfile")
    @classmethod
    def _check_readable(cls, value: Path | None) -> Path | None:
        if value is not None and not os.access(value, os.R_OK):
            raise ValueError("the path of a file that this user can read")
        return value

    @field_validator("api_keys")
    @classmethod
    def _check_keys(cls, value: str) -> str:
        if not all(re.fullmatch(r"[!-+\--~]{16,}", key) for key in split(value)):
            raise ValueError(_KEYS_ALLOWED)
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _check_origins(cls, value: str) -> str:
        if not all(origin == "*" or re.fullmatch(r"https?://[^/\s]+", origin) for origin in split(value)):
            raise ValueError(_ORIGINS_ALLOWED)
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, value: str) -> str:
        if not all(host == "*" or re.fullmatch(r"[\w-]+(\.[\w-]+)*", host, re.ASCII) for host in split(value)):
            raise ValueError(_HOSTS_ALLOWED)
        return value

    @field_validator("metrics_allow")
    @classmethod
    def _check_networks(cls, value: str) -> str:
        try:
            _parse_networks(value)
        except ValueError:
            raise ValueError(_NETWORKS_ALLOWED) from None
        return value

    @model_validator(mode="after")
    def _check_contradictions(self) -> Self:
        problems = []
        if self.faster_whisper_cuda is True and self.device == "cpu":
            problems.append("FASTER_WHISPER_CUDA=true contradicts WHISPER_DEVICE=cpu: remove one of the two lines")
        if self.faster_whisper_cuda is False and self.device == "cuda":
            problems.append("FASTER_WHISPER_CUDA=false contradicts WHISPER_DEVICE=cuda: remove one of the two lines")
        if self.hides_every_gpu and self.device == "cuda":
            problems.append("CUDA_VISIBLE_DEVICES hides every GPU, which contradicts WHISPER_DEVICE=cuda")
        if self.vosk_port == self.port:
            problems.append(f"WLK_VOSK_PORT and WLK_PORT are both {self.port}: Vosk's clients can use WLK_PORT too")
        if self.ssl_certfile is None and self.ssl_keyfile is not None:
            problems.append("WLK_SSL_KEYFILE is set without WLK_SSL_CERTFILE: https needs both")
        if self.ssl_certfile is not None and self.ssl_keyfile is None:
            problems.append("WLK_SSL_CERTFILE is set without WLK_SSL_KEYFILE: https needs both")
        if self.wyoming_port in self.http_ports.values():
            problems.append(f"WLK_WYOMING_PORT is {self.wyoming_port}, which serves HTTP too: use another one")
        if self.device == "cpu" and self.compute_type in _CUDA_ONLY_TYPES:
            problems.append(
                f"WLK_COMPUTE_TYPE={self.compute_type} needs a GPU, which contradicts WHISPER_DEVICE=cpu: "
                "use auto, int8, int8_float32 or float32"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def http_ports(self) -> dict[str, int]:
        """Variable -> port, of each port on which HTTP and WebSockets are served."""
        return {"WLK_PORT": self.port} | ({"WLK_VOSK_PORT": self.vosk_port} if self.vosk_port else {})

    @property
    def ports(self) -> dict[str, int]:
        """Variable -> port, of each port that the server opens."""
        return self.http_ports | ({"WLK_WYOMING_PORT": self.wyoming_port} if self.wyoming_port else {})

    @property
    def api_key_list(self) -> tuple[str, ...]:
        """The keys of which a client must send one; none: no key is needed."""
        return split(self.api_keys)

    @property
    def allowed_origin_list(self) -> tuple[str, ...]:
        """Origins of other pages that may connect."""
        return split(self.allowed_origins)

    @property
    def allowed_host_list(self) -> tuple[str, ...]:
        """Host names of this server beside its own."""
        return split(self.allowed_hosts)

    @property
    def metrics_network_list(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Networks whose clients read /metrics without a key; an address is a network of one."""
        return _parse_networks(self.metrics_allow)

    @property
    def model_path(self) -> Path:
        """The folder of the model's files, whether or not they are there."""
        return models.folder(self.model, self.model_dir)

    @property
    def visible_gpu_list(self) -> tuple[str, ...]:
        """The GPUs that CUDA_VISIBLE_DEVICES lists."""
        return split(self.cuda_visible_devices or "")

    @property
    def hides_every_gpu(self) -> bool:
        """Whether CUDA_VISIBLE_DEVICES leaves no GPU."""
        return self.cuda_visible_devices is not None and self.cuda_visible_devices.strip() in {"", "-1"}

    @property
    def fixed_language(self) -> str | None:
        """The language code; None: the language is detected."""
        return None if self.language == AUTO else self.language


def variable_of(attribute: str) -> str:
    """The name of an attribute in the environment and in ``.env``."""
    extra = Settings.model_fields[attribute].json_schema_extra
    own = extra["variable"] if isinstance(extra, dict) else ""
    return str(own or PREFIX + attribute.upper())


def variables() -> dict[str, str]:
    """Variable -> attribute, in the order of ``.env.example``."""
    return {variable_of(name): name for name in Settings.model_fields}


def split(text: str) -> tuple[str, ...]:
    """The elements of a list that is separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _parse_networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(part, strict=False) for part in split(text))
