"""One file, from its audio to ``Done``, with a perfect decoder, a failing one, and answers in any order.

The value of each sample is its own position in the file, so the decoder knows which audio it was given.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.streams import KEEPING, WORD, Stream
from whisperlivekit.core.commands import Start
from whisperlivekit.core.events import Committed, Done, Event, Gap, Progress, UtteranceEnded
from whisperlivekit.core.file_session import FileConfig, FileSession
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, Word
from whisperlivekit.core.paragraph import LONGEST_S, STRETCH_S
from whisperlivekit.core.units import SAMPLE_RATE, WINDOW, to_samples

Decoder = Callable[[DecodeRequest], Hypothesis | None]
"""None: the decode fails."""

streams = st.builds(
    Stream,
    st.lists(st.one_of(st.integers(1, 60), st.integers(1, 1_200)), max_size=14).map(tuple),
    st.integers(0, WINDOW - 1),
)
"""Up to 38 s of silence and of speech in turns: some of it is longer than a paragraph."""


def hear(stream: Stream, request: DecodeRequest) -> Hypothesis:
    """A perfect decoder: every word that lies completely in the request's audio, also across seams."""
    positions = request.samples.astype(np.int64)
    words = []
    for word in stream.words:
        at = int(np.searchsorted(positions, word.start))
        if at + WORD <= len(positions) and positions[at] == word.start and positions[at + WORD - 1] == word.end - 1:
            words.append(Word(word.text, request.start + at, request.start + at + WORD, word.probability))
    return Hypothesis(request.id, tuple(words), language="ru")


class Drive:
    """One file session, fed with a stream; its decodes are answered in an order that the test chooses."""

    def __init__(self, stream: Stream, decode: Decoder | None = None, config: FileConfig | None = None) -> None:
        self.stream = stream
        self.config = config or FileConfig(at_once=3)
        self.session = FileSession(self.config, Start())
        self.decode = decode or (lambda request: hear(stream, request))
        self.events: list[Event] = []
        self.requests: list[DecodeRequest] = []
        self.in_flight: list[DecodeRequest] = []
        self._judged = 0

    def feed(self, end: int) -> None:
        """Audio up to ``end``, as one chunk."""
        self.session.receive_audio(np.arange(self.session.received, end, dtype=np.float32))
        probabilities = []
        while self._judged + WINDOW <= end:
            probabilities.append(self.stream.probability(self._judged))
            self._judged += WINDOW
        self.session.receive_speech(np.array(probabilities, np.float32))
        self.collect()

    def collect(self) -> None:
        self.events += self.session.events()
        while (request := self.session.next_decode()) is not None:
            self.requests.append(request)
            self.in_flight.append(request)
        assert len(self.in_flight) <= self.config.at_once
        held = self.session._timeline.end - self.session._timeline.start
        assert held <= to_samples(STRETCH_S) + SAMPLE_RATE, "more audio is kept than a paragraph can need"

    def answer(self, place: int = 0) -> None:
        """Answer one of the requests in flight."""
        request = self.in_flight.pop(place % len(self.in_flight))
        hypothesis = self.decode(request)
        if hypothesis is None:
            self.session.receive_failure(request.id)
        else:
            self.session.receive_hypothesis(hypothesis)
        self.collect()

    def run(self, sizes: Iterable[int] = (SAMPLE_RATE,), order: Iterable[int] = ()) -> "Drive":
        """Send everything in chunks of these sizes, the last one repeated. After each chunk one request is answered:
        that at the next place of ``order``.
        """
        sizes, places = list(sizes), iter(order)
        index = 0
        while self.session.received < self.stream.length:
            size = sizes[min(index, len(sizes) - 1)]
            self.feed(min(self.stream.length, self.session.received + size))
            index += 1
            if self.in_flight:
                self.answer(next(places, 0))
        self.session.receive_stop()
        self.collect()
        while self.in_flight:
            self.answer(next(places, 0))
        return self

    @property
    def words(self) -> list[Word]:
        return [word for event in self.events if isinstance(event, Committed) for word in event.words]

    @property
    def outline(self) -> list[Event]:
        """What must depend on nothing but the audio."""
        return [
            Committed(event.words, 0) if isinstance(event, Committed) else replace(event, kept_from=0)
            for event in self.events
            if isinstance(event, Committed | UtteranceEnded)
        ]


