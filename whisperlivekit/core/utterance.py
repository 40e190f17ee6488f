"""One utterance: hypotheses in; committed words, partials and the next window to decode out.

The rules:

- An utterance is decoded in a window that slides. Its words are the prefix (committed words of the window, which the
  decoder is given as forced text) and the tail (words of the last hypothesis that are not committed yet).
- While somebody speaks, the tail is decoded again after every step of new audio. In a pause it is decoded once more, as
  carefully as at the end, so that nothing is left to do when the utterance ends.
- When more than ``window_words`` words of the window are committed, the window moves forward and keeps the last
  ``prefix_words`` of them. A window that is full moves on even if nothing in it was certain.
- An utterance is complete when it has ended and a hypothesis has covered all of its speech.
- A stream commits by words or by utterance. By utterance, nothing is committed until the utterance is complete, so that
  its last decode decides on every word. Only a window longer than ``LONG_S`` commits its certain words and moves on.
  They are held, as part of the partial, until the utterance is complete; after ``MAX_HELD_S`` they are told at once.
- The words of a translation come in another order than what was said, so a window cannot be divided after one of them.
  A window longer than ``LONG_S`` is committed as a whole in the next pause, and the next one begins there.

``Phase`` holds how far it is. Columns are the inputs (``PhaseInput``), "-" is illegal and raises ``IllegalTransition``:

              SPEECH     SILENCE    COVERED    UNCOVERED  END        END_EMPTY  GIVEN_UP
    SPEAKING  SPEAKING   PAUSED     -          SPEAKING   ENDED      COMPLETE   -
    PAUSED    SPEAKING   PAUSED     HEARD      PAUSED     ENDED      COMPLETE   -
    HEARD     SPEAKING   HEARD      HEARD      PAUSED     COMPLETE   COMPLETE   -
    ENDED     -          -          COMPLETE   ENDED      -          -          COMPLETE
    COMPLETE  -          -          -          -          -          -          -

``Retry`` holds whether the same audio was decoded a second time without context and prefix, because the hypothesis had
no words and they may have misled the decoder:

              EMPTY      INVENTED   UNAIDED
    UNUSED    USED       USED       UNUSED
    USED      -          USED       UNUSED

An utterance does no timing and holds no audio: the session gives it positions and slices the audio of its windows.

One module although it is long: a third of it is the tables, and the rest is what their inputs do to the same window.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TypeVar

from whisperlivekit.core.commit import CommitPolicy
from whisperlivekit.core.events import Partial
from whisperlivekit.core.evidence import count_spoken, is_speech
from whisperlivekit.core.gate import POST_ROLL_S
from whisperlivekit.core.history import Context
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, Word, normalize
from whisperlivekit.core.units import to_samples

PAUSE_S = 0.25
"""Silence after which the tail is decoded as if the utterance had ended. It is shorter than the silence that ends an
utterance, and longer than most closures of the lips inside a word."""

UNHEARD_S = 0.8
"""Audio after the last known word, post-roll included, that is long enough to hold another word."""

ADVANCE = to_samples(0.2)
"""The least number of samples by which a window moves forward to the last word of a decoder that stopped early. Each
such move costs a decode."""

MILLISECOND = to_samples(0.001)

LONG_S = 8.0
"""A window that is decoded as a whole at the end of its utterance is not longer: the last decode would take too long.
Measured with base int8 on one core of a busy machine: 0.6 s for a window of 8 s, 1.1 s for 15 s."""

MAX_HELD_S = 60.0
"""Audio whose words are held: it bounds what a client that commits by utterance keeps, and sends again after an outage.
Not tuned: four of the longest windows."""


class Phase(Enum):
    SPEAKING = auto()
    """The gate is open and somebody speaks."""
    PAUSED = auto()
    """The gate is open, but there has been silence for ``PAUSE_S``."""
    HEARD = auto()
    """Paused, and the last hypothesis covered all speech before the pause: no other decode is needed."""
    ENDED = auto()
    """The gate has closed, or the client has flushed: one final hypothesis is missing."""
    COMPLETE = auto()
    """Ended, and nothing is left to decode."""


class PhaseInput(Enum):
    SPEECH = auto()
    """The gate is open, and the silence is shorter than ``PAUSE_S``."""
    SILENCE = auto()
    """The gate is open, and the silence is at least ``PAUSE_S``."""
    COVERED = auto()
    """A hypothesis that covers all speech up to the pause or the end."""
    UNCOVERED = auto()
    """A hypothesis after which more has to be decoded."""
    END = auto()
    """The utterance ends."""
    END_EMPTY = auto()
    """The utterance ends where its window begins: there is no audio to decode."""
    GIVEN_UP = auto()
    """The decoder failed on the audio up to the utterance's end: it becomes a gap."""


