"""Drives a ``Session`` with whole streams: no event loop, no model, no clock.

A stream is known exactly: where speech is, and which words lie in it. The value of each sample is its own position, so
that every decode request can be checked to hold the audio that it names.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from whisperlivekit.core.commands import Resume, Start
from whisperlivekit.core.events import (
    Committed,
    Done,
    Event,
    Flushed,
    Gap,
    Progress,
    Refined,
    SpeechStarted,
    SpeechStopped,
    UtteranceEnded,
)
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, Word
from whisperlivekit.core.session import Session, SessionConfig
from whisperlivekit.core.units import WINDOW

WORD = 6_400
"""Samples of one word: 0.4 s."""

Span = tuple[int, int]
Decoder = Callable[[DecodeRequest], Hypothesis | None]
"""None: the decode fails."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Runs of windows, silence and speech in turns, silence first."""

    runs: tuple[int, ...]
    rest: int = 0
    """Samples after the last whole window."""

    @property
    def length(self) -> int:
        return sum(self.runs) * WINDOW + self.rest

    @property
    def speech(self) -> list[Span]:
        spans = []
        position = 0
        for index, windows in enumerate(self.runs):
            if index % 2:
                spans.append((position * WINDOW, (position + windows) * WINDOW))
            position += windows
        return spans

    @property
    def words(self) -> list[Word]:
        """As many words as fit into the speech, each with a text of its own."""
        # Texts have no digits: these are committed later than words.
        letters = str.maketrans("0123456789", "аеиоуыэюяё")
        words = []
        for start, end in self.speech:
            for begin in range(start, end - WORD + 1, WORD):
                words.append(Word(f" с{begin}".translate(letters), begin, begin + WORD, 0.9))
        return words

    def probability(self, start: int) -> float:
        """The speech probability of the window that begins at ``start``, which may be any sample."""
        middle = start + WINDOW // 2
        return 0.9 if any(low <= middle < high for low, high in self.speech) else 0.1

    def decode(self, request: DecodeRequest) -> Hypothesis:
        """A perfect decoder: the words that lie completely in the request's audio and follow its prefix."""
        end = request.start + len(request.samples)
        heard = [word for word in self.words if request.start <= word.start and word.end <= end]
        prefix = request.prefix.split()
        assert [word.text.strip() for word in heard[: len(prefix)]] == prefix, "the prefix is not the text of its audio"
        return Hypothesis(request.id, tuple(heard[len(prefix) :]), language="ru")

    def refine(self, request: DecodeRequest) -> Hypothesis:
        """A perfect decoder of joined audio: the words whose middle it holds, marked as ``refined``."""
        words = []
        for word in self.words:
            # The value of a sample is its position, so the audio tells which part of the stream it is.
            middle = (word.start + word.end) // 2
            index = int(np.searchsorted(request.samples, middle))
            if index < len(request.samples) and request.samples[index] == middle:
                at = request.start + index - WORD // 2
                words.append(replace(refined(word), start=at, end=at + WORD))
        return Hypothesis(request.id, tuple(words), language="ru")


def refined(word: Word) -> Word:
    """The word as ``Stream.refine`` writes it: one can see that it was refined."""
    return replace(word, text=f"{word.text}!")


@dataclass
class Client:
    """What a client that follows docs/protocol.md has of a stream, over all connections."""

    words: list[Word] = field(default_factory=list)
    refined: int = 0
    """How many of the words were refined: the first ones."""
    kept_from: int = 0
    live_from: int | None = None

    def receive(self, event: Event) -> None:
        match event:
            case Committed(words):
                self.words += words
            case Refined(words=words, replaces=replaces):
                assert self.refined + replaces <= len(self.words), "more words are replaced than were committed"
                self.words[self.refined : self.refined + replaces] = words
                self.refined += len(words)
        if isinstance(event, KEEPING):
            self.kept_from, self.live_from = event.kept_from, event.live_from

    def resume(self) -> Resume:
        if self.live_from is None:
            after = tuple(word for word in self.words if word.end > self.kept_from)
            return Resume("before", self.kept_from, after)
        unrefined = self.words[self.refined :]
        before = sum(word.end <= self.live_from for word in unrefined)
        words, earlier = tuple(unrefined[before:]), tuple(unrefined[:before])
        return Resume("before", self.kept_from, words, self.live_from, earlier)


