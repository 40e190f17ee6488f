"""What a client can ask of a session. Wire adapters make these from messages."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.core.hypothesis import Word


@dataclass(frozen=True, slots=True)
class Resume:
    """What a client kept of a stream whose connection was lost."""

    session: str
    """The stream's id, as the first ``ready`` told it."""
    position: int
    """The last ``kept_from`` the client saw: the audio that follows begins at this sample."""
    words: tuple[Word, ...] = ()
    """The committed words that end after ``position``."""
    context: str = ""
    """Committed text before ``position``, as much of its end as the client kept."""


@dataclass(frozen=True, slots=True)
class Start:
    """Opens the session; always the first command."""

    language: str | None = None
    """ISO 639-1 code, "auto", or None for the server's default."""
    prompt: str | None = None
    """None: the server's default."""
    hotwords: tuple[str, ...] = ()
    resume: Resume | None = None
    realtime: bool = True
    """False: a file, which gives way to people who speak."""


@dataclass(frozen=True, slots=True)
class Audio:
    """The next samples of the stream."""

    samples: NDArray[np.float32]
    """float32[n], mono 16 kHz, in [-1, 1]."""


@dataclass(frozen=True, slots=True)
class Flush:
    """Commit everything heard so far, as if the speaker had paused."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The stream is over: commit everything, then end with ``Done``."""


Command = Start | Audio | Flush | Stop
