"""The declaration of every setting: its name, meaning, default, and what it may be.

``env_file.py`` reads the values, ``machine.py`` asks the machine what ``auto`` and 0 mean on it, ``configs.py`` makes
the configs of other packages from them, and ``documents.py`` writes ``.env.example`` and the README's table.
"""

import os
import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import AliasGenerator, Field, JsonValue, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from whisperlivekit.engine import models
from whisperlivekit.wire.languages import AUTO, LANGUAGES

PREFIX = "WLK_"

_CUDA_ONLY_TYPES = {"float16", "bfloat16", "int8_float16", "int8_bfloat16"}

_REFUSED = {
    "diarization": "false: telling speakers apart is not in this version",
    "enable_adaptive_buffering": "false: adaptive buffering was taken out for stability",
}

_MODEL_ALLOWED = f"one of {', '.join(models.NAMES)}; or a path with a slash in it"
_LANGUAGE_ALLOWED = "a language code of Whisper such as ru, or auto"
_KEYS_ALLOWED = "keys of at least 16 printable ASCII characters without spaces, separated by commas"
_ORIGINS_ALLOWED = "origins such as https://example.org, separated by commas, or *"
_HOSTS_ALLOWED = "host names such as speech.example.org without a port, separated by commas, or *"
_NETWORKS_ALLOWED = "IP addresses or networks such as 10.0.0.0/8, separated by commas"


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
        allowed=_KEYS_ALLOWED,
    )
    allowed_origins: str = _setting(
        "",
        "Network",
        "Origins of other pages that may connect from a browser, separated by commas. Empty: only the server's own "
        "page. *: any.",
        allowed=_ORIGINS_ALLOWED,
    )
    allowed_hosts: str = _setting(
        "",
        "Network",
        "Further names that clients may reach this server by, separated by commas: a proxy's public name, for example. "
        "Always accepted: localhost, this machine's own names, and any IP address. *: any name.",
        allowed=_HOSTS_ALLOWED,
    )
    metrics_allow: str = _setting(
        "",
        "Network",
        "Client addresses that may read /metrics without a key where WLK_API_KEYS is set, separated by commas. Empty: "
        "none, not even this machine's.",
        allowed=_NETWORKS_ALLOWED,
    )

    model: str = _setting(
        "small",
        "Recognition",
        f"Whisper model: {', '.join(models.NAMES)}, or a path to a folder with a model converted for CTranslate2.",
        allowed=_MODEL_ALLOWED,
        min_length=1,
    )
    backend: Literal["faster-whisper"] = _setting("faster-whisper", "Recognition", "The only one there is.")
    language: str = _setting(
        "ru",
        "Recognition",
        "Language of the speech, if the client names none. auto: detect it.",
        allowed=_LANGUAGE_ALLOWED,
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
            raise ValueError(_MODEL_ALLOWED)
        return value

    @field_validator("language")
    @classmethod
    def _known_language(cls, value: str) -> str:
        if value not in LANGUAGES and value != AUTO:
            raise ValueError(_LANGUAGE_ALLOWED)
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
        if not all(re.fullmatch(r"[!-+\--~]{16,}", key) for key in split(value)):
            raise ValueError(_KEYS_ALLOWED)
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, value: str) -> str:
        if not all(origin == "*" or re.fullmatch(r"https?://[^/\s]+", origin) for origin in split(value)):
            raise ValueError(_ORIGINS_ALLOWED)
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts(cls, value: str) -> str:
        if not all(host == "*" or re.fullmatch(r"[\w-]+(\.[\w-]+)*", host, re.ASCII) for host in split(value)):
            raise ValueError(_HOSTS_ALLOWED)
        return value

    @field_validator("metrics_allow")
    @classmethod
    def _networks(cls, value: str) -> str:
        try:
            _parse_networks(value)
        except ValueError:
            raise ValueError(_NETWORKS_ALLOWED) from None
        return value

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        problems = []
        if self.faster_whisper_cuda is True and self.device == "cpu":
            problems.append("FASTER_WHISPER_CUDA=true contradicts WHISPER_DEVICE=cpu: remove one of the two lines")
        if self.faster_whisper_cuda is False and self.device == "cuda":
            problems.append("FASTER_WHISPER_CUDA=false contradicts WHISPER_DEVICE=cuda: remove one of the two lines")
        if self.hides_every_gpu and self.device == "cuda":
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
        return split(self.api_keys)

    @property
    def allowed_origin_list(self) -> tuple[str, ...]:
        return split(self.allowed_origins)

    @property
    def allowed_host_list(self) -> tuple[str, ...]:
        return split(self.allowed_hosts)

    @property
    def metrics_network_list(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return _parse_networks(self.metrics_allow)

    @property
    def model_path(self) -> Path:
        """The folder of the model's files, whether or not they are there."""
        return models.folder(self.model, self.model_dir)

    @property
    def visible_gpu_list(self) -> tuple[str, ...]:
        """What CUDA_VISIBLE_DEVICES lists."""
        return split(self.cuda_visible_devices or "")

    @property
    def hides_every_gpu(self) -> bool:
        return self.cuda_visible_devices is not None and self.cuda_visible_devices.strip() in {"", "-1"}

    @property
    def fixed_language(self) -> str | None:
        """None: the language is detected."""
        return None if self.language == AUTO else self.language


def variable_of(attribute: str) -> str:
    """The name under which a field stands in the environment and in ``.env``."""
    alias = Settings.model_fields[attribute].validation_alias
    assert isinstance(alias, str), f"{attribute} has no variable"  # every field gets one above
    return alias


def variables() -> dict[str, str]:
    """Variable -> attribute, in the order of the example file."""
    return {variable_of(name): name for name in Settings.model_fields}


def split(text: str) -> tuple[str, ...]:
    """The parts of a list that is separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _parse_networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(part, strict=False) for part in split(text))
