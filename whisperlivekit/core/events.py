"""What happens in a session. Wire adapters make a client's messages from events.

Positions are samples at 16 kHz from the beginning of the stream; spans are ``[start, end)``.
"""

from dataclasses import dataclass, field

from whisperlivekit.core.hypothesis import Word


@dataclass(frozen=True, slots=True, kw_only=True)
class OfChannel:
    """An event of one channel of a multichannel stream. A ``Session`` has one channel and leaves it None."""

    channel: int | None = None
    """0, 1 ...; None: the stream is not multichannel."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The session is open. The server makes this event, not the core."""

    session: str
    """The stream's id; a resumed stream keeps it."""
    model: str
    language: str | None
    """None: it is detected."""
    position: int = 0
    """Where the audio begins: 0, or the position from which a stream resumes."""


@dataclass(frozen=True, slots=True)
class SpeechStarted(OfChannel):
    """An utterance begins."""

    at: int
    """Its first sample, pre-roll included."""


@dataclass(frozen=True, slots=True)
class SpeechStopped(OfChannel):
    """The speech of an utterance has ended; its last words may still follow."""

    at: int
    """End of the last window with speech."""


@dataclass(frozen=True, slots=True)
class Partial(OfChannel):
    """The words after the committed ones, as they are heard now. Replaces the previous partial; may be empty."""

    text: str
    start: int
    end: int
    words: tuple[Word, ...] = field(default=(), compare=False)
    """The words of ``text``, which may still change."""


@dataclass(frozen=True, slots=True)
class Committed(OfChannel):
    """Words that only ``Refined`` can replace. The previous partial is void; a new one follows if words are left after
    these.
    """

    words: tuple[Word, ...]
    kept_from: int
    """Audio before this sample will not be needed again. Never decreases in a stream."""
    live_from: int | None = None
    """Where the audio begins that a resumed stream decodes as live speech; earlier audio is only refined. Never
    decreases. None: the same as ``kept_from``."""
    no_speech_probability: float | None = None
    """The model's probability that nobody speaks in the audio of these words, of a file only."""

    @property
    def text(self) -> str:
        return "".join(word.text for word in self.words)


@dataclass(frozen=True, slots=True)
class Refined(OfChannel):
    """Words that replace committed ones, for a client that asked for them. Comes once for each paragraph."""

    start: int
    """Beginning of the paragraph's first utterance."""
    end: int
    """End of its last utterance."""
    words: tuple[Word, ...]
    """In place of the replaced words; the same words if they stand."""
    replaces: int
    """How many committed words they replace: the first ones of the stream that were not replaced before."""
    decoded: bool
    """False: the paragraph waited too long, and its words stand."""
    kept_from: int
    live_from: int | None = None

    @property
    def text(self) -> str:
        return "".join(word.text for word in self.words)


@dataclass(frozen=True, slots=True)
class UtteranceEnded(OfChannel):
    """All words of the utterance ``[start, end)`` are committed."""

    start: int
    end: int
    kept_from: int
    live_from: int | None = None


@dataclass(frozen=True, slots=True)
class Flushed(OfChannel):
    """The answer to ``Flush``: everything before ``at`` is committed."""

    at: int
    kept_from: int
    live_from: int | None = None


@dataclass(frozen=True, slots=True)
class Gap(OfChannel):
    """Audio that could not be transcribed. ``reason`` is a code from docs/protocol.md."""

    start: int
    end: int
    reason: str
    kept_from: int
    live_from: int | None = None


@dataclass(frozen=True, slots=True)
class Progress(OfChannel):
    """How far the session is. Comes once per second of audio, also while nobody speaks."""

    received: int
    settled: int
    """Everything before this sample is committed, silent or part of a gap."""
    kept_from: int
    live_from: int | None = None
    heard: int | None = None
    """Everything before this sample is silent, or was decoded at least once. None: the same as ``settled``."""


@dataclass(frozen=True, slots=True)
class Draining:
    """This worker is shutting down. The words that it is decoding follow, then the connection closes. The server makes
    this event, not the core.
    """


@dataclass(frozen=True, slots=True)
class Done:
    """The last event: totals of this session."""

    received: int
    """Samples received."""
    speech: int
    """Samples inside utterances."""
    words: int
    utterances: int
    gaps: int
    """Samples in gaps."""


Event = (
    Ready
    | SpeechStarted
    | SpeechStopped
    | Partial
    | Committed
    | Refined
    | UtteranceEnded
    | Flushed
    | Gap
    | Progress
    | Draining
    | Done
)
