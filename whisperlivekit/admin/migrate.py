"""``whisperlivekit check --env``: what became of each line of an ``.env`` of an older version."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path

from whisperlivekit.settings.declarations import variables
from whisperlivekit.settings.env_file import read_env_lines, value_problem
from whisperlivekit.settings.wording import nearest


class Fate(Enum):
    KEPT = "kept"
    RENAMED = "renamed"
    REMOVED = "removed"
    UNKNOWN = "unknown"
    FOREIGN = "not a setting"
    BROKEN = "malformed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result for one line of an old file."""

    line: int
    name: str
    fate: Fate
    note: str = ""
    """The new name, the reason, or the most similar known name."""
    problem: str = ""
    """Why the value is not allowed, if the name is kept or renamed; empty if it is allowed."""

    def __str__(self) -> str:
        arrow = f"{self.fate.value} to {self.note}" if self.fate is Fate.RENAMED else self.fate.value
        note = f": {self.note}" if self.note and self.fate is not Fate.RENAMED else ""
        problem = f"; its value is not allowed: {self.problem}" if self.problem else ""
        return f"line {self.line}: {self.name}: {arrow}{note}{problem}"


RENAMED = {
    "FASTER_WHISPER_BEAM_SIZE": "WLK_BEAMS",
    "FASTER_WHISPER_COMPUTE_TYPE": "WLK_COMPUTE_TYPE",
    "FASTER_WHISPER_CPU_THREADS": "WLK_CPU_THREADS",
    "FASTER_WHISPER_DEVICE": "WHISPER_DEVICE",
    "FASTER_WHISPER_LANGUAGE": "WLK_LANGUAGE",
    "FASTER_WHISPER_MODEL": "WLK_MODEL",
    "FASTER_WHISPER_MODEL_SIZE": "WLK_MODEL",
    "GUNICORN_GRACEFUL_TIMEOUT": "WLK_GUNICORN_GRACEFUL_TIMEOUT",
    "GUNICORN_MAX_REQUESTS": "WLK_GUNICORN_MAX_REQUESTS",
    "GUNICORN_PRELOAD": "WLK_GUNICORN_PRELOAD",
    "GUNICORN_TIMEOUT": "WLK_GUNICORN_TIMEOUT",
    "GUNICORN_WORKERS": "WLK_GUNICORN_WORKERS",
    "HOST": "WLK_HOST",
    "LOG_LEVEL": "WLK_LOG_LEVEL",
    "OMP_NUM_THREADS": "WLK_CPU_THREADS",
    "PORT": "WLK_PORT",
    "TORCH_NUM_THREADS": "WLK_CPU_THREADS",
    "WEB_CONCURRENCY": "WLK_GUNICORN_WORKERS",
    "WHISPER_BEAM_SIZE": "WLK_BEAMS",
    "WHISPER_COMPUTE_TYPE": "WLK_COMPUTE_TYPE",
    "WHISPER_LANGUAGE": "WLK_LANGUAGE",
    "WHISPER_MODEL": "WLK_MODEL",
    "WHISPER_MODEL_SIZE": "WLK_MODEL",
    "WLK_API_KEY": "WLK_API_KEYS",
    "WLK_BEAM_SIZE": "WLK_BEAMS",
    "WLK_CERTFILE": "WLK_SSL_CERTFILE",
    "WLK_CORS_ORIGINS": "WLK_ALLOWED_ORIGINS",
    "WLK_DEVICE": "WHISPER_DEVICE",
    "WLK_INITIAL_PROMPT": "WLK_INIT_PROMPT",
    "WLK_KEYFILE": "WLK_SSL_KEYFILE",
    "WLK_LAN": "WLK_LANGUAGE",
    "WLK_LANG": "WLK_LANGUAGE",
    "WLK_LOGS_DIR": "WLK_LOG_DIR",
    "WLK_MAX_CONCURRENT_SESSIONS": "WLK_MAX_SESSIONS",
    "WLK_MAX_CONNECTIONS": "WLK_MAX_SESSIONS",
    "WLK_MODELS_DIR": "WLK_MODEL_DIR",
    "WLK_MODEL_CACHE_DIR": "WLK_CACHE_DIR",
    "WLK_MODEL_PATH": "WLK_MODEL",
    "WLK_MODEL_SIZE": "WLK_MODEL",
    "WLK_STATIC_INIT_PROMPT": "WLK_INIT_PROMPT",
    "WLK_TIMEOUT": "WLK_GUNICORN_TIMEOUT",
    "WLK_VAD_MIN_SILENCE": "WLK_MIN_SILENCE",
    "WLK_WHISPER_MODEL": "WLK_MODEL",
    "WLK_WORKERS": "WLK_GUNICORN_WORKERS",
}

