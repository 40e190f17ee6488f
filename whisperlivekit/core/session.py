"""One stream's state: audio, speech probabilities and hypotheses in; events and decode requests out.

The rules:

- The gate cuts the stream into utterances. ``core/utterance.py`` moves one of them through its states. The session
  keeps the audio, the utterances in order, and what the client is told.
- At most one decode is in flight: for the first utterance that is not complete. A request always takes the newest
  audio, also while it waits for its turn, so under load partial results come less often and no queue grows. The answer
  to a request that is no longer wanted is recognised by its id and ignored.
- Utterances finish in order. A flush is answered when every utterance before it is finished; ``Done`` comes after the
  last one.
- ``kept_from`` never decreases. Audio before it is dropped here, and the client may drop it too.
- If the client asks for it, ``core/refine.py`` decides committed words once more. At most one such decode is in flight
  beside the live one. ``kept_from`` then waits for it; ``live_from`` is where the live audio begins.

Long because it is the one place that knows the order of all events: utterances, flushes, refinement and progress tell
the client in turn, and every event carries ``kept_from``.
"""

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.core.commands import Configure, Start
from whisperlivekit.core.commit import CommitPolicy
from whisperlivekit.core.events import (
    Committed,
    Done,
    Event,
    Flushed,
    Gap,
    Partial,
    Progress,
    Refined,
    SpeechStarted,
    SpeechStopped,
    UtteranceEnded,
)
from whisperlivekit.core.gate import Closed, Gate, GateState, Opened
from whisperlivekit.core.history import History
from whisperlivekit.core.hypothesis import NO_AUDIO, DecodeRequest, Hypothesis, Task
from whisperlivekit.core.refine import Refinement
from whisperlivekit.core.timeline import Timeline
from whisperlivekit.core.units import SAMPLE_RATE, WINDOW, to_samples
from whisperlivekit.core.utterance import Output, Utterance, WindowRules

UTTERANCE_STEP = 2
"""Factor on ``step_s`` where a stream commits by utterance. Nobody reads along, and a decode that is in flight when the
speaker pauses delays the last one. Measured with base on telephone prompts, on a busy machine: 1.1 s (95 %) from the
last word to the text, and 1.4 s without this factor."""

LATE_S = 0.6
"""Audio that arrives during a decode from which on decodes count as late: the usual step. A window with the longest
memory takes about 0.4 s on a CPU, so more means that other streams are waiting too."""

RENEW_S = 0.1
"""New audio from which on a decode that waits for its turn takes it too: the usual length of a message."""

MAX_ATTEMPTS = 2
"""Decodes of the same audio before it is given up as a gap."""


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
    """Speech probability of a window from which on it counts as speech. See ``Gate``."""
    min_silence_s: float = 0.5
    """Silence that ends an utterance."""
    language: str | None = "ru"
    """ISO 639-1 code. None: detect it in each stream."""
    prompt: str = ""
    memory_s: float = 12.0
    """The longest audio before a window that the decoder hears and reads again, in unclear speech. See ``History``."""
    short_memory_s: float = 3.0
    """The same in clear speech, where a longer memory only costs time, and where decodes are late; then only at the
    beginning of an utterance."""
    window_words: int = 10
    """Committed words of a decode's window above which the window moves forward."""
    prefix_words: int = 6
    """Committed words that the window keeps when it moves forward."""
    max_window_s: float = 15.0
    """The longest audio of one decode."""