class Retry(Enum):
    UNUSED = auto()
    """A hypothesis without words may be due to the context or the prefix."""
    USED = auto()
    """The audio was decoded again without them: the next hypothesis without words is accepted."""


class RetryInput(Enum):
    EMPTY = auto()
    """No words, although a context or prefix was given and there is room for a word."""
    INVENTED = auto()
    """Words, all of them invented, and a context or prefix was given that may have led to them."""
    UNAIDED = auto()
    """Words, all of them invented, without context or prefix."""


class IllegalTransition(RuntimeError):
    """A fault in this program: an input that cannot come in this state."""


PHASES: Mapping[Phase, Mapping[PhaseInput, Phase]] = {
    Phase.SPEAKING: {
        PhaseInput.SPEECH: Phase.SPEAKING,
        PhaseInput.SILENCE: Phase.PAUSED,
        PhaseInput.UNCOVERED: Phase.SPEAKING,
        PhaseInput.END: Phase.ENDED,
        PhaseInput.END_EMPTY: Phase.COMPLETE,
    },
    Phase.PAUSED: {
        PhaseInput.SPEECH: Phase.SPEAKING,
        PhaseInput.SILENCE: Phase.PAUSED,
        PhaseInput.COVERED: Phase.HEARD,
        PhaseInput.UNCOVERED: Phase.PAUSED,
        PhaseInput.END: Phase.ENDED,
        PhaseInput.END_EMPTY: Phase.COMPLETE,
    },
    Phase.HEARD: {
        PhaseInput.SPEECH: Phase.SPEAKING,
        PhaseInput.SILENCE: Phase.HEARD,
        PhaseInput.COVERED: Phase.HEARD,
        PhaseInput.UNCOVERED: Phase.PAUSED,
        PhaseInput.END: Phase.COMPLETE,
        PhaseInput.END_EMPTY: Phase.COMPLETE,
    },
    Phase.ENDED: {
        PhaseInput.COVERED: Phase.COMPLETE,
        PhaseInput.UNCOVERED: Phase.ENDED,
        PhaseInput.GIVEN_UP: Phase.COMPLETE,
    },
    Phase.COMPLETE: {},
}

RETRIES: Mapping[Retry, Mapping[RetryInput, Retry]] = {
    Retry.UNUSED: {
        RetryInput.EMPTY: Retry.USED,
        RetryInput.INVENTED: Retry.USED,
        RetryInput.UNAIDED: Retry.UNUSED,
    },
    Retry.USED: {
        RetryInput.INVENTED: Retry.USED,
        RetryInput.UNAIDED: Retry.UNUSED,
    },
}

_State = TypeVar("_State", bound=Enum)
_Input = TypeVar("_Input", bound=Enum)


def _follow(table: Mapping[_State, Mapping[_Input, _State]], state: _State, received: _Input) -> _State:
    allowed = table[state]
    if received not in allowed:
        names = ", ".join(sorted(one.name for one in allowed)) or "nothing"
        raise IllegalTransition(f"found {received.name} in state {state.name}, expected {names}")
    return allowed[received]


@dataclass(frozen=True, slots=True)
class WindowRules:
    """How windows move through an utterance; lengths are samples."""

    step: int
    """New audio before the tail is decoded again."""
    first_step: int
    """Audio of an utterance before it is decoded for the first time."""
    longest: int
    """The longest audio of one decode."""
    window_words: int
    """Committed words of a window above which it moves forward."""
    prefix_words: int
    """Committed words that a window keeps when it moves forward."""
    by_utterance: bool = False
    """Tell the words of an utterance when it is complete, all at once."""
    whole: bool = False
    """Words have no times of their own, as those of a translation: a window is committed as a whole."""