_ALWAYS_ON = "voice activity detection is always on: silence is not decoded"
_TRANSLATION = "each client asks for a translation into English itself: task in docs/protocol.md"
_WINDOW = "the decoded window moves automatically when words are committed"
_COMMIT = "a word is committed by its distance from the end of the audio: WLK_FRAME_THRESHOLD"
_NO_SPEAKERS = "this version does not tell speakers apart"
_ADAPTIVE = "adaptive buffering was removed because it was unstable"
_TORCH = "torch is not used: Whisper runs on CTranslate2, the speech detector on ONNX Runtime"
_HUB = "the server never contacts the model hub, and downloading models needs no token"

REMOVED = {
    "WLK_ADAPTIVE_*": _ADAPTIVE,
    "WLK_AUDIO_MAX_LEN": _WINDOW,
    "WLK_AUDIO_MIN_LEN": _WINDOW,
    "WLK_BACKEND_POLICY": _COMMIT,
    "WLK_BUFFER_*": _WINDOW,
    "WLK_CIF_CKPT_PATH": _COMMIT,
    "WLK_CONFIDENCE_VALIDATION": _COMMIT,
    "WLK_CUSTOM_ALIGNMENT_HEADS": "they are in the model's config.json",
    "WLK_DECODER": "always beam search: width 2 during speech, WLK_BEAMS at the end of an utterance",
    "WLK_DIARIZATION_*": _NO_SPEAKERS,
    "WLK_DIRECT_ENGLISH*": _TRANSLATION,
    "WLK_DISABLE_FAST_ENCODER": "there is only one encoder",
    "WLK_DISABLE_PUNCTUATION_SPLIT": _NO_SPEAKERS,
    "WLK_EMBEDDING_MODEL": _NO_SPEAKERS,
    "WLK_ENABLE_VAC": _ALWAYS_ON,
    "WLK_ENABLE_VAD": _ALWAYS_ON,
    "WLK_FORWARDED_ALLOW_IPS": "see docs/operations.md, chapter 'Behind nginx or Caddy'",
    "WLK_LORA_PATH": "merge it into the model, convert the result for CTranslate2, and set WLK_MODEL to its path",
    "WLK_MAX_CONTEXT_TOKENS": "earlier text is not given to the model, because that causes repetition loops",
    "WLK_NEVER_FIRE": _COMMIT,
    "WLK_NLLB_*": _TRANSLATION,
    "WLK_NO_TRANSCRIPTION": "transcription is what this server does",
    "WLK_NO_VAC": _ALWAYS_ON,
    "WLK_NO_VAD": _ALWAYS_ON,
    "WLK_PCM_INPUT": "each client declares its audio format in its first message",
    "WLK_PRELOAD_MODEL_COUNT": "each worker has one model for all of its streams: WLK_GUNICORN_WORKERS",
    "WLK_PUNCTUATION_SPLIT": _NO_SPEAKERS,
    "WLK_SEGMENTATION_MODEL": _NO_SPEAKERS,
    "WLK_SPEAKER_*": _NO_SPEAKERS,
    "WLK_SORTFORMER*": _NO_SPEAKERS,
    "WLK_TARGET_LANGUAGE": _TRANSLATION,
    "WLK_TASK": _TRANSLATION,
    "WLK_TRANSCRIPTION": "transcription is what this server does",
    "WLK_TRANSLATION*": _TRANSLATION,
    "WLK_VAC": _ALWAYS_ON,
    "WLK_VAC_*": _ALWAYS_ON,
    "WLK_VAD": _ALWAYS_ON,
    "WLK_WARMUP*": "each worker warms its model up before it is ready",
    "FASTER_WHISPER_*": "only WLK_MODEL, WHISPER_DEVICE, WLK_COMPUTE_TYPE and WLK_BEAMS configure the model",
    "WHISPER_*": "only WLK_MODEL, WHISPER_DEVICE, WLK_COMPUTE_TYPE and WLK_BEAMS configure the model",
    "GUNICORN_*": "see the settings that begin with WLK_GUNICORN_",
    "UVICORN_*": "the server configures uvicorn itself",
    "CUDNN_*": "cuDNN is not used",
    "HF_*": _HUB,
    "HUGGINGFACE_*": _HUB,
    "HUGGING_FACE_*": _HUB,
    "MKL_NUM_THREADS": "WLK_CPU_THREADS sets the number of threads of the model",
    "NEMO_*": _NO_SPEAKERS,
    "PYANNOTE_*": _NO_SPEAKERS,
    "PYTORCH_*": _TORCH,
    "TORCH_*": _TORCH,
    "TRANSFORMERS_*": "the library transformers is not used",
}
"""Name or pattern -> reason. An exact name wins over a pattern, and a longer pattern over a shorter one."""