class Session:
    """The pure core of one stream: after each ``receive_*`` take ``events()`` and ask ``next_decode()``."""

    def __init__(self, config: SessionConfig, start: Start) -> None:
        resume = start.resume
        position = resume.position if resume else 0
        live_from = max(position, resume.live_from or 0) if resume else 0
        self._rules = WindowRules(
            step=to_samples(config.step_s * (UTTERANCE_STEP if start.by_utterance else 1)),
            first_step=to_samples(config.first_step_s),
            longest=to_samples(config.max_window_s),
            window_words=config.window_words,
            prefix_words=config.prefix_words,
            by_utterance=start.by_utterance,
            whole=start.translates,
        )
        self._policy = CommitPolicy(config.frame_threshold)
        self._config = config
        self._task: Task = start.task
        self._choose(start)
        self._realtime = start.realtime
        self._timeline = Timeline(position)
        self._gate = Gate(config.speech_threshold, self._silence_s(start), position)
        self._utterances: deque[Utterance] = deque()
        """In order; the first one is decoded, the last one may still be open."""
        self._open: Utterance | None = None
        """The last one, while it is open. None although the gate is open: nobody has spoken after ``live_from``."""
        self._opened_at = position
        """Where the gate has opened last."""
        self._spoken_to = position
        """End of the last utterance that has ended: the next one begins no earlier."""
        self._refinement: Refinement | None = None
        # The audio of a translation's words is not known, so it cannot be heard again with them.
        memory = (0.0, 0.0) if start.translates else (config.memory_s, config.short_memory_s)
        self._history = History(*memory)
        self._late = False
        """More than LATE_S of audio arrived during the last decode."""
        self._events: list[Event] = []
        self._flushes: deque[int] = deque()
        """Positions of the flushes that are not answered yet."""
        self._request: DecodeRequest | None = None
        """The decode in flight."""
        self._requests = 0
        self._failures = 0
        """Failed decodes in a row of audio that no later decode takes too."""
        self._origin = position
        self._stopped = False
        self.finished = False
        """``Done`` has been told."""
        self._speech = self._words = self._ended = self._gaps = 0
        self._prefix = resume.words if resume else ()
        """Words with which a resumed stream goes on at ``live_from``, until its audio has come so far."""
        self._known_to = self._prefix[-1].end if self._prefix else live_from
        """End of the last of them, before which their utterance does not end; ``live_from`` if there is none."""
        self._committed_to = self._known_to
        """End of the last committed word."""
        self._kept_from = self._asked_at = position
        """``_asked_at``: end of the audio when the decode in flight was asked for."""
        self._live_from = live_from
        self._progress_at = position
        if start.refine:
            self._refinement = Refinement([*resume.unrefined, *resume.words] if resume else ())
        self._continue()

    def _choose(self, options: Start | Configure) -> None:
        translates = self._task == "translate"
        self._language = options.decode_language(self._config.language)
        # The server's prompt shows how to write the language that is spoken.
        default = "" if translates else self._config.prompt
        self._prompt = default if options.prompt is None else options.prompt
        self._hotwords = () if translates else options.hotwords

    def _silence_s(self, options: Start | Configure) -> float:
        return self._config.min_silence_s if options.silence_s is None else options.silence_s

    # ---- inputs

    def receive_audio(self, samples: NDArray[np.float32]) -> None:
        """The next samples, float32[n] mono 16 kHz. Their speech probabilities follow by ``receive_speech``."""
        self._timeline.append(samples)

    def receive_speech(self, probabilities: NDArray[np.float32]) -> None:
        """The speech probabilities of the next 512-sample windows of the audio received."""
        for probability in probabilities.tolist():
            self._continue()
            match self._gate.receive_speech(probability):
                case Opened(earliest):
                    # The window of the previous utterance may have moved into the silence after it.
                    self._receive_start(max(earliest, self._spoken_to))
                case Closed(_, end) if self._open and end < self._known_to:
                    # The gate judges a pause otherwise than before: the words after it must not be told again.
                    self._gate.open(end)
                case Closed(at, end):
                    self._receive_end(end, speech_end=at)
                case None if self._open:
                    self._open.receive_window(self._gate.silence, self._gate.speech_end)
                case _:
                    pass
            if self._gate.state is GateState.OPEN and not self._open and self._gate.speech_end > self._live_from:
                self._begin(max(self._opened_at, self._live_from))
            if self._refinement:
                self._refinement.receive_window(self._gate.position, probability)
        self._settle()

    def receive_hypothesis(self, hypothesis: Hypothesis) -> None:
        """The answer to a decode request. An answer that is not awaited is ignored."""
        request = self._request
        if request is None or hypothesis.request_id != request.id:
            if self._refinement:
                self._refinement.receive_hypothesis(hypothesis)
                self._settle()
            return
        self._request = None
        self._failures = 0
        self._late = self.received - self._asked_at > to_samples(LATE_S)
        if self._language is None:
            self._language = hypothesis.language
        outputs = self._utterances[0].receive_hypothesis(request, hypothesis, self._committed_to)
        self._remember(self._utterances[0])
        if outputs is not None:
            self._advance(self._utterances[0].kept_from)
            self._tell(outputs)
            self._settle()

    def receive_failure(self, request_id: int) -> None:
        """The decode failed. If new audio follows, the next decode takes this audio too. Otherwise the same audio is
        decoded once more; if that fails as well, its known words are committed and the rest of it becomes a gap.
        """
        request = self._request
        if request is None or request_id != request.id:
            if self._refinement:
                self._refinement.receive_failure(request_id)
                self._settle()
            return
        self._request = None
        utterance = self._utterances[0]
        if utterance.receive_failure(request):
            return
        self._failures += 1
        if self._failures < MAX_ATTEMPTS:
            return
        self._failures = 0
        outputs, lost_from, lost_to = utterance.give_up(request.start + len(request.samples))
        self._remember(utterance)
        self._tell(outputs)
        self._advance(lost_to)
        if lost_from < lost_to:
            self._gaps += lost_to - lost_from
            self._events.append(Gap(lost_from, lost_to, "decode_failed", *self._kept()))
        self._settle()

    def receive_configure(self, configure: Configure) -> None:
        """Other options, from the next decode on."""
        self._choose(configure)
        self._gate.hangover = to_samples(self._silence_s(configure))

    def receive_flush(self) -> None:
        """End the current utterance here. ``Flushed`` follows when everything before is committed."""
        self._end_here()
        self._flushes.append(self._timeline.end)
        self._settle()

    def receive_stop(self) -> None:
        """No more audio follows: end as with a flush, then with ``Done``."""
        self._end_here()
        self._stopped = True
        if self._refinement:
            self._refinement.end()
        self._settle()

    def give_up_refinement(self) -> None:
        """The committed words stand that are not refined yet."""
        if self._refinement:
            self._refinement.give_up()
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
    def paused(self) -> bool:
        """Nobody speaks, and all text of what was said has been told."""
        return self._gate.quiet and not self._utterances and not self._flushes

    @property
    def language(self) -> str | None:
        """The language that was asked for or, after the first decode, the one that was detected."""
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
        """A decode that is due, if any. It is answered by ``receive_hypothesis`` or ``receive_failure``."""
        return self._next_live_decode() or self._next_refining_decode()

    def newer_decode(self) -> DecodeRequest | None:
        """The live decode in flight with the audio that has come since, for a recognizer that has not begun with it;
        None if too little has. Nothing changes until ``renew``.
        """
        request = self._request
        window = self._utterances[0].next_window(self._timeline.end) if request else None
        if request is None or window is None:
            return None
        grown = window.end - request.start - len(request.samples)
        if grown < to_samples(RENEW_S) and window.final == request.final:
            return None
        return replace(request, samples=self._timeline.slice(window.start, window.end), final=window.final)

    def renew(self, newer: DecodeRequest) -> None:
        """``newer_decode`` has taken the place of the decode in flight."""
        self._request = newer

    def _next_live_decode(self) -> DecodeRequest | None:
        if self._request is not None or not self._utterances:
            return None
        utterance = self._utterances[0]
        window = utterance.next_window(self._timeline.end)
        if window is None:
            return None
        short = self._late or not self._policy.unclear
        helps = utterance.takes_context and (window.start == utterance.start or not short)
        following = utterance.prefix[0].text if utterance.prefix else ""
        utterance.context = self._history.before(window.start, short=short, following=following) if helps else None
        self._asked_at = self.received
        self._requests += 1
        self._request = DecodeRequest(
            id=self._requests,
            samples=self._timeline.slice(window.start, window.end),
            start=window.start,
            language=self._language,
            task=self._task,
            context=utterance.context.samples if utterance.context else NO_AUDIO,
            context_text=utterance.context.text if utterance.context else "",
            prefix="".join(word.text for word in utterance.prefix),
            prompt=self._prompt,
            hotwords=self._hotwords,
            final=window.final,
            realtime=self._realtime,
        )
        return self._request

    def _next_refining_decode(self) -> DecodeRequest | None:
        if self._refinement is None:
            return None
        request = self._refinement.next_decode(
            self._told_to(),
            self._timeline,
            request_id=self._requests + 1,
            language=self._language,
            prompt=self._prompt,
            hotwords=self._hotwords,
        )
        self._requests += request is not None
        return request

    # ---- speech

    def _continue(self) -> None:
        """Where a resumed stream was inside an utterance, go on with its words once the gate has come so far."""
        if not self._prefix or self._gate.position + WINDOW <= self._live_from:
            return
        if self._gate.state is not GateState.OPEN:
            self._gate.open(self._live_from)
            self._receive_start(max(self._live_from, self._spoken_to))
        self._open = Utterance(self._live_from, self._rules, self._policy, self._prefix)
        self._utterances.append(self._open)
        self._prefix = ()

    def _receive_start(self, at: int) -> None:
        """The gate has opened."""
        self._opened_at = at
        if self._refinement:
            self._refinement.open(at)

    def _begin(self, at: int) -> None:
        self._events.append(SpeechStarted(at))
        self._open = Utterance(at, self._rules, self._policy)
        self._utterances.append(self._open)

    def _receive_end(self, end: int, speech_end: int) -> None:
        """The gate has closed."""
        if self._open:
            self._events.append(SpeechStopped(self._gate.speech_end))
            self._open.receive_end(end, speech_end)
            end = self._open.end
            self._open = None
        self._spoken_to = end
        if self._refinement:
            self._refinement.close(end)

    # ---- progress

    def _tell(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Partial):
                self._events.append(output)
                continue
            self._words += len(output)
            self._committed_to = output[-1].end
            self._events.append(Committed(output, *self._kept()))
            if self._refinement:
                self._refinement.receive_words(output)

    def _end_here(self) -> None:
        """End the open utterance, if there is one, at the end of the audio received."""
        if self._gate.state is not GateState.OPEN:
            return
        end = self._timeline.end
        self._receive_end(end, speech_end=self._gate.speech_end if self._open and self._open.paused else end)
        self._gate.close(end)

    def _settle(self) -> None:
        """Finish what can be finished: complete utterances, flushes, the stream. Then report the progress."""
        while self._utterances and self._utterances[0].complete:
            self._finish(self._utterances.popleft())
        self._advance(self._utterances[0].kept_from if self._utterances else self._gate.kept_from)
        while self._flushes and not (self._utterances and self._utterances[0].start < self._flushes[0]):
            self._events.append(Flushed(self._flushes.popleft(), *self._kept()))
        self._refine()
        if self.received - self._progress_at >= SAMPLE_RATE:
            self._progress_at = self.received
            settled = heard = self.received
            if self._utterances:
                head = self._utterances[0]
                settled, heard = head.settled_to, min(heard, max(head.window_start, head.decoded_to))
            self._events.append(Progress(self.received, settled, *self._kept(), heard))
        if self._stopped and not self._utterances and not (self._refinement and not self._refinement.idle):
            self._end()

    def _end(self) -> None:
        if not self.finished:
            self.finished = True
            length = self.received - self._origin
            self._events.append(Done(length, self._speech, self._words, self._ended, self._gaps))

    def _refine(self) -> None:
        """Tell what has been refined."""
        if self._refinement is None:
            return
        while outcome := self._refinement.take(self._told_to(), self.received):
            self._advance(self._live_from)
            self._events.append(
                Refined(outcome.start, outcome.end, outcome.words, outcome.replaces, outcome.decoded, *self._kept())
            )

    def _told_to(self) -> int:
        return self._utterances[0].told_to if self._utterances else self.received

    def _finish(self, utterance: Utterance) -> None:
        self._request = None
        words = utterance.finish()
        self._remember(utterance)
        self._advance(utterance.end)
        self._tell(words)
        if self._refinement:
            self._refinement.receive_utterance_end(utterance.end)
        self._speech += utterance.end - utterance.start
        self._ended += 1
        self._events.append(UtteranceEnded(utterance.start, utterance.end, *self._kept()))

    def _remember(self, utterance: Utterance) -> None:
        """Keep what the utterance's windows have left behind, before its audio is dropped."""
        for passed in utterance.passed:
            self._history.add(passed.words, passed.start, passed.end, self._timeline)
        utterance.passed.clear()

    def _advance(self, live_from: int) -> None:
        self._live_from = max(self._live_from, live_from)
        kept_from = self._live_from
        if self._refinement:
            needed = self._refinement.kept_from
            kept_from = min(kept_from, self._gate.kept_from if needed is None else needed)
        self._kept_from = max(self._kept_from, kept_from)
        self._timeline.drop_before(self._kept_from)

    def _kept(self) -> tuple[int, int | None]:
        """``kept_from`` and ``live_from`` of an event."""
        return self._kept_from, self._live_from if self._refinement else None