@dataclass
class Drive:
    """One session, and everything that it told."""

    stream: Stream
    decode: Decoder
    config: SessionConfig = field(default_factory=SessionConfig)
    start: Start = field(default_factory=Start)
    delay: int = 0
    """How many steps (chunks and commands) a decode takes."""
    refine: Decoder | None = None
    """Decodes paragraphs; None: perfectly."""
    refine_delay: int = 0

    def __post_init__(self) -> None:
        self.session = Session(self.config, self.start)
        self.origin = self.start.resume.position if self.start.resume else 0
        self.events: list[Event] = []
        self.requests: list[DecodeRequest] = []
        self.refining: list[DecodeRequest] = []
        """The requests for paragraphs."""
        self.heard: list[Span] = []
        """The audio of the decodes that succeeded."""
        self.held: list[int] = []
        """Samples held after each step."""
        self._judged = self.origin
        self._answers: list[tuple[int, DecodeRequest]] = []
        """The decodes in flight, and the step at which each ends."""
        self._step = 0

    # ---- inputs

    def feed(self, end: int) -> None:
        """Audio up to ``end``, as one chunk."""
        begin = self.session.received
        self.session.receive_audio(np.arange(begin, end, dtype=np.float32))
        probabilities = []
        while self._judged + WINDOW <= end:
            probabilities.append(self.stream.probability(self._judged))
            self._judged += WINDOW
        self.session.receive_speech(np.array(probabilities, np.float32))
        self.step()

    def flush(self) -> None:
        self.session.receive_flush()
        self.step()

    def stop(self) -> None:
        """Stop, and wait for the decodes in flight."""
        self.session.receive_stop()
        self.step()
        while self._answers:
            self.step()

    def run(self, chunks: Iterable[int], flushes: Sequence[int] = ()) -> "Drive":
        """Send the rest of the stream in chunks of these sizes, the last one repeated, and flush at these positions."""
        sizes = list(chunks)
        stops = sorted({self.stream.length, *(at for at in flushes if at >= self.session.received)})
        index = 0
        for stop in stops:
            while self.session.received < stop:
                size = sizes[min(index, len(sizes) - 1)]
                self.feed(min(stop, self.session.received + size))
                index += 1
            if stop in flushes:
                self.flush()
        self.stop()
        return self

    def step(self) -> None:
        """Deliver the answers that are due, and start the decode that is due."""
        self._step += 1
        self._renew()
        self._collect()
        while due := [answer for answer in self._answers if answer[0] <= self._step]:
            self._answers.remove(due[0])
            self._answer(due[0][1])
            self._collect()
        self.held.append(self.session._timeline.end - self.session._timeline.start)

    def _collect(self) -> None:
        self.events += self.session.events()
        while (request := self.session.next_decode()) is not None:
            if request.realtime:
                self._check_request(request)
            (self.requests if request.realtime else self.refining).append(request)
            self._answers.append((self._step + (self.delay if request.realtime else self.refine_delay), request))
        realtime = [request.realtime for _, request in self._answers]
        assert realtime.count(True) <= 1, "more than one live decode in flight"
        assert realtime.count(False) <= 1, "more than one paragraph in flight"

    def _renew(self) -> None:
        """A live decode waits for its turn for half of its delay, and takes the newest audio until then."""
        newer = self.session.newer_decode()
        for place, (due, request) in enumerate(self._answers):
            if newer is not None and request.id == newer.id and self._step < due - self.delay // 2:
                self._check_request(newer)
                self.session.renew(newer)
                self._answers[place] = due, newer

    def _answer(self, request: DecodeRequest) -> None:
        decode = self.decode if request.realtime else self.refine or self.stream.refine
        hypothesis = decode(request)
        if hypothesis is None:
            self.session.receive_failure(request.id)
        elif not request.realtime:
            self.session.receive_hypothesis(hypothesis)
        else:
            self.heard.append((request.start, request.start + len(request.samples)))
            self.session.receive_hypothesis(hypothesis)

    def _check_request(self, request: DecodeRequest) -> None:
        end = request.start + len(request.samples)
        assert end <= self.session.received
        assert request.start >= self.kept_from, "the request needs audio that the client may have dropped"
        np.testing.assert_array_equal(request.samples, np.arange(request.start, end, dtype=np.float32))
        context = request.context
        if len(context):
            assert context[-1] < request.start, "the context does not lie before the window"
            assert np.all(np.diff(context) > 0), "the context is not in the order of the stream"

    # ---- outputs

    @property
    def known(self) -> tuple[Word, ...]:
        """The words that the client brought and that are not refined."""
        resume = self.start.resume
        return (*resume.unrefined, *resume.words) if resume else ()

    @property
    def kept_from(self) -> int:
        """The last ``kept_from`` of an event."""
        told = [event.kept_from for event in self.events if isinstance(event, KEEPING)]
        return told[-1] if told else self.origin

    @property
    def words(self) -> list[Word]:
        return [word for event in self.events if isinstance(event, Committed) for word in event.words]

    @property
    def text(self) -> str:
        return "".join(word.text for word in self.words)

    @property
    def utterances(self) -> list[Span]:
        return [(event.start, event.end) for event in self.events if isinstance(event, UtteranceEnded)]

    @property
    def gaps(self) -> list[Span]:
        return [(event.start, event.end) for event in self.events if isinstance(event, Gap)]

    @property
    def outline(self) -> list[object]:
        """Everything that must not depend on chunks or load: all but partials, progress and the time of commits."""
        return [
            [event for event in self.events if isinstance(event, SpeechStarted | SpeechStopped)],
            self.utterances,
            self.words,
            [event.at for event in self.events if isinstance(event, Flushed)],
            [event for event in self.events if isinstance(event, Done)],
        ]