def verdicts(env_file: Path) -> Iterator[Verdict]:
    """One verdict for each line that is not blank or a comment.

    Raises:
        SettingsError: the file cannot be read as text.
    """
    known = variables()
    for line, name, value in read_env_lines(env_file):
        if name is None:
            yield Verdict(line, value or "", Fate.BROKEN, "expected NAME=value")
        elif name in known:
            yield Verdict(line, name, Fate.KEPT, problem=value_problem(name, value or ""))
        elif name in RENAMED:
            new = RENAMED[name]
            yield Verdict(line, name, Fate.RENAMED, new, value_problem(new, value or ""))
        elif reason := _reason(name):
            yield Verdict(line, name, Fate.REMOVED, reason)
        elif name.startswith("WLK_"):
            close = nearest(name, [*known, *RENAMED])
            close = RENAMED.get(close, close) if close else None
            yield Verdict(
                line, name, Fate.UNKNOWN, f"did you mean {close}?" if close else "no setting has a similar name"
            )
        else:
            yield Verdict(line, name, Fate.FOREIGN, "the server does not read it")


def _reason(name: str) -> str | None:
    fitting = [pattern for pattern in REMOVED if fnmatchcase(name, pattern)]
    return REMOVED[max(fitting, key=lambda pattern: ("*" not in pattern, len(pattern)))] if fitting else None


def report(env_file: Path) -> int:
    """Print the verdicts and their counts. The result is 0 if the file can be used as it is, otherwise 1."""
    counts = dict.fromkeys(Fate, 0)
    not_allowed = 0
    for verdict in verdicts(env_file):
        print(verdict)
        counts[verdict.fate] += 1
        not_allowed += bool(verdict.problem)
    print(", ".join(f"{count} {fate.value}" for fate, count in counts.items() if count) or "no settings in it")
    if not_allowed:
        print(f"{not_allowed} with a value that is not allowed")
    usable = not not_allowed and not any(
        counts[fate] for fate in (Fate.RENAMED, Fate.UNKNOWN, Fate.REMOVED, Fate.BROKEN)
    )
    return 0 if usable else 1
