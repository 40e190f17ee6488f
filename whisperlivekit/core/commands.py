"""What a client asks of a session. Wire adapters make commands from a client's messages."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.core.hypothesis import Task, Word


@dataclass(frozen=True, slots=True)
class Resume:
    """What a client knows of a stream whose connection was lost."""

    session: str | None
    """The stream's id, under which it continues; None if the client has none: the stream gets a new one."""
    position: int
    """The last ``kept_from`` that the client received: the audio that follows begins at this sample."""
    words: tuple[Word, ...] = ()
    """The committed words that end after ``position``, or after ``live_from``."""
    live_from: int | None = None
    """The last ``live_from`` that the client received: the audio before it is only refined. None: ``position``."""
    unrefined: tuple[Word, ...] = ()
    """The committed words before ``words`` that were not refined."""
    channels: tuple["Resume", ...] = ()
    """What the client knows of each channel, in a multichannel stream only. Their positions may be later than
    ``position``, which is where the audio of all channels begins."""


@dataclass(frozen=True, slots=True)
class Start:
    """Opens the session; always the first command."""

    language: str | None = None
    """ISO 639-1 code of the speech, "auto", or None for the server's default."""
    prompt: str | None = None
    """None for the server's default."""
    hotwords: tuple[str, ...] = ()
    """A translation ignores them: they are compared with what was said."""
    resume: Resume | None = None
    commit: Literal["words", "utterance"] = "words"
    """When words are told as committed: as soon as they are certain, or all at once when their utterance has ended."""
    refine: bool = False
    """Decide committed words once more, by paragraph. Not with a translation."""
    silence_s: float | None = None
    """Silence that ends an utterance. None: the server's setting."""
    realtime: bool = True
    """False: a file. Its decodes wait until no real-time stream needs the model."""
    channels: int = 1
    """More than 1: a multichannel stream. Each channel of its audio is transcribed by itself, and its events say of
    which channel they are (``OfChannel``)."""
    task: Task = "transcribe"

    def __post_init__(self) -> None:
        if self.refine and self.translates:
            raise ValueError("found refine and task translate, expected at most one of them")

    @property
    def translates(self) -> bool:
        """The words are an English translation of what is said."""
        return self.task == "translate"

    @property
    def by_utterance(self) -> bool:
        """All words of an utterance are told at once. Those of a translation always are: none is certain before the
        whole utterance was heard.
        """
        return self.commit == "utterance" or self.translates

    def of_each_channel(self) -> list["Start"]:
        """The start of each channel's own session."""
        known = self.resume.channels if self.resume and self.resume.channels else (self.resume,) * self.channels
        return [replace(self, channels=1, resume=resume) for resume in known]

    def decode_language(self, default: str | None) -> str | None:
        """The language to decode in; None: detect it. ``default``: the server's, None to detect it."""
        return _decode_language(self.language, default)


@dataclass(frozen=True, slots=True)
class Audio:
    """The next samples of the stream."""

    samples: NDArray[np.float32]
    """float32[n], mono 16 kHz, in [-1, 1]. In a multichannel stream float32[channels, n]."""

    @property
    def length(self) -> int:
        """Samples of each channel."""
        return int(self.samples.shape[-1])


@dataclass(frozen=True, slots=True)
class Configure:
    """Replaces what ``Start`` has set, from the next decode on."""

    language: str | None = None
    """See ``Start``."""
    prompt: str | None = None
    hotwords: tuple[str, ...] = ()
    silence_s: float | None = None

    def decode_language(self, default: str | None) -> str | None:
        """See ``Start``."""
        return _decode_language(self.language, default)


@dataclass(frozen=True, slots=True)
class Flush:
    """Commit everything received so far, as if the speaker had paused."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The stream has ended: commit everything, then end with ``Done``."""


Command = Start | Configure | Audio | Flush | Stop


def _decode_language(asked: str | None, default: str | None) -> str | None:
    if asked is None:
        return default
    return None if asked == "auto" else asked
