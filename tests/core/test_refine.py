"""Refinement: each committed word is decided once more, in exactly one paragraph, and nothing waits for that."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.core.streams import KEEPING, WORD, Client, Decoder, Drive, Stream, check, refined
from whisperlivekit.core.commands import Resume, Start
from whisperlivekit.core.events import Committed, Done, Event, Refined, UtteranceEnded
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, Word
from whisperlivekit.core.paragraph import MAX_ATTEMPTS, PARAGRAPH_BEAMS
from whisperlivekit.core.refine import MAX_KEPT_S, MUCH_LESS, Refinement, choose
from whisperlivekit.core.session import SessionConfig
from whisperlivekit.core.units import SAMPLE_RATE, WINDOW, to_samples

CHUNK = 1_600
REFINE = Start(refine=True)
HALL = SessionConfig(max_window_s=30.0)
"""A window that no generated stream fills, so that no window is cut in the middle of a word."""

starts = st.sampled_from([REFINE, Start(commit="utterance", refine=True)])
chunk_sizes = st.lists(st.integers(700, 40_000), min_size=1, max_size=10)
streams = st.builds(
    Stream, st.lists(st.integers(13, 90), min_size=1, max_size=9).map(tuple), st.integers(0, WINDOW - 1)
)


def seconds(*runs: float) -> Stream:
    """A stream of silence and speech in turns, in seconds, rounded to windows."""
    return Stream(tuple(round(run * SAMPLE_RATE / WINDOW) for run in runs))


TALK = seconds(0.5, *itertools.islice(itertools.cycle((6, 1, 4, 1, 9, 3)), 24))
"""76 s of speech in utterances of 4 to 9 s."""


def followed(drive: Drive) -> Client:
    client = Client(list(drive.known))
    for event in drive.events:
        client.receive(event)
    return client


def rewrites(drive: Drive) -> list[Refined]:
    return [event for event in drive.events if isinstance(event, Refined)]


# ---- which words are better


def said(text: str, probability: float) -> list[Word]:
    return [Word(f" {word}", 0, 1, probability) for word in text.split()]


@pytest.mark.parametrize(("probability", "stands"), [(0.95, False), (0.9, False), (0.9 * MUCH_LESS - 0.01, True)])
def test_new_words_must_not_be_much_less_probable(probability: float, stands: bool) -> None:
    """Small differences do not count: the refined words have heard more."""
    committed, new = said("это были слова", 0.9), said("это были сова", probability)
    assert choose(committed, new) == tuple(committed if stands else new)


def test_no_words_are_no_better_evidence() -> None:
    """An utterance that the second decode did not hear keeps its words. One that only it heard gets them."""
    words = said("слова", 0.5)
    assert choose(words, []) == tuple(words)
    assert choose([], words) == tuple(words)
    assert choose([], []) == ()


# ---- the plain case


@pytest.mark.parametrize("commit", ["words", "utterance"])
def test_every_committed_word_is_refined_once(commit: str) -> None:
    """By paragraph, in order, while the stream goes on; the rest after stop and before ``Done``."""
    drive = Drive(TALK, TALK.decode, start=replace(REFINE, commit=commit)).run([CHUNK])  # type: ignore[arg-type]
    assert followed(drive).words == [refined(word) for word in TALK.words]
    assert len(rewrites(drive)) >= 3
    assert all(event.decoded for event in rewrites(drive))
    stopped = [index for index, event in enumerate(drive.events) if isinstance(event, UtteranceEnded)][-1]
    assert any(isinstance(event, Refined) for event in drive.events[:stopped])
    check(drive)


def test_a_span_is_made_of_whole_utterances() -> None:
    """It begins where its first utterance begins and ends where its last one ends, and it replaces their words."""
    drive = Drive(TALK, TALK.decode, start=REFINE).run([CHUNK])
    spans = [(event.start, event.end) for event in rewrites(drive)]
    assert {start for start, _ in spans} <= {start for start, _ in drive.utterances}
    assert {end for _, end in spans} <= {end for _, end in drive.utterances}
    for event in rewrites(drive):
        inside = [word for word in TALK.words if event.start <= word.start and word.end <= event.end]
        assert list(event.words) == [refined(word) for word in inside]
        assert event.replaces == len(inside)


def test_the_decodes_of_paragraphs_give_way() -> None:
    """They are no real-time requests, and they use all beams and the options of the stream."""
    drive = Drive(TALK, TALK.decode, start=replace(REFINE, prompt="Склад.", hotwords=("Максим",))).run([CHUNK])
    assert len(drive.refining) == len(rewrites(drive))
    for request in drive.refining:
        assert (request.realtime, request.final, request.beams) == (False, True, PARAGRAPH_BEAMS)
        assert (request.language, request.prompt, request.hotwords) == ("ru", "Склад.", ("Максим",))
        assert not request.context_text
        assert not request.prefix


def test_live_text_does_not_depend_on_refinement() -> None:
    """The same events at the same steps, whether paragraphs are fast, slow or not asked for."""

    def live(start: Start, delay: int) -> list[Event]:
        drive = Drive(TALK, TALK.decode, start=start, refine_delay=delay).run([CHUNK])
        events = [event for event in drive.events if not isinstance(event, Refined)]
        return [replace(event, kept_from=0, live_from=0) if isinstance(event, KEEPING) else event for event in events]

    assert live(REFINE, 0) == live(REFINE, 300) == live(Start(), 0)


def test_a_client_that_does_not_ask_gets_nothing_else() -> None:
    """No event, no field, no decode, and no audio is kept for it."""
    drive = Drive(TALK, TALK.decode).run([CHUNK])
    assert drive.refining == []
    assert not rewrites(drive)
    assert all(event.live_from is None for event in drive.events if isinstance(event, Committed | UtteranceEnded))
    assert max(drive.held) < to_samples(11)


def test_speech_without_pause_is_refined_in_parts() -> None:
    """A long utterance is cut, and its first part is refined while it goes on."""
    stream = seconds(0.5, 100, 1)
    drive = Drive(stream, stream.decode, start=REFINE).run([CHUNK])
    assert len(rewrites(drive)) >= 4
    assert isinstance(next(event for event in drive.events if isinstance(event, Refined | UtteranceEnded)), Refined)
    # A word that lies across a cut is shortened.
    assert [word.text for word in followed(drive).words] == [refined(word).text for word in stream.words]
    check(drive)


def test_stop_waits_for_all_paragraphs() -> None:
    """``Done`` comes after the last one, and only the paragraph in flight is decoded."""
    drive = Drive(TALK, TALK.decode, start=REFINE, refine_delay=100).run([CHUNK])
    assert isinstance(drive.events[-2], Refined)
    assert isinstance(drive.events[-1], Done)
    assert all(event.decoded for event in rewrites(drive))
    check(drive)


# ---- when it cannot be decoded


def test_words_stand_where_the_decoder_fails() -> None:
    """After the second failure the span is told with its committed words."""
    drive = Drive(TALK, TALK.decode, start=REFINE, refine=lambda request: None).run([CHUNK])
    assert followed(drive).words == TALK.words
    assert len(drive.refining) == MAX_ATTEMPTS * len(rewrites(drive))
    assert drive.gaps == []
    check(drive)


def test_one_failure_is_made_up_for() -> None:
    """The same audio is decoded once more."""
    count = itertools.count()
    drive = Drive(
        TALK, TALK.decode, start=REFINE, refine=lambda request: None if next(count) % 2 == 0 else TALK.refine(request)
    ).run([CHUNK])
    assert followed(drive).words == [refined(word) for word in TALK.words]
    check(drive)


def test_a_decoder_that_falls_behind_leaves_words_as_they_are() -> None:
    """The audio that is kept has a bound: a paragraph that waited too long is told with its committed words, and a
    later one is refined.
    """
    stream = Stream(TALK.runs * 4)
    drive = Drive(stream, stream.decode, start=REFINE, refine_delay=600).run([CHUNK])
    given_up = [event for event in rewrites(drive) if not event.decoded]
    done = [event for event in rewrites(drive) if event.decoded]
    assert given_up
    assert done
    assert max(drive.held) < to_samples(MAX_KEPT_S + 65)
    kept = {word for event in given_up for word in event.words}
    assert followed(drive).words == [word if word in kept else refined(word) for word in stream.words]
    check(drive)


def test_a_decode_that_never_ends_is_given_up() -> None:
    """Its late answer is ignored."""
    stream = Stream(TALK.runs * 4)
    drive = Drive(stream, stream.decode, start=REFINE, refine_delay=10**6)
    for end in range(CHUNK, stream.length, CHUNK):
        drive.feed(end)
    given_up = rewrites(drive)
    assert given_up
    assert not any(event.decoded for event in given_up)
    assert max(drive.held) < to_samples(2 * MAX_KEPT_S + 35)
    seen = len(rewrites(drive))
    drive.session.receive_hypothesis(Hypothesis(drive.refining[0].id, tuple(said("поздно", 1.0))))
    drive.events += drive.session.events()
    assert len(rewrites(drive)) == seen


def test_live_words_that_come_late_are_refined_too() -> None:
    """A paragraph is complete before its words are: it waits for them."""
    drive = Drive(TALK, TALK.decode, start=REFINE, delay=120).run([CHUNK])
    assert followed(drive).words == [refined(word) for word in TALK.words]
    check(drive)


# ---- words and paragraphs


def test_a_word_beyond_its_utterance_belongs_to_it() -> None:
    """Alignment may place a last word after the end: the next paragraph must not take it."""
    subject = Refinement(())
    for start, end in ((0, 200_000), (200_000, 400_000)):
        subject.open(start)
        subject.close(end)
        subject.receive_words([Word(f" {start}", start + 1_000, end + 5_000, 0.9), Word(" и", end + 2, end + 900, 0.9)])
        subject.receive_utterance_end(end)
    subject.end()
    closed = []
    while (one := subject.take(500_000, to_samples(1_000))) is not None:
        closed.append(one)
    assert sum(one.replaces for one in closed) == 4
    assert closed[-1].end == 400_000


def test_words_in_silence_stand() -> None:
    """A resumed client brings a word where no speech is found any more: it stays where it was."""
    stream = seconds(0.5, 3, 3, 3, 3)
    word = Word(" раньше", to_samples(5), to_samples(5.4), 0.9)
    known = (*stream.words[:7], word)
    start = replace(REFINE, resume=Resume("before", 0, (), to_samples(5.5), known))
    drive = Drive(stream, stream.decode, start=start).run([CHUNK])
    assert followed(drive).words == [
        *(refined(one) for one in stream.words[:7]),
        word,
        *(refined(one) for one in stream.words[7:]),
    ]
    check(drive)


# ---- resume


def continued(first: Drive, client: Client, stream: Stream, config: SessionConfig, refine_delay: int = 0) -> Drive:
    """A further session for a client; its detector judges as ``stream`` says."""
    start = replace(first.start, resume=client.resume())
    return Drive(stream, first.decode, config, start, refine=first.refine, refine_delay=refine_delay)


def test_a_resumed_stream_does_not_decode_committed_speech_again() -> None:
    """The audio before ``live_from`` is refined, not decoded as live speech."""
    first = Drive(TALK, TALK.decode, start=REFINE, refine_delay=10**6)
    while first.session.received < to_samples(40):
        first.feed(first.session.received + CHUNK)
    client = followed(first)
    assert client.live_from is not None
    assert client.live_from - client.kept_from > to_samples(25)
    second = continued(first, client, TALK, SessionConfig())
    second.run([CHUNK])
    assert all(request.start >= client.live_from for request in second.requests)
    for event in second.events:
        client.receive(event)
    assert client.words == [refined(word) for word in TALK.words]
    check(second)


@hypothesis_settings(max_examples=200)
@given(
    stream=streams,
    sizes=chunk_sizes,
    breaks=st.lists(st.floats(0, 1), min_size=1, max_size=3),
    shifts=st.lists(st.integers(-4, 4), min_size=18, max_size=18),
    refine_delay=st.sampled_from([0, 5, 10**6]),
    start=starts,
)
def test_resume_tolerates_other_borders(
    *, stream: Stream, sizes: list[int], breaks: list[float], shifts: list[int], refine_delay: int, start: Start
) -> None:
    """Speech and silence seem to begin some windows earlier or later to the detector of the next connection. However
    often connections break, and whether or not paragraphs were refined before: no word is lost or told twice.
    """
    client = Client()
    drive = Drive(stream, stream.decode, HALL, start, refine=stream.refine, refine_delay=refine_delay)
    for number, share in enumerate(breaks):
        while drive.session.received < stream.length:
            drive.feed(min(stream.length, drive.session.received + sizes[number % len(sizes)]))
        for event in drive.events[: round(share * len(drive.events))]:
            client.receive(event)
        drive = continued(drive, client, shifted(stream, shifts[number * 6 :]), HALL, refine_delay)
    drive.refine_delay = 0
    drive.run([*sizes, CHUNK])
    for event in drive.events:
        client.receive(event)
    assert [word.text.rstrip("!") for word in client.words] == [word.text for word in stream.words]
    assert client.refined == len(client.words)


def shifted(stream: Stream, shifts: list[int]) -> Stream:
    """The stream with the borders of its speech moved by so many windows; its length stays."""
    borders = list(itertools.accumulate(stream.runs[:-1]))
    moved = [border + shift for border, shift in zip(borders, itertools.cycle(shifts))]
    total = sum(stream.runs)
    edges = [0, *(min(max(border, 0), total) for border in moved), total]
    return Stream(tuple(after - before for before, after in itertools.pairwise(edges)), stream.rest)


# ---- any decoder


@st.composite
def garbage(draw: st.DrawFn) -> Decoder:
    """A decoder of paragraphs that answers with random words, or fails."""
    times = itertools.cycle(draw(st.lists(st.tuples(st.floats(-0.5, 1.5), st.floats(0, 1)), min_size=1)))
    counts = itertools.cycle(draw(st.lists(st.integers(-1, 14), min_size=1)))

    def decode(request: DecodeRequest) -> Hypothesis | None:
        if (number := next(counts)) < 0:
            return None
        at = [(request.start + round(share * len(request.samples)), p) for share, p in itertools.islice(times, number)]
        return Hypothesis(request.id, tuple(Word(" а", start, start + WORD, p) for start, p in at))

    return decode


@given(
    stream=streams,
    sizes=chunk_sizes,
    decode=garbage(),
    delays=st.tuples(st.integers(0, 4), st.integers(0, 20)),
    flush=st.floats(0, 1),
    start=starts,
)
def test_no_decoder_of_paragraphs_breaks_a_promise(
    *, stream: Stream, sizes: list[int], decode: Decoder, delays: tuple[int, int], flush: float, start: Start
) -> None:
    """Whatever it answers: each committed word is in one refined span, and the stream ends."""
    drive = Drive(stream, stream.decode, HALL, start, delays[0], decode, delays[1])
    check(drive.run([*sizes, CHUNK], [round(flush * stream.length)]))