def check(drive: Drive) -> None:
    """What holds for every file that has ended, whatever its decoder answered."""
    events, received = drive.events, drive.session.received
    assert drive.session.finished
    assert drive.session.next_decode() is None
    assert drive.session.waiting == 0
    kept = [event.kept_from for event in events if isinstance(event, KEEPING)]
    assert kept == sorted(kept), "kept_from fell"
    settled = [event.settled for event in events if isinstance(event, Progress)]
    assert settled == sorted(settled)
    starts = [word.start for word in drive.words]
    assert starts == sorted(starts), "words are out of order"
    assert all(0 <= word.start < word.end <= received for word in drive.words)
    spans = [(event.start, event.end) for event in events if isinstance(event, UtteranceEnded)]
    assert all(one_end <= start for (_, one_end), (start, _) in pairwise(spans)), "utterances overlap"
    for low, high in drive.stream.speech:
        heard = any(start <= low and high <= end for start, end in _joined(spans))
        assert heard or high - low < WORD, "speech outside utterances"
    assert events[-1] == Done(
        received,
        sum(end - start for start, end in spans),
        len(drive.words),
        len(spans),
        sum(event.end - event.start for event in events if isinstance(event, Gap)),
    )


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The parts of an utterance that was cut are one again."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def cuts(drive: Drive) -> list[int]:
    """Where one utterance of the file ends and another begins at the same sample."""
    spans = [(event.start, event.end) for event in drive.events if isinstance(event, UtteranceEnded)]
    return [end for (_, end), (start, _) in pairwise(spans) if start == end]


@given(streams, st.lists(st.integers(1, 90_000), min_size=1, max_size=8), st.lists(st.integers(0, 5), max_size=40))
def test_every_word_is_told_once_with_its_time(stream: Stream, sizes: list[int], order: list[int]) -> None:
    """Whatever the chunks, and in whatever order the decodes are answered. Only a word that lies on the cut of an
    utterance longer than a paragraph is not known to this decoder.
    """
    drive = Drive(stream).run([*sizes, SAMPLE_RATE], order)
    check(drive)
    borders = cuts(drive)
    spans = [(event.start, event.end) for event in drive.events if isinstance(event, UtteranceEnded)]
    expected = [
        word
        for word in stream.words
        if any(start <= word.start and word.end <= end for start, end in spans)
        and not any(word.start < border < word.end for border in borders)
    ]
    assert drive.words == expected
    heard = [
        word for low, high in stream.speech if high - low >= WORD for word in stream.words if low <= word.start < high
    ]
    assert len(heard) - len(drive.words) <= len(borders)


@given(streams, st.lists(st.integers(0, 5), max_size=40))
def test_the_order_of_answers_and_the_chunks_change_nothing(stream: Stream, order: list[int]) -> None:
    """Apart from progress, and how much audio is kept."""
    first, second = Drive(stream).run(), Drive(stream).run([50_000], order)
    assert first.outline == second.outline
    assert first.events[-1] == second.events[-1]


@given(streams, st.lists(st.booleans(), max_size=30), st.lists(st.integers(0, 5), max_size=40))
def test_what_cannot_be_decoded_is_a_gap(stream: Stream, failures: list[bool], order: list[int]) -> None:
    """Every word is told, or lies in a gap, or on the cut of a long utterance."""
    pending = list(failures)

    def decode(request: DecodeRequest) -> Hypothesis | None:
        return None if pending and pending.pop() else hear(stream, request)

    drive = Drive(stream, decode).run(order=order)
    check(drive)
    gaps = [(event.start, event.end) for event in drive.events if isinstance(event, Gap)]
    assert all(start < end for start, end in gaps)
    spans = [(event.start, event.end) for event in drive.events if isinstance(event, UtteranceEnded)]
    told = {word.start for word in drive.words}
    for word in stream.words:
        inside = any(start <= word.start and word.end <= end for start, end in spans)
        cut = any(word.start < border < word.end for border in cuts(drive))
        lost = any(start < word.end and word.start < end for start, end in gaps)
        assert (word.start in told) != lost or not inside or cut