@dataclass(frozen=True, slots=True)
class Passed:
    """Committed words with their audio ``[start, end)``, which no later window holds."""

    words: tuple[Word, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Window:
    """Audio that is due to be decoded."""

    start: int
    end: int
    final: bool
    """The utterance pauses or ends with it."""


Output = tuple[Word, ...] | Partial
"""Words that are committed, never empty, or the words after them."""


class Utterance:
    """One stretch of speech, from the gate's opening to its closing. All positions are samples of the stream."""

    def __init__(self, start: int, rules: WindowRules, policy: CommitPolicy, prefix: Sequence[Word] = ()) -> None:
        """policy: of the stream, which learns from all of its utterances. prefix: words that a resumed stream has."""
        self._rules = rules
        self._policy = policy
        self._pause = to_samples(PAUSE_S)
        self._unheard = to_samples(UNHEARD_S)
        self._retry = Retry.UNUSED
        self.phase = Phase.SPEAKING
        self.start = start
        self.end = 0
        """End of its audio, post-roll included; 0 until it has ended."""
        self.speech_end = start
        """End of its last speech window."""
        self.window_start = start
        """Beginning of the audio of the next decode."""
        self.decoded_to = max(start, start + rules.first_step - rules.step, prefix[-1].end if prefix else start)
        """End of the audio that counts as decoded. At first it is later than ``start``: the decoder turns a syllable or
        two into a word that was not said, and there is nothing new before the end of a resumed stream's prefix."""
        self.context: Context | None = None
        """Heard and read by the decoder in front of the window."""
        self.prefix = list(prefix)
        """The committed words of the window."""
        self.tail: tuple[Word, ...] = ()
        """The words of the last hypothesis that are not committed."""
        self._held: list[Word] = []
        """Committed words that the client was not told yet."""
        self.passed: list[Passed] = []
        """What the windows have left behind. The session takes it."""
        self._held_from = start
        """Beginning of the window in which the first of them was committed."""

    # ---- what it is

    @property
    def ended(self) -> bool:
        """Its end is known."""
        return self.phase in (Phase.ENDED, Phase.COMPLETE)

    @property
    def complete(self) -> bool:
        """Nothing is left to decode."""
        return self.phase is Phase.COMPLETE

    @property
    def paused(self) -> bool:
        """It has not ended, and nobody has spoken for ``PAUSE_S``."""
        return self.phase in (Phase.PAUSED, Phase.HEARD)

    @property
    def known_to(self) -> int:
        """End of the last word known."""
        words = self.tail or self.prefix
        return words[-1].end if words else self.start

    @property
    def kept_from(self) -> int:
        """Beginning of the audio that a client needs to continue the utterance on another connection."""
        return self._held_from if self._held else self.window_start

    @property
    def settled_to(self) -> int:
        """Everything before this position is committed and told."""
        return self._held_from if self._held else max(self.window_start, self.prefix[-1].end if self.prefix else 0)

    @property
    def takes_context(self) -> bool:
        """Text in front of the window would help. No: it has kept the decoder from the words of this utterance."""
        return self._retry is not Retry.USED

    @property
    def told_to(self) -> int:
        """All words before this position were told, and no other one follows there."""
        return max(self.start, min(self.settled_to, self.end - 1) if self.ended else self.settled_to)

    # ---- inputs

    def receive_window(self, silence: int, speech_end: int) -> None:
        """A window was judged and the gate is still open. ``silence``: samples since ``speech_end``."""
        self.speech_end = speech_end
        self._enter(PhaseInput.SILENCE if silence >= self._pause else PhaseInput.SPEECH)

    def receive_end(self, end: int, speech_end: int) -> None:
        """The utterance ends at ``end``; its speech at ``speech_end``."""
        self.end = max(end, self.window_start)
        self.speech_end = speech_end
        self._enter(PhaseInput.END_EMPTY if self.end == self.window_start else PhaseInput.END)

    def receive_hypothesis(
        self, request: DecodeRequest, hypothesis: Hypothesis, committed_to: int
    ) -> list[Output] | None:
        """The answer to ``request``; ``committed_to`` is the end of the last committed word of the stream.

        Returns what to tell the client, in order, or None if the same audio has to be decoded again first.
        """
        audio_end = request.start + len(request.samples)
        self.decoded_to = audio_end
        spoken = count_spoken(self._given(), hypothesis.words, final=request.final)
        latest = min(audio_end, self.end) if self.ended else audio_end
        if request.final:
            # Alignment may stretch the last word into the silence, which belongs to no utterance.
            latest = min(latest, self.speech_end + to_samples(POST_ROLL_S))
        earliest = max(committed_to, request.start, self.prefix[-1].end if self.prefix else 0)
        self.tail = _in_order(hypothesis.words[:spoken], min(earliest, latest), latest)
        if not self.prefix and not is_speech(self.tail, hypothesis.no_speech_probability):
            self.tail = ()
        elif not self.tail and self._decode_unaided(request, invented=spoken < len(hypothesis.words)):
            return None
        if self._covers(request):
            if self._stopped_early(audio_end):
                self._enter(PhaseInput.UNCOVERED)
                self._continue_after_tail()
                return self._tell()
            self._enter(PhaseInput.COVERED)
        else:
            self._enter(PhaseInput.UNCOVERED)
        if self.complete:
            return []
        self._commit(self._committable(audio_end))
        self._slide(audio_end)
        return self._tell()

    def receive_failure(self, request: DecodeRequest) -> bool:
        """The decode failed. True: new audio follows, and the next decode takes this audio too. False: the same audio
        has to be decoded again, or given up.
        """
        if self.ended or len(request.samples) >= self._rules.longest:
            return False
        self.decoded_to = request.start + len(request.samples)
        return True

    def give_up(self, audio_end: int) -> tuple[list[Output], int, int]:
        """The audio up to ``audio_end`` cannot be decoded: commit the words known of it.

        Returns what to tell the client, and the span of the lost audio, which is empty if it ends before it starts.
        """
        lost_from = max(self.window_start, self.known_to)
        # What lies after the utterance may belong to the next one.
        lost_to = min(audio_end, self.end) if self.ended else audio_end
        self._commit(len(self.tail))
        self._pass(len(self.prefix), lost_from)
        self.window_start = self.decoded_to = lost_to
        if self.ended and lost_to == self.end:
            self._enter(PhaseInput.GIVEN_UP)
        # Held words too: the client is told of the gap now, and words before it come before it.
        return self._release(), lost_from, lost_to

    def finish(self) -> list[Output]:
        """The words that are left of a complete utterance."""
        self._policy.reset()
        if self._rules.by_utterance:
            self._policy.learn(self.tail)
        self._commit(len(self.tail))
        self._pass(len(self.prefix), self.end)
        return self._release()

    # ---- windows

    def next_window(self, received: int) -> Window | None:
        """The window that is due, given audio up to ``received``; None if no decode is due."""
        available = self.end if self.ended else received
        end = min(available, self.window_start + self._rules.longest)
        whole = end == available
        if whole and not self.ended and not self._due(end):
            return None
        return Window(self.window_start, end, final=whole and self.phase is not Phase.SPEAKING)

    def _due(self, end: int) -> bool:
        """While somebody speaks: a step of new audio has arrived. In a pause: no decode has covered the speech."""
        if self.paused:
            return self.decoded_to < self.speech_end + self._pause
        return end - self.decoded_to >= self._rules.step

    def _covers(self, request: DecodeRequest) -> bool:
        """The request held all speech before the pause or the end; it may be the answer for an earlier pause."""
        end = request.start + len(request.samples)
        covers_speech = request.final and end >= self.speech_end + self._pause
        if self.ended:
            return covers_speech or end >= self.end
        return self.paused and covers_speech

    def _slide(self, audio_end: int) -> None:
        """Move the window forward when enough of it is committed, or when it is as long as a decode can be."""
        if len(self.prefix) > self._rules.window_words:
            first = len(self.prefix) - self._rules.prefix_words
            # A client that resumes knows times in milliseconds: it could not tell whether a shorter word lies before or
            # after the window's start.
            while first + 1 < len(self.prefix) and self.prefix[first].end - self.prefix[first].start < MILLISECOND:
                first += 1
            # A faulty client may have resumed with a word far beyond the audio.
            self._pass(first, min(self.prefix[first].start, audio_end))
        if not self._is_full(audio_end):
            return
        # Nothing was certain for the length of a whole window: more audio will not make these words any better.
        known_to = self.known_to
        self._commit(len(self.tail))
        stopped_early = self.window_start + ADVANCE <= known_to < audio_end - self._unheard
        self._move_window(known_to if stopped_early else audio_end)

    def _is_full(self, audio_end: int) -> bool:
        length = audio_end - self.window_start
        long_enough = self._rules.whole and self.phase is Phase.HEARD and length >= to_samples(LONG_S)
        return long_enough or length >= self._rules.longest

    def _stopped_early(self, audio_end: int) -> bool:
        """There is speech after the last word of a hypothesis that covers all speech.

        In a long window, as a client that catches up sends it, the decoder may take a pause for the end.
        """
        unheard = min(self.speech_end, audio_end) - self.known_to
        return bool(self.tail) and unheard > self._unheard and self.known_to - self.window_start >= ADVANCE

    def _continue_after_tail(self) -> None:
        """Commit the tail and decode what follows it in a window of its own."""
        known_to = self.known_to
        self._commit(len(self.tail))
        self._policy.reset()
        self._move_window(known_to)
        self.decoded_to = self.window_start

    def _move_window(self, to: int) -> None:
        """Forward, behind all words of the window."""
        self._pass(len(self.prefix), to)

    def _pass(self, count: int, to: int) -> None:
        """The window begins at ``to`` now, without the first ``count`` words of the prefix."""
        words, self.prefix = tuple(self.prefix[:count]), self.prefix[count:]
        if words and to > self.window_start:
            self.passed.append(Passed(words, self.window_start, to))
        self.window_start = max(self.window_start, to)

    # ---- words

    def _given(self) -> list[str]:
        """The words that the decoder is given, without case and punctuation."""
        context = self.context.text.split() if self.context else []
        return [normalize(text) for text in (*context, *(word.text for word in self.prefix))]

    def _committable(self, audio_end: int) -> int:
        if self._rules.whole or (self._rules.by_utterance and audio_end - self.window_start < to_samples(LONG_S)):
            return 0
        return self._policy.committable(self.tail, audio_end)

    def _commit(self, count: int) -> None:
        words, self.tail = self.tail[:count], self.tail[count:]
        self.prefix.extend(words)
        if not self._held:
            self._held_from = self.window_start
        self._held.extend(words)

    def _tell(self) -> list[Output]:
        overdue = self.window_start - self._held_from >= to_samples(MAX_HELD_S)
        released = self._release() if overdue or not self._rules.by_utterance else []
        words = [*self._held, *self.tail]
        start, end = (words[0].start, words[-1].end) if words else (self.decoded_to, self.decoded_to)
        return [*released, Partial("".join(word.text for word in words), start, end, tuple(words))]

    def _release(self) -> list[Output]:
        words, self._held = tuple(self._held), []
        return [words] if words else []

    def _decode_unaided(self, request: DecodeRequest, *, invented: bool) -> bool:
        """Whether to decode the same audio once more without context and prefix, after a hypothesis without words.

        The decoder may have taken the end of the given text for the end of all text, or may only repeat that text.
        """
        audio_end = request.start + len(request.samples)
        available = min(audio_end, self.end) if self.ended else audio_end
        if self.prefix and self.prefix[-1].end >= available:
            # A resumed stream may end before the audio of its words has arrived again: nothing is left to decode alone.
            return False
        given = self.context is not None or bool(self.prefix)
        if invented:
            cause = RetryInput.INVENTED if given else RetryInput.UNAIDED
        elif self._retry is Retry.UNUSED and self._has_room(request.final, audio_end - self.known_to):
            cause = RetryInput.EMPTY
        else:
            return False
        self._retry = _follow(RETRIES, self._retry, cause)
        if cause is RetryInput.UNAIDED:
            return False
        self.context = None
        self.decoded_to = self.start
        if self.prefix:
            self._move_window(self.prefix[-1].end)
        return True

    def _has_room(self, final: bool, unheard: int) -> bool:
        """Whether the given text may have kept the decoder from words that were said in ``unheard`` samples."""
        if final:
            return self.context is not None or (bool(self.prefix) and unheard > self._unheard)
        # A short piece of audio often holds no word, with or without context.
        return self.context is not None and unheard > 2 * self._unheard

    def _enter(self, received: PhaseInput) -> None:
        self.phase = _follow(PHASES, self.phase, received)


def _in_order(words: tuple[Word, ...], start: int, end: int) -> tuple[Word, ...]:
    """``words`` with times that never decrease and lie in ``[start, end]``: alignment guarantees neither.

    No word is empty where there is room: an empty word would be neither before nor after its own position.
    """
    ordered = []
    for word in words:
        start = min(max(word.start, start), end)
        ordered.append(replace(word, start=start, end=min(max(word.end, start + 1), end)))
    return tuple(ordered)
