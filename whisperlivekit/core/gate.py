"""The speech gate: speech probabilities in, starts and ends of utterances out."""

from dataclasses import dataclass
from enum import Enum, auto

from whisperlivekit.core.units import WINDOW, to_samples

OPEN_WINDOWS = 3
"""Windows with speech, among the last ``OPEN_SPAN``, that open the gate: about 0.1 s, shorter than any Russian word."""

OPEN_SPAN = 5
"""Windows that are looked at to open the gate: a short dip inside the first syllable does not keep it closed."""

HYSTERESIS = 0.15
"""How far below the opening threshold a window still counts as speech once the gate is open. Source: Silero VAD."""

POST_ROLL_S = 0.3
"""Seconds of audio after the last speech window that belong to the utterance: voiceless consonants at the end of a word
get low probabilities."""

PRE_ROLL_S = 0.3
"""Seconds of audio before the first speech window that belong to the utterance: soft consonants at the beginning of a
word get low probabilities."""


class GateState(Enum):
    CLOSED = auto()
    OPEN = auto()


@dataclass(frozen=True, slots=True)
class Opened:
    """An utterance begins."""

    at: int
    """Its first sample, pre-roll included."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The utterance ends."""

    at: int
    """End of its last speech window."""
    end: int
    """End of its audio, post-roll included. The next utterance begins no earlier."""


class Gate:
    """Finds the start and end of speech with hysteresis, hangover and pre-roll.

    CLOSED -> OPEN when ``OPEN_WINDOWS`` of the last ``OPEN_SPAN`` windows reach the threshold.
    OPEN -> CLOSED when for the length of the hangover no window has reached the lower threshold.
    """

    def __init__(self, threshold: float, hangover_s: float, start: int = 0) -> None:
        """threshold: speech probability of a window. hangover_s: silence that ends an utterance. start: the position of
        the first window.
        """
        self._threshold = threshold
        self.hangover = to_samples(hangover_s)
        """Samples of silence that end an utterance."""
        self._pre_roll = to_samples(PRE_ROLL_S)
        self._recent: list[bool] = []
        self._earliest = start
        self.state = GateState.CLOSED
        self.position = start
        """End of the last window received."""
        self.speech_end = start
        """End of the last speech window."""

    @property
    def silence(self) -> int:
        """Samples since the end of the last speech window."""
        return self.position - self.speech_end

    @property
    def quiet(self) -> bool:
        """Nobody speaks, and nothing looks like the beginning of speech."""
        return self.state is GateState.CLOSED and not any(self._recent)

    @property
    def kept_from(self) -> int:
        """The earliest sample at which an utterance can still open."""
        waiting = OPEN_SPAN * WINDOW
        return max(self._earliest, self.position - waiting - self._pre_roll)

    def open(self, at: int) -> None:
        """Open the gate at ``at``: a resumed stream continues inside an utterance."""
        self.state = GateState.OPEN
        self.speech_end = max(self.speech_end, at)

    def close(self, at: int) -> None:
        """Close the gate: the client flushed. The next utterance begins no earlier than ``at``."""
        self.state = GateState.CLOSED
        self._recent.clear()
        self._earliest = at

    def receive_speech(self, probability: float) -> Opened | Closed | None:
        """The speech probability of the next 512-sample window. Returns the change that it makes, if any."""
        window_start = self.position
        self.position += WINDOW
        if self.state is GateState.OPEN:
            if probability >= self._threshold - HYSTERESIS:
                self.speech_end = self.position
            elif self.silence >= self.hangover:
                end = min(self.position, self.speech_end + to_samples(POST_ROLL_S))
                self.close(end)
                return Closed(self.speech_end, end)
            return None
        self._recent = [*self._recent[1 - OPEN_SPAN :], probability >= self._threshold]
        if sum(self._recent) < OPEN_WINDOWS:
            return None
        first = window_start - WINDOW * (len(self._recent) - 1 - self._recent.index(True))
        self.state = GateState.OPEN
        self.speech_end = self.position
        self._recent.clear()
        return Opened(max(self._earliest, first - self._pre_roll))
