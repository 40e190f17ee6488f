"""One stream's state: audio, speech probabilities and hypotheses in; events and decode requests out.

The stream is a row of utterances. Each goes through these states:

    SPEAKING  the gate is open; the tail is decoded every step, words are committed when they are certain
    PAUSED    silence for ``PAUSE_S``: one careful decode now, so that nothing is left to do when the utterance ends
    ENDED     the gate has closed (or the client flushed); what is left is committed by one final hypothesis

An utterance is decoded in a short window that slides: when more than ``window_words`` of it are committed, it moves
forward so that the last ``anchor_words`` stay, as forced prefix and acoustic context of what follows.

At most one decode is in flight, and a request always takes the newest audio, so load makes partials rarer and never
makes a queue. A result whose request is no longer wanted is dropped by its id.

One class although it is long: each rule here reads and moves the same utterance. What needs nothing of it stands alone:
the gate, the commit policy, the evidence, the timeline.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.core.commands import Start
from whisperlivekit.core.commit import UNSURE, CommitPolicy
from whisperlivekit.core.events import (
    Committed,
    Done,
    Event,
    Flushed,
    Gap,
    Partial,
    Progress,
    SpeechStarted,
    SpeechStopped,
    UtteranceEnded,
)
from whisperlivekit.core.evidence import count_spoken, is_speech
from whisperlivekit.core.gate import Closed, Gate, GateState, Opened
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, Word, bare
from whisperlivekit.core.timeline import Timeline
from whisperlivekit.core.units import SAMPLE_RATE, to_samples

PAUSE_S = 0.25
"""Silence after which the tail is decoded as if the utterance had ended: shorter than the hangover, longer than most
closures inside words."""

MAX_CONTEXT_S = 4.0
"""The longest audio of the utterance before that is heard again."""

UNHEARD_S = 0.8
"""Audio after the last known word, post-roll included, that is long enough for another word."""

ADVANCE = to_samples(0.2)
"""The least by which a window moves to the last word of a decoder that stopped early: each time costs a decode."""

MILLISECOND = to_samples(0.001)

MAX_ATTEMPTS = 2
"""Decodes of one final window before its audio is given up as a gap."""


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """How a session decodes and commits."""

    step_s: float = 0.6
    """New audio, in seconds, before the tail is decoded again."""
    first_step_s: float = 0.9
    """Audio of an utterance, pre-roll included, before it is decoded for the first time."""
    frame_threshold: int = 25
    """See ``CommitPolicy``."""
    speech_threshold: float = 0.5
    min_silence_s: float = 0.5
    """Silence that ends an utterance."""
    language: str | None = "ru"
    """None: detect it for each stream."""
    prompt: str = ""
    context_words: int = 3
    """Words of the utterance before that are heard again in front of a new one."""
    context_s: float = 10.0
    """The longest pause after which they still are."""
    window_words: int = 10
    anchor_words: int = 6
    max_window_s: float = 15.0
    """The longest audio of one decode."""


NO_AUDIO: NDArray[np.float32] = np.zeros(0, np.float32)


class UtteranceState(Enum):
    SPEAKING = auto()
    PAUSED = auto()
    ENDED = auto()


@dataclass(frozen=True, slots=True)
class Context:
    """The end of an utterance, kept for the next one: a voice and a language that the decoder already knows."""

    samples: NDArray[np.float32]
    text: str
    end: int


@dataclass(slots=True)
class Utterance:
    """One stretch of speech: ``window_start`` moves through it as words are committed."""

    start: int
    window_start: int
    state: UtteranceState = UtteranceState.SPEAKING
    end: int = 0
    """Where its audio ends; known once it is ENDED."""
    speech_end: int = 0
    """Where its last speech window ended; known once it is ENDED."""
    anchors: list[Word] = field(default_factory=list)
    """The committed words of the window."""
    context: "Context | None" = None
    fresh: bool = False
    """It was decoded once more without context and prefix: not a second time."""
    tail: tuple[Word, ...] = ()
    """The last hypothesis's words that are not committed."""
    decoded_to: int = 0
    """End of the audio that the last hypothesis heard."""
    settled: bool = False
    """The tail comes from a decode that heard the end of the speech: it needs no other."""

    @property
    def heard_to(self) -> int:
        """End of the last word known."""
        words = self.tail or self.anchors
        return words[-1].end if words else self.start


