"""What a session tells. Wire adapters make messages from these.

Positions are samples from the beginning of the stream.
"""

from dataclasses import dataclass

from whisperlivekit.core.hypothesis import Word


@dataclass(frozen=True, slots=True)
class Ready:
    """The session is open. Made by the server, not by the core."""

    session: str
    model: str
    language: str | None
    position: int = 0
    """Where the stream begins: 0, or the position it resumes from."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    at: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    at: int


@dataclass(frozen=True, slots=True)
class Partial:
    """The tail that follows the committed words; replaces the last partial whole."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Committed:
    """Words that will never change. The partial they came from is void; a new one follows if a tail is left."""

    words: tuple[Word, ...]
    kept_from: int
    """Audio before this sample will never be needed again."""

    @property
    def text(self) -> str:
        return "".join(word.text for word in self.words)


@dataclass(frozen=True, slots=True)
class UtteranceEnded:
    """All words of the utterance ``[start, end)`` are committed."""

    start: int
    end: int
    kept_from: int


@dataclass(frozen=True, slots=True)
class Flushed:
    """The answer to ``Flush``: everything before ``at`` is committed."""

    at: int
    kept_from: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Audio that was not transcribed, and why. ``reason`` is a short code: see docs/protocol.md."""

    start: int
    end: int
    reason: str
    kept_from: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Once a second of audio: how far the session has come, also where nobody speaks."""

    received: int
    settled: int
    """Everything before this sample is committed, silent or named by a gap."""
    kept_from: int


@dataclass(frozen=True, slots=True)
class Draining:
    """This worker is going: what it has heard follows, then the connection closes. Made by the server."""


@dataclass(frozen=True, slots=True)
class Done:
    """The last event: totals of the stream."""

    received: int
    speech: int
    """Samples inside utterances."""
    words: int
    utterances: int
    gaps: int
    """Samples named by gap events."""


Event = (
    Ready
    | SpeechStarted
    | SpeechStopped
    | Partial
    | Committed
    | UtteranceEnded
    | Flushed
    | Gap
    | Progress
    | Draining
    | Done
)