KEEPING = Committed | Refined | UtteranceEnded | Flushed | Gap | Progress


def check(drive: Drive) -> None:
    """The promises of every stream that has ended, whatever its decoder answered."""
    events = drive.events
    received = drive.session.received
    assert [index for index, event in enumerate(events) if isinstance(event, Done)] == [len(events) - 1]
    assert drive.session.finished
    assert drive.session.next_decode() is None

    kept = [event.kept_from for event in events if isinstance(event, KEEPING)]
    assert kept == sorted(kept), "kept_from fell"
    assert all(drive.origin <= position <= received for position in kept)

    client = Client(list(drive.known))
    for event in events:
        client.receive(event)
    if drive.start.refine:
        assert client.refined == len(client.words), "words were not refined"
        live = [event.live_from or 0 for event in events if isinstance(event, KEEPING)]
        assert live == sorted(live), "live_from fell"
        assert all(position <= begin for position, begin in zip(kept, live, strict=True))
        ends = [event.end for event in events if isinstance(event, Refined)]
        assert ends == sorted(ends), "paragraphs are out of order"
    else:
        assert not [event for event in events if isinstance(event, Refined)]

    previous = drive.origin
    for start, end in drive.utterances:
        assert previous <= start <= end <= received, "utterances overlap"
        previous = end

    starts = [word.start for word in drive.words]
    assert starts == sorted(starts), "words are out of order"
    assert all(drive.origin <= word.start <= word.end <= received for word in drive.words)

    assert all(start < end for start, end in drive.gaps), "an empty gap"
    resume = drive.start.resume
    live_from = max(drive.origin, resume.live_from or 0) if resume else 0
    spoken = _clip(drive.stream.speech, [(live_from, received)])
    # A flush may cut a window in which speech begins: the detector never judges it.
    cuts = {received, *(event.at for event in events if isinstance(event, Flushed))}
    unheard = [
        (start, end)
        for start, end in _subtract(_clip(spoken, drive.utterances), [*drive.heard, *drive.gaps])
        if not (end in cuts and end - start < WINDOW)
    ]
    assert not unheard, f"neither decoded nor part of a gap: {unheard}"
    silent = [(start, end) for start, end in _subtract(spoken, drive.utterances) if end - start >= WORD]
    assert not silent, f"speech outside utterances: {silent}"

    assert events[-1] == Done(
        received=received - drive.origin,
        speech=sum(end - start for start, end in drive.utterances),
        words=len(drive.words),
        utterances=len(drive.utterances),
        gaps=sum(end - start for start, end in drive.gaps),
    )


def _clip(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """The parts of ``spans`` that lie in one of ``others``."""
    pieces = [(max(start, low), min(end, high)) for start, end in spans for low, high in others]
    return [(start, end) for start, end in pieces if start < end]


def _subtract(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """The parts of ``spans`` that lie in none of ``others``."""
    left = [span for span in spans if span[0] < span[1]]
    for low, high in others:
        left = [
            piece
            for start, end in left
            for piece in ((start, min(end, low)), (max(start, high), end))
            if piece[0] < piece[1]
        ]
    return left