class Session:
    """The pure core of one stream: after each ``receive_*`` drain ``events()`` and ask ``next_decode()``."""

    def __init__(self, config: SessionConfig, start: Start) -> None:
        resume = start.resume
        position = resume.position if resume else 0
        self._config = config
        self._policy = CommitPolicy(config.frame_threshold)
        self._language = _language(start.language, config.language)
        self._prompt = config.prompt if start.prompt is None else start.prompt
        self._hotwords = start.hotwords
        self._realtime = start.realtime
        self._step = to_samples(config.step_s)
        self._pause = to_samples(PAUSE_S)
        self._unheard = to_samples(UNHEARD_S)
        self._longest = to_samples(config.max_window_s)
        self._timeline = Timeline(position)
        self._gate = Gate(config.speech_threshold, config.min_silence_s, position)
        self._utterances: deque[Utterance] = deque()
        self._events: list[Event] = []
        self._flushes: deque[int] = deque()
        self._request: DecodeRequest | None = None
        self._requests = 0
        self._failures = 0
        self._origin = position
        self._stopped = False
        self.finished = False
        """``Done`` has been told."""
        self._speech = self._words = self._ended = self._gaps = 0
        self._context: Context | None = None
        self._committed_to = resume.words[-1].end if resume and resume.words else position
        """End of the last committed word."""
        self._kept_from = position
        self._progress_at = position
        if resume and resume.words:
            self._gate.open(position)
            self._open(position, anchors=list(resume.words))
            # Before the audio of those words has come again there is nothing new to hear.
            self._utterances[0].decoded_to = max(self._utterances[0].decoded_to, self._committed_to)

    # ---- inputs

    def receive_audio(self, samples: NDArray[np.float32]) -> None:
        """The next samples, float32[n] mono 16 kHz. Their speech probabilities follow by ``receive_speech``."""
        self._timeline.append(samples)

    def receive_speech(self, probabilities: NDArray[np.float32]) -> None:
        """The speech probabilities of the next 512-sample windows of the audio received."""
        for probability in probabilities.tolist():
            match self._gate.receive_speech(probability):
                case Opened(earliest):
                    # The window before may have moved into the silence after its utterance.
                    at = max(earliest, self._utterances[-1].end if self._utterances else self._kept_from)
                    self._events.append(SpeechStarted(at))
                    self._open(at)
                case Closed(at, end):
                    self._events.append(SpeechStopped(at))
                    self._end(end, speech_end=at)
                case None:
                    self._follow_pause()
        self._settle()

    def receive_hypothesis(self, hypothesis: Hypothesis) -> None:
        """The answer to a decode request; one that is not awaited is ignored."""
        request = self._request
        if request is None or hypothesis.request_id != request.id:
            return
        self._request = None
        self._failures = 0
        if self._language is None:
            self._language = hypothesis.language
        utterance = self._utterances[0]
        audio_end = request.start + len(request.samples)
        utterance.decoded_to = audio_end
        floor = min(max(self._committed_to, request.start), audio_end)
        spoken = count_spoken(_known(utterance), hypothesis.words, final=request.final)
        utterance.tail = _in_order(hypothesis.words[:spoken], floor, audio_end)
        if not utterance.anchors and not is_speech(utterance.tail, hypothesis.no_speech_probability):
            utterance.tail = ()
        elif not utterance.tail and self._start_afresh(utterance, request, invented=spoken < len(hypothesis.words)):
            return
        utterance.settled = self._covers_end(utterance, request)
        if utterance.settled and self._goes_on(utterance, audio_end):
            self._settle()
            return
        if not (utterance.settled and utterance.state is UtteranceState.ENDED):
            self._commit(utterance, self._policy.committable(utterance.tail, audio_end))
            self._show_partial(utterance)
            self._slide(utterance, audio_end)
        self._settle()

    def receive_failure(self, request_id: int) -> None:
        """The decode failed. A tail is tried again with newer audio; what must be decoded now is tried once more, then
        its last known words are committed and the rest of its audio becomes a gap.
        """
        request = self._request
        if request is None or request_id != request.id:
            return
        self._request = None
        utterance = self._utterances[0]
        audio_end = request.start + len(request.samples)
        if utterance.state is not UtteranceState.ENDED and len(request.samples) < self._longest:
            utterance.decoded_to = audio_end
            return
        self._failures += 1
        if self._failures < MAX_ATTEMPTS:
            return
        self._failures = 0
        lost_from = max(utterance.window_start, utterance.heard_to)
        self._commit(utterance, len(utterance.tail))
        utterance.anchors = []
        utterance.window_start = utterance.decoded_to = audio_end
        utterance.context = None
        self._advance(audio_end)
        if lost_from < audio_end:
            self._gaps += audio_end - lost_from
            self._events.append(Gap(lost_from, audio_end, "decode_failed", self._kept_from))
        if utterance.state is UtteranceState.ENDED and audio_end >= utterance.end:
            utterance.settled = True
        self._settle()

    def receive_flush(self) -> None:
        """End the current utterance here; ``Flushed`` follows when all before it is committed."""
        self._close_here()
        self._flushes.append(self._timeline.end)
        self._settle()

    def receive_stop(self) -> None:
        """No more audio: end as with a flush, then ``Done``."""
        self._close_here()
        self._stopped = True
        self._settle()

    # ---- outputs

    def events(self) -> list[Event]:
        """Everything that happened since the last call."""
        events, self._events = self._events, []
        return events

    @property
    def received(self) -> int:
        """End of the audio received."""
        return self._timeline.end

    @property
    def language(self) -> str | None:
        """As asked or, once something was heard, as detected."""
        return self._language

    @property
    def waiting(self) -> int:
        """Samples of speech received that no decode has taken yet: the measure for back-pressure."""
        if not self._utterances:
            return 0
        taken = self._request.start + len(self._request.samples) if self._request else 0
        head = self._utterances[0]
        return self._timeline.end - max(head.window_start, head.decoded_to, taken)

    def next_decode(self) -> DecodeRequest | None:
        """The decode that is due, if any; its answer comes by ``receive_hypothesis`` or ``receive_failure``."""
        if self._request is not None or not self._utterances:
            return None
        utterance = self._utterances[0]
        if utterance.window_start == utterance.start and not (
            utterance.context or utterance.anchors or utterance.fresh
        ):
            context = self._context
            if context and utterance.start - context.end <= to_samples(self._config.context_s):
                utterance.context = context
        ended = utterance.state is UtteranceState.ENDED
        available = utterance.end if ended else self._timeline.end
        audio_end = min(available, utterance.window_start + self._longest)
        whole = audio_end == available
        if whole and not ended and not self._due(utterance, audio_end):
            return None
        self._requests += 1
        self._request = DecodeRequest(
            id=self._requests,
            samples=self._timeline.slice(utterance.window_start, audio_end),
            start=utterance.window_start,
            language=self._language,
            context=utterance.context.samples if utterance.context else NO_AUDIO,
            context_text=utterance.context.text if utterance.context else "",
            prefix="".join(word.text for word in utterance.anchors),
            prompt=self._prompt,
            hotwords=self._hotwords,
            final=whole and utterance.state is not UtteranceState.SPEAKING,
            realtime=self._realtime,
        )
        return self._request

    # ---- pacing

    def _due(self, utterance: Utterance, audio_end: int) -> bool:
        """While somebody speaks: a step of new audio has come. In a pause: no decode has heard the speech's end."""
        if utterance.state is UtteranceState.PAUSED:
            return utterance.decoded_to < self._gate.speech_end + self._pause
        return audio_end - utterance.decoded_to >= self._step

    def _covers_end(self, utterance: Utterance, request: DecodeRequest) -> bool:
        """The request heard the whole speech before the pause that the utterance is in, or has ended with."""
        audio_end = request.start + len(request.samples)
        match utterance.state:
            case UtteranceState.SPEAKING:
                return False
            case UtteranceState.PAUSED:
                return request.final and audio_end >= self._gate.speech_end + self._pause
            case UtteranceState.ENDED:
                heard = request.final and audio_end >= utterance.speech_end + self._pause
                return heard or audio_end >= utterance.end

    def _follow_pause(self) -> None:
        """SPEAKING <-> PAUSED by the gate's silence."""
        if self._gate.state is not GateState.OPEN:
            return
        utterance = self._utterances[-1]
        if self._gate.silence >= self._pause:
            utterance.state = UtteranceState.PAUSED
        elif utterance.state is UtteranceState.PAUSED:
            utterance.state = UtteranceState.SPEAKING
            utterance.settled = False

    # ---- utterances

    def _open(self, at: int, anchors: list[Word] | None = None) -> None:
        # The first step is longer: of a syllable or two the decoder makes a word that is not there.
        first = at + to_samples(self._config.first_step_s) - self._step
        utterance = Utterance(start=at, window_start=at, anchors=anchors or [], decoded_to=max(at, first))
        self._utterances.append(utterance)

    def _end(self, end: int, speech_end: int) -> None:
        utterance = self._utterances[-1]
        utterance.state = UtteranceState.ENDED
        utterance.end = max(end, utterance.window_start)
        utterance.settled = utterance.settled or utterance.end == utterance.window_start
        utterance.speech_end = speech_end

    def _close_here(self) -> None:
        if self._gate.state is not GateState.OPEN:
            return
        end = self._timeline.end
        paused = self._gate.silence >= self._pause
        self._events.append(SpeechStopped(self._gate.speech_end))
        self._end(end, speech_end=self._gate.speech_end if paused else end)
        self._gate.close(end)

    def _commit(self, utterance: Utterance, count: int) -> None:
        words, utterance.tail = utterance.tail[:count], utterance.tail[count:]
        if not words:
            return
        utterance.anchors.extend(words)
        self._words += len(words)
        self._committed_to = words[-1].end
        self._events.append(Committed(words, self._kept_from))

    def _show_partial(self, utterance: Utterance) -> None:
        tail = utterance.tail
        start = tail[0].start if tail else utterance.decoded_to
        end = tail[-1].end if tail else utterance.decoded_to
        self._events.append(Partial("".join(word.text for word in tail), start, end))

    def _slide(self, utterance: Utterance, audio_end: int) -> None:
        """Move the window forward when enough of it is committed, or when it is as long as a decode can be."""
        if len(utterance.anchors) > self._config.window_words:
            utterance.anchors = utterance.anchors[-self._config.anchor_words :]
            # A client, which is told milliseconds, cannot know on which side of the start a shorter word lies.
            while len(utterance.anchors) > 1 and utterance.anchors[0].end - utterance.anchors[0].start < MILLISECOND:
                del utterance.anchors[0]
            utterance.context = None
            # A client that resumes with nonsense may have put a word far beyond the audio.
            utterance.window_start = max(utterance.window_start, min(utterance.anchors[0].start, audio_end))
        if audio_end - utterance.window_start < self._longest:
            return
        # Nothing was certain for the length of a whole window: what the decoder gave is the best there will be.
        heard_to = utterance.heard_to
        self._commit(utterance, len(utterance.tail))
        stopped_early = utterance.window_start + ADVANCE <= heard_to < audio_end - self._unheard
        self._move_window(utterance, heard_to if stopped_early else audio_end)

    def _settle(self) -> None:
        """Finish what can be finished: ended utterances, flushes, the stream; then say how far we are."""
        while self._utterances:
            utterance = self._utterances[0]
            if utterance.state is not UtteranceState.ENDED or not utterance.settled:
                break
            if self._request is not None:
                self._request = None
            self._utterances.popleft()
            self._keep_context(utterance)
            self._policy.reset()
            self._advance(utterance.end)
            self._commit(utterance, len(utterance.tail))
            self._speech += utterance.end - utterance.start
            self._ended += 1
            self._events.append(UtteranceEnded(utterance.start, utterance.end, self._kept_from))
        self._advance(self._utterances[0].window_start if self._utterances else self._gate.kept_from)
        while self._flushes and not (self._utterances and self._utterances[0].start < self._flushes[0]):
            self._events.append(Flushed(self._flushes.popleft(), self._kept_from))
        if self.received - self._progress_at >= SAMPLE_RATE:
            self._progress_at = self.received
            self._events.append(Progress(self.received, self._settled_to(), self._kept_from))
        if self._stopped and not self._utterances and not self.finished:
            self.finished = True
            length = self.received - self._origin
            self._events.append(Done(length, self._speech, self._words, self._ended, self._gaps))

    def _start_afresh(self, utterance: Utterance, request: DecodeRequest, *, invented: bool) -> bool:
        """Whether a hypothesis without words is to be doubted: the decoder may have taken the end of the context or of
        the prefix for the end of all text, or may only repeat them. Then the same audio is decoded once more without.
        """
        unheard = request.start + len(request.samples) - utterance.heard_to
        if invented:
            # Each time needs new words to be doubted, so it comes to an end.
            utterance.fresh = False
            doubtful = utterance.context is not None or bool(utterance.anchors)
        elif request.final:
            doubtful = utterance.context is not None or (bool(utterance.anchors) and unheard > self._unheard)
        else:
            # Little audio is often too little for a word, context or not.
            doubtful = utterance.context is not None and unheard > 2 * self._unheard
        if utterance.fresh or not doubtful:
            return False
        utterance.fresh = True
        utterance.context = None
        utterance.decoded_to = utterance.start
        if utterance.anchors:
            utterance.window_start = max(utterance.window_start, utterance.anchors[-1].end)
            utterance.anchors = []
        return True

    def _goes_on(self, utterance: Utterance, audio_end: int) -> bool:
        """Whether there is speech after the last word of a hypothesis that should be the last one. In a long window,
        as a client that catches up brings it, the decoder may take a pause for the end: then the rest is decoded alone.
        """
        speech_end = utterance.speech_end if utterance.state is UtteranceState.ENDED else self._gate.speech_end
        heard_to = utterance.heard_to
        unheard = min(speech_end, audio_end) - heard_to
        if not utterance.tail or unheard <= self._unheard or heard_to - utterance.window_start < ADVANCE:
            return False
        self._commit(utterance, len(utterance.tail))
        self._policy.reset()
        self._move_window(utterance, heard_to)
        utterance.decoded_to = utterance.window_start
        utterance.settled = False
        return True

    def _move_window(self, utterance: Utterance, to: int) -> None:
        """Forward, without anything that was heard before."""
        utterance.anchors = []
        utterance.context = None
        utterance.window_start = max(utterance.window_start, to)

    def _keep_context(self, utterance: Utterance) -> None:
        """Keep the end of a finished utterance, if it is known well enough to be a help, for the next one."""
        earliest = max(self._timeline.start, utterance.end - to_samples(MAX_CONTEXT_S))
        known = [word for word in (*utterance.anchors, *utterance.tail) if word.start >= earliest]
        words = known[max(0, len(known) - self._config.context_words) :]
        self._context = None
        start = words[0].start if words else utterance.end
        if len({bare(word.text) for word in words}) < len(words):
            # Who hears one word again and again goes on with it.
            return
        if start < utterance.end and min(word.probability for word in words) >= UNSURE:
            samples = self._timeline.slice(start, utterance.end)
            self._context = Context(samples, "".join(word.text for word in words), utterance.end)

    def _settled_to(self) -> int:
        if not self._utterances:
            return self.received
        head = self._utterances[0]
        return max(head.window_start, head.anchors[-1].end if head.anchors else 0)

    def _advance(self, kept_from: int) -> None:
        self._kept_from = max(self._kept_from, kept_from)
        self._timeline.drop_before(self._kept_from)


def _known(utterance: Utterance) -> list[str]:
    """The words that the decoder is given for an utterance, bare."""
    context = utterance.context.text.split() if utterance.context else []
    return [bare(text) for text in (*context, *(word.text for word in utterance.anchors))]


def _in_order(words: tuple[Word, ...], start: int, end: int) -> tuple[Word, ...]:
    """``words`` with times that do not run backwards and lie in ``[start, end]``: alignment may do neither.

    No word is empty where there is room: one that is would be neither before nor after a position of its own.
    """
    ordered = []
    for word in words:
        start = min(max(word.start, start), end)
        ordered.append(replace(word, start=start, end=min(max(word.end, start + 1), end)))
    return tuple(ordered)


def _language(asked: str | None, default: str | None) -> str | None:
    """None means: detect."""
    if asked is None:
        return default
    return None if asked == "auto" else asked
