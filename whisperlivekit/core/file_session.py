"""A file's state: audio, speech probabilities and hypotheses in; events and decode requests out.

A file can wait, so nothing of it is decoded until its surroundings are known: the gate finds the utterances, they are
collected into paragraphs (``core/paragraph.py``), and each paragraph's words are told once. The rules:

- Up to ``at_once`` paragraphs are decoded at the same time, and more are not begun. They are told in order.
- An unknown language is detected in the first paragraph in which words are found, and until then only one paragraph at
  a time is decoded.
- The audio of a paragraph is copied when the paragraph is complete; the rest is dropped as soon as no utterance can
  begin in it. ``waiting`` says how much is copied and not begun, so that whoever feeds the file can wait.

``FileSession`` takes the same inputs as ``core/session.Session`` apart from changed options and flushes, and its events
have the same types.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.core.commands import Start
from whisperlivekit.core.events import Committed, Done, Event, Gap, Progress, UtteranceEnded
from whisperlivekit.core.gate import Closed, Gate, GateState, Opened
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, Task
from whisperlivekit.core.paragraph import Paragraphs, Rendition
from whisperlivekit.core.timeline import Timeline
from whisperlivekit.core.units import SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class FileConfig:
    """How a file is decoded."""

    speech_threshold: float = 0.5
    """Speech probability of a window from which on it counts as speech. See ``Gate``."""
    min_silence_s: float = 0.5
    """Silence that ends an utterance."""
    language: str | None = "ru"
    """ISO 639-1 code. None: detect it in each file."""
    prompt: str = ""
    at_once: int = 4
    """Paragraphs that are decoded at the same time: enough to keep the recognizer busy. Each holds up to 1.8 MB."""


class FileSession:
    """The pure core of one file: after each ``receive_*`` take ``events()``, and ``next_decode()`` until it is None."""

    def __init__(self, config: FileConfig, start: Start) -> None:
        """start: of a file. A file does not resume."""
        self._language = start.decode_language(config.language)
        self._task: Task = start.task
        # The server's prompt shows how to write the language that is spoken.
        default = "" if start.translates else config.prompt
        self._prompt = default if start.prompt is None else start.prompt
        self._hotwords = () if start.translates else start.hotwords
        self._at_once = config.at_once
        self._timeline = Timeline()
        self._gate = Gate(config.speech_threshold, config.min_silence_s)
        self._paragraphs = Paragraphs()
        self._renditions: deque[Rendition] = deque()
        """Of the paragraphs that are not told yet, in order."""
        self._decoding: dict[int, Rendition] = {}
        """By the id of the request in flight."""
        self._begun = 0
        """How many of the first renditions have been begun."""
        self._requests = 0
        self._events: list[Event] = []
        self._stopped = False
        self.finished = False
        """``Done`` has been told."""
        self._speech = self._words = self._utterances = self._gaps = 0
        self._progress = Progress(0, 0, 0)
        """The last that was told."""

    # ---- inputs

    def receive_audio(self, samples: NDArray[np.float32]) -> None:
        """The next samples, float32[n] mono 16 kHz. Their speech probabilities follow by ``receive_speech``."""
        self._timeline.append(samples)

    def receive_speech(self, probabilities: NDArray[np.float32]) -> None:
        """The speech probabilities of the next 512-sample windows of the audio received."""
        for probability in probabilities.tolist():
            match self._gate.receive_speech(probability):
                case Opened(at):
                    self._paragraphs.open(at)
                case Closed(_, end):
                    self._paragraphs.close(end)
            self._paragraphs.receive_window(self._gate.position, probability)
        self._settle()

    def receive_hypothesis(self, hypothesis: Hypothesis) -> None:
        """The answer to a decode request. An answer that is not awaited is ignored."""
        rendition = self._decoding.pop(hypothesis.request_id, None)
        if rendition is None:
            return
        rendition.receive_hypothesis(hypothesis)
        if self._language is None and rendition.words:
            self._language = hypothesis.language
        self._settle()

    def receive_failure(self, request_id: int) -> None:
        """The decode failed. The same audio is decoded once more, then it becomes a gap."""
        rendition = self._decoding.pop(request_id, None)
        if rendition is not None:
            rendition.receive_failure(request_id)
            self._settle()

    def receive_stop(self) -> None:
        """No more audio follows: the open utterance ends here, then comes ``Done``."""
        end = self._timeline.end
        self._paragraphs.close(end)
        self._paragraphs.end()
        if self._gate.state is GateState.OPEN:
            self._gate.close(end)
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
        """The language that was asked for or, once words were found, the one that was detected."""
        return self._language

    @property
    def waiting(self) -> int:
        """Samples in paragraphs that are complete and not begun: the measure for back-pressure."""
        return sum(rendition.paragraph.length for rendition in list(self._renditions)[self._begun :])

    def next_decode(self) -> DecodeRequest | None:
        """A decode that is due, if any. It is answered by ``receive_hypothesis`` or ``receive_failure``."""
        at_once = self._at_once if self._language else 1
        for place, rendition in zip(range(at_once), self._renditions, strict=False):
            request = rendition.next_decode(self._requests + 1, self._language, self._prompt, self._hotwords)
            if request is not None:
                self._requests += 1
                self._decoding[request.id] = rendition
                self._begun = max(self._begun, place + 1)
                return request
        return None

    # ---- progress

    def _settle(self) -> None:
        """Begin and finish what can be: paragraphs, the file. Then report the progress."""
        for paragraph in self._paragraphs.take():
            audio = [self._timeline.slice(span.start, span.end) for span in paragraph.spans]
            self._renditions.append(Rendition(paragraph, audio, self._task))
        collecting = self._paragraphs.kept_from
        self._timeline.drop_before(self._gate.kept_from if collecting is None else collecting)
        while self._renditions and self._renditions[0].complete:
            self._begun -= 1
            self._tell(self._renditions.popleft())
        progress = Progress(self.received, self._settled, self._settled)
        last = self._progress
        if max(progress.received - last.received, progress.settled - last.settled) >= SAMPLE_RATE:
            self._progress = progress
            self._events.append(progress)
        if self._stopped and not self._renditions and not self.finished:
            self.finished = True
            self._events.append(Done(self.received, self._speech, self._words, self._utterances, self._gaps))

    @property
    def _settled(self) -> int:
        """Everything before this position is told, silent or part of a gap."""
        if self._renditions:
            return self._renditions[0].paragraph.start
        collecting = self._paragraphs.kept_from
        if collecting is not None:
            return collecting
        return self.received if self._stopped else self._gate.kept_from

    def _tell(self, rendition: Rendition) -> None:
        if rendition.words:
            self._words += len(rendition.words)
            silent = rendition.no_speech_probability
            self._events.append(Committed(rendition.words, self._settled, no_speech_probability=silent))
        for gap in rendition.gaps:
            self._gaps += gap.length
            self._events.append(Gap(gap.start, gap.end, "decode_failed", self._settled))
        for span in rendition.paragraph.spans:
            self._speech += span.length
            self._utterances += 1
            self._events.append(UtteranceEnded(span.start, span.end, self._settled))