def talk(*paragraphs_s: float) -> Stream:
    """Speech of these lengths, with 3 s of silence before each and at the end."""
    runs = [
        run for seconds in paragraphs_s for run in (3 * SAMPLE_RATE // WINDOW, round(seconds * SAMPLE_RATE / WINDOW))
    ]
    return Stream((*runs, 3 * SAMPLE_RATE // WINDOW))


def test_paragraphs_wait_for_their_turn() -> None:
    """No more are in flight than allowed, and ``waiting`` counts the audio of the others."""
    stream = talk(12, 12, 12, 12, 12)
    drive = Drive(stream, config=FileConfig(at_once=2))
    drive.feed(stream.length)
    assert len(drive.in_flight) == 2
    assert drive.session.waiting == pytest.approx(3 * 12.6 * SAMPLE_RATE, rel=0.02)
    drive.answer(1)
    assert drive.words == [], "the second paragraph was told before the first"
    assert len(drive.in_flight) == 1, "a paragraph that was not told still takes its place"
    drive.answer(0)
    assert len(drive.in_flight) == 2
    assert drive.session.waiting == pytest.approx(12.6 * SAMPLE_RATE, rel=0.02)


def test_no_request_is_longer_than_a_paragraph() -> None:
    """Two minutes without a pause are decoded in pieces, and every sample once."""
    stream = Stream((10, 4_000))
    drive = Drive(stream).run()
    assert all(len(request.samples) <= to_samples(LONGEST_S) for request in drive.requests)
    heard = np.concatenate([request.samples for request in drive.requests])
    np.testing.assert_array_equal(heard, np.arange(heard[0], stream.length))


def test_progress_is_told_while_decodes_follow_the_end_of_the_audio() -> None:
    """A file is received faster than it is decoded, so progress goes on after the last sample."""
    stream = talk(12, 12, 12)
    drive = Drive(stream)
    drive.feed(stream.length)
    drive.session.receive_stop()
    drive.collect()
    settled = []
    while drive.in_flight:
        drive.answer()
        settled.append([event.settled for event in drive.events if isinstance(event, Progress)][-1])
    assert settled == sorted(set(settled))
    assert settled[-1] == stream.length


def test_the_language_is_detected_once() -> None:
    """In the first paragraph with words; until then one paragraph is decoded at a time."""
    stream = talk(12, 12, 12, 12)

    def decode(request: DecodeRequest) -> Hypothesis:
        heard = hear(stream, request)
        if request.start < 15 * SAMPLE_RATE:
            return Hypothesis(request.id, (), language="ja")
        return Hypothesis(request.id, heard.words, language="de" if request.language is None else request.language)

    drive = Drive(stream, decode, FileConfig(language=None, at_once=3))
    drive.feed(stream.length)
    assert [request.language for request in drive.requests] == [None]
    drive.answer()
    assert [request.language for request in drive.requests] == [None, None]
    detected = [drive.session.language]
    drive.answer()
    detected.append(drive.session.language)
    assert detected == [None, "de"]
    assert [request.language for request in drive.requests] == [None, None, "de", "de"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Start(), ("en", "server")),
        (Start("ru", ""), ("ru", "")),
        (Start("auto"), (None, "server")),
        (Start("ru", task="translate"), ("ru", "")),
        (Start("ru", "own", task="translate"), ("ru", "own")),
    ],
)
def test_what_the_client_asks_for_goes_first(asked: Start, expected: tuple[str | None, str]) -> None:
    """Language and prompt of the request, or the server's. A translation does not get the server's prompt, which shows
    how to write another language.
    """
    session = FileSession(FileConfig(language="en", prompt="server"), asked)
    session.receive_audio(np.ones(2 * SAMPLE_RATE, np.float32))
    session.receive_speech(np.full(60, 0.9, np.float32))
    session.receive_stop()
    request = session.next_decode()
    assert request is not None
    assert (request.language, request.prompt, request.task) == (*expected, asked.task)


def test_words_come_with_the_probability_of_no_speech() -> None:
    """That of their paragraph."""
    stream = talk(4)
    drive = Drive(stream, lambda request: replace(hear(stream, request), no_speech_probability=0.125)).run()
    assert [event.no_speech_probability for event in drive.events if isinstance(event, Committed)] == [0.125]


def test_an_empty_file() -> None:
    """Silence and nothing at all are transcribed at once."""
    for stream in (Stream(()), Stream((100,))):
        drive = Drive(stream).run()
        assert drive.requests == []
        assert drive.events[-1] == Done(stream.length, 0, 0, 0, 0)


def test_an_answer_that_is_not_awaited_is_ignored() -> None:
    """It has no request in flight."""
    drive = Drive(talk(12))
    drive.session.receive_failure(1)
    drive.session.receive_hypothesis(Hypothesis(1, ()))
    drive.run()
    check(drive)
    assert drive.words == drive.stream.words
