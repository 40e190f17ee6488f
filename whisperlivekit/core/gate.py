"""Speech probabilities in, speech starts and stops out."""

from dataclasses import dataclass
from enum import Enum, auto

from whisperlivekit.core.units import WINDOW, to_samples

OPEN_WINDOWS = 3
"""Windows of speech, within ``OPEN_SPAN``, that open the gate: about 0.1 s, shorter than any Russian word."""

OPEN_SPAN = 5

HYSTERESIS = 0.15
"""How far below the opening threshold a window still counts as speech once the gate is open. Source: Silero VAD."""

POST_ROLL_S = 0.3
"""Audio after the last speech window that belongs to the utterance: final voiceless consonants score low too."""

PRE_ROLL_S = 0.3
"""Audio before the first speech window that belongs to the utterance: soft first consonants score too low."""


class GateState(Enum):
    CLOSED = auto()
    OPEN = auto()


@dataclass(frozen=True, slots=True)
class Opened:
    at: int
    """Where the utterance begins, pre-roll included."""


@dataclass(frozen=True, slots=True)
class Closed:
    at: int
    """The end of the last speech window."""
    end: int
    """Where the utterance ends, post-roll included; the next one begins no earlier."""


class Gate:
    """Speech start and stop with hysteresis, hangover and pre-roll.

    CLOSED -> OPEN when ``OPEN_WINDOWS`` of the last ``OPEN_SPAN`` windows reach the threshold.
    OPEN -> CLOSED when no window has reached the lower threshold for the hangover.
    """

    def __init__(self, threshold: float, hangover_s: float, start: int = 0) -> None:
        self._threshold = threshold
        self._hangover = to_samples(hangover_s)
        self._pre_roll = to_samples(PRE_ROLL_S)
        self._recent: list[bool] = []
        self._earliest = start
        self.state = GateState.CLOSED
        self.position = start
        """End of the last window judged."""
        self.speech_end = start
        """End of the last speech window."""

    @property
    def silence(self) -> int:
        """Samples since the last speech window."""
        return self.position - self.speech_end

    @property
    def kept_from(self) -> int:
        """The earliest sample at which an utterance can still open."""
        waiting = OPEN_SPAN * WINDOW
        return max(self._earliest, self.position - waiting - self._pre_roll)

    def open(self, at: int) -> None:
        """Open by order, at ``at``: a resumed stream goes on inside an utterance."""
        self.state = GateState.OPEN
        self.speech_end = max(self.speech_end, at)

    def close(self, at: int) -> None:
        """Close by order; the next utterance begins no earlier than ``at``."""
        self.state = GateState.CLOSED
        self._recent.clear()
        self._earliest = at

    def receive_speech(self, probability: float) -> Opened | Closed | None:
        """Judge the next 512-sample window."""
        window_start = self.position
        self.position += WINDOW
        if self.state is GateState.OPEN:
            if probability >= self._threshold - HYSTERESIS:
                self.speech_end = self.position
            elif self.silence >= self._hangover:
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
