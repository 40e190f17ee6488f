"""The session: audio, speech probabilities and hypotheses in; events and decode requests out.

Long because each rule has a test of its own, and random streams with random faults are checked against all rules.
"""

import itertools
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.core.streams import WORD, Client, Decoder, Drive, Stream, check, refined
from whisperlivekit.core.commands import Resume, Start
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
from whisperlivekit.core.gate import POST_ROLL_S, PRE_ROLL_S
from whisperlivekit.core.history import SURE
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, Word
from whisperlivekit.core.session import LATE_S, MAX_ATTEMPTS, Session, SessionConfig
from whisperlivekit.core.units import ENCODER_FRAME, SAMPLE_RATE, WINDOW, to_samples
from whisperlivekit.core.utterance import MAX_HELD_S, UNHEARD_S

PRE_ROLL, POST_ROLL = to_samples(PRE_ROLL_S), to_samples(POST_ROLL_S)
CHUNK = 1_600
"""100 ms, as a page sends."""

HALL = SessionConfig(max_window_s=30.0)
"""A window that no generated stream fills, so that no window is cut in the middle of a word."""

streams = st.builds(
    Stream,
    st.lists(st.one_of(st.integers(1, 12), st.integers(13, 90)), min_size=1, max_size=9).map(tuple),
    st.integers(0, WINDOW - 1),
)
chunk_sizes = st.lists(
    st.one_of(st.integers(1, 700), st.integers(700, 20_000), st.just(10**7)), min_size=1, max_size=40
)
"""The last size is repeated, so it must not be tiny: see ``chunked``."""


BY_UTTERANCE = Start(commit="utterance")
TRANSLATE = Start(task="translate")
starts = st.sampled_from([Start(), BY_UTTERANCE, Start(refine=True), Start(commit="utterance", refine=True), TRANSLATE])


def chunked(sizes: list[int]) -> list[int]:
    return [*sizes, CHUNK]


def seconds(*runs: float) -> Stream:
    """A stream of silence and speech in turns, in seconds, rounded to windows."""
    return Stream(tuple(round(run * SAMPLE_RATE / WINDOW) for run in runs))


def only(drive: Drive, *kinds: type[Event]) -> list[Event]:
    return [event for event in drive.events if isinstance(event, kinds)]


# ---- the plain case


def test_one_utterance_to_the_sample() -> None:
    """Two seconds of speech give these events at these positions, apart from partials, progress and commits."""
    stream = seconds(1, 2, 2)
    drive = Drive(stream, stream.decode).run([CHUNK])
    ((begin, end),) = stream.speech
    plain = [event for event in drive.events if not isinstance(event, Partial | Progress | Committed)]
    assert plain == [
        SpeechStarted(begin - PRE_ROLL),
        SpeechStopped(end),
        UtteranceEnded(begin - PRE_ROLL, end + POST_ROLL, end + POST_ROLL),
        Done(stream.length, end + POST_ROLL - begin + PRE_ROLL, len(stream.words), 1, 0),
    ]
    assert drive.words == stream.words
    check(drive)


def test_words_are_committed_while_somebody_speaks() -> None:
    """Each word is committed within the frame threshold, a step and a chunk, not only at the end."""
    stream = seconds(0, 10)
    drive = Drive(stream, stream.decode)
    latest = to_samples(0.5 + 0.5) + CHUNK
    for end in range(CHUNK, stream.length + 1, CHUNK):
        drive.feed(end)
        due = [word for word in stream.words if word.end <= end - latest]
        assert drive.words[: len(due)] == due


def test_partials_show_the_tail() -> None:
    """The committed words and the last partial together are all words heard so far."""
    stream = seconds(0, 6)
    drive = Drive(stream, stream.decode)
    shown = 0
    for end in range(CHUNK, stream.length + 1, CHUNK):
        drive.feed(end)
        partials = only(drive, Partial)
        if len(partials) > shown:
            shown = len(partials)
            partial = partials[-1]
            assert isinstance(partial, Partial)
            heard = [
                word for word in stream.words if word.end <= drive.requests[-1].start + len(drive.requests[-1].samples)
            ]
            assert drive.text + partial.text == "".join(word.text for word in heard)
    assert shown >= 8


def test_silence_is_not_decoded() -> None:
    """Ten minutes of silence cause no decode, are not kept in memory, and are reported as progress."""
    drive = Drive(seconds(600), lambda request: pytest.fail("silence was decoded"))
    drive.run([SAMPLE_RATE])
    assert [type(event) for event in drive.events[:-1]] == [Progress] * (len(drive.events) - 1)
    assert len(drive.events) > 500
    assert max(drive.held) < 2 * SAMPLE_RATE
    check(drive)


def test_the_last_words_are_decoded_in_the_pause() -> None:
    """The final decode runs before the gate closes, so that the last words come when the utterance ends."""
    stream = seconds(0.5, 2, 2)
    drive = Drive(stream, stream.decode)
    for end in range(CHUNK, stream.length + 1, CHUNK):
        drive.feed(end)
        if only(drive, SpeechStopped):
            break
    assert isinstance(drive.events[-1], UtteranceEnded)
    assert drive.words == stream.words
    assert [request.final for request in drive.requests] == [False] * (len(drive.requests) - 1) + [True]


def test_a_pause_inside_a_sentence_does_not_end_it() -> None:
    """A pause shorter than the hangover leaves one utterance; the words before it are decoded again with the rest."""
    stream = seconds(0.5, 1, 0.4, 1, 2)
    drive = Drive(stream, stream.decode).run([CHUNK])
    assert len(drive.utterances) == 1
    assert drive.words == stream.words
    check(drive)


# ---- any chunks, any load


@given(streams, chunk_sizes, st.integers(0, 30), st.lists(st.floats(0, 1), max_size=3), starts)
def test_chunks_and_load_change_nothing(
    stream: Stream, sizes: list[int], delay: int, shares: list[float], start: Start
) -> None:
    """Whole, window by window or in random chunks, with fast or slow decodes: the same starts, stops, utterances,
    words, flushes and totals.
    """
    flushes = [round(share * stream.length) for share in shares]
    whole = Drive(stream, stream.decode, HALL, start).run([stream.length + 1], flushes)
    windows = Drive(stream, stream.decode, HALL, start).run([WINDOW], flushes)
    random_chunks = Drive(stream, stream.decode, HALL, start, delay).run(chunked(sizes), flushes)
    for drive in (whole, windows, random_chunks):
        check(drive)
    assert whole.outline == windows.outline
    assert whole.outline == random_chunks.outline


def test_a_flush_may_cut_a_window_in_which_speech_begins() -> None:
    """The detector needs a whole window: less than one is not decoded, and the words after it are not lost."""
    stream = Stream((1, 16, 15, 1, 1, 1, 13, 81))
    at = 32 * WINDOW + 128
    drive = Drive(stream, stream.decode, HALL).run([WINDOW], [at])
    check(drive)
    assert drive.words == stream.words


@given(streams, chunk_sizes, st.integers(0, 30), starts)
def test_every_word_is_committed_once(stream: Stream, sizes: list[int], delay: int, start: Start) -> None:
    """The transcript of a stream without faults is what was said."""
    drive = Drive(stream, stream.decode, HALL, start, delay).run(chunked(sizes))
    assert drive.words == stream.words
    check(drive)


def test_a_decode_that_waits_takes_the_newest_audio() -> None:
    """Also a pause that begins meanwhile: then it is the last decode of the utterance. Until the recognizer has taken
    the newer request, the session awaits the old one.
    """
    stream = seconds(0, 2, 1)
    drive = Drive(stream, stream.decode, delay=10**6)
    while not drive.requests:
        drive.feed(drive.session.received + CHUNK)
    [request] = drive.requests
    assert drive.session.newer_decode() is None
    newer = request
    for _ in range(4):
        drive.session.receive_audio(np.arange(drive.session.received, drive.session.received + CHUNK, dtype=np.float32))
        found = drive.session.newer_decode()
        assert found is not None
        assert found == replace(request, samples=found.samples), "only the audio differs"
        assert len(found.samples) == len(newer.samples) + CHUNK
        newer = found
    drive.session.renew(newer)
    assert drive.session.newer_decode() is None
    drive.feed(stream.length)
    [(_, paused)] = drive._answers
    assert paused.id == request.id
    assert paused.final
    assert paused.start + len(paused.samples) == stream.speech[0][1] + POST_ROLL


def test_sample_by_sample() -> None:
    """Chunks of one sample give the same result as chunks of 100 ms."""
    stream = Stream((4, 30, 20), 17)
    assert Drive(stream, stream.decode).run([1]).outline == Drive(stream, stream.decode).run([CHUNK]).outline


@given(streams, chunk_sizes)
def test_only_the_needed_audio_is_held(stream: Stream, sizes: list[int]) -> None:
    """The server itself drops the audio before ``kept_from``."""
    drive = Drive(stream, stream.decode, HALL).run(chunked(sizes))
    assert drive.session._timeline.start >= drive.kept_from


# ---- flush and stop


def test_flush_inside_an_utterance_ends_it_there() -> None:
    """Everything before it is committed when ``Flushed`` comes; the speech after it is a new utterance."""
    stream = seconds(0.5, 4, 1)
    at = to_samples(2.5)
    drive = Drive(stream, stream.decode).run([CHUNK], [at])
    flushed = next(index for index, event in enumerate(drive.events) if isinstance(event, Flushed))
    assert drive.events[flushed] == Flushed(at, at)
    before = [word for event in drive.events[:flushed] if isinstance(event, Committed) for word in event.words]
    assert before == [word for word in stream.words if word.end <= at]
    assert drive.utterances[0][1] == at
    assert drive.utterances[1][0] >= at
    assert not [word for word in drive.words if word.start < at < word.end]
    check(drive)


def test_flush_in_silence_is_answered_at_once() -> None:
    """There is nothing to commit, so nothing is decoded."""
    stream = seconds(1)
    drive = Drive(stream, stream.decode)
    drive.feed(stream.length)
    drive.flush()
    assert isinstance(drive.events[-1], Flushed)
    assert drive.events[-1].at == stream.length
    assert drive.requests == []


def test_flush_waits_for_the_decode_in_flight() -> None:
    """``Flushed`` never comes before the words of the decode."""
    stream = seconds(0, 3)
    drive = Drive(stream, stream.decode, delay=1_000)
    drive.feed(to_samples(2))
    drive.feed(to_samples(2.5))
    drive.flush()
    drive.flush()
    assert not only(drive, Flushed)
    drive.delay = 0
    drive.stop()
    kinds = [type(event) for event in drive.events]
    assert kinds.count(Flushed) == 2
    assert kinds.index(Flushed) > len(kinds) - 1 - kinds[::-1].index(UtteranceEnded)
    check(drive)


def test_stop_before_anything() -> None:
    """An empty stream ends with ``Done``."""
    stream = Stream(())
    drive = Drive(stream, stream.decode)
    drive.stop()
    assert drive.events == [Done(0, 0, 0, 0, 0)]


def test_stop_in_the_middle_of_a_word() -> None:
    """The audio so far is decoded, and the end of the stream is the end of the utterance."""
    stream = Stream((10, 40), 100)
    drive = Drive(stream, stream.decode).run([CHUNK])
    assert drive.utterances[-1][1] == stream.length
    assert drive.requests[-1].final
    check(drive)


def test_two_stops_are_one() -> None:
    """``Done`` comes once."""
    stream = seconds(0.5, 1)
    drive = Drive(stream, stream.decode).run([CHUNK])
    drive.stop()
    check(drive)


# ---- late, wrong and missing answers


def test_an_answer_nobody_waits_for_is_ignored() -> None:
    """The result of another request never reaches the transcript, whether a decode is in flight or not."""
    stream = seconds(0.5, 3, 1)
    drive = Drive(stream, stream.decode, delay=3)
    wrong = (Word(" чужое", 0, 100, 1.0),)
    in_flight = set()
    for end in range(CHUNK, stream.length + 1, CHUNK):
        drive.feed(end)
        last = len(drive.requests)
        in_flight.add(len(drive.heard) < last)
        for number in {-1, 0, last - 1, last + 1} | ({last} if len(drive.heard) == last else set()):
            drive.session.receive_hypothesis(Hypothesis(number, wrong))
            for _ in range(MAX_ATTEMPTS):
                drive.session.receive_failure(number)
    drive.stop()
    assert in_flight == {False, True}
    assert drive.words == stream.words
    assert drive.gaps == []
    check(drive)


def test_an_answer_for_an_earlier_pause_does_not_end_a_later_one() -> None:
    """The speaker continued and paused again before the answer came: the new words are decoded too."""
    stream = Stream((0, 20, 10, 14, 40))
    drive = Drive(stream, stream.decode, delay=26).run([WINDOW])
    assert drive.words == stream.words
    check(drive)


def test_a_failed_step_is_made_up_for_by_the_next() -> None:
    """A decode that fails while somebody speaks loses no word: the next one takes its audio too."""
    stream = seconds(0.5, 6, 1)
    count = itertools.count()

    def decode(request: DecodeRequest) -> Hypothesis | None:
        return None if next(count) % 2 and not request.final else stream.decode(request)

    drive = Drive(stream, decode).run([CHUNK])
    assert drive.words == stream.words
    assert drive.gaps == []
    check(drive)


def test_a_last_decode_that_fails_once_is_tried_again() -> None:
    """One failure at the end of the stream loses nothing."""
    stream = seconds(0, 2.9)
    finals: list[int] = []

    def decode(request: DecodeRequest) -> Hypothesis | None:
        finals.extend([request.id] * request.final)
        return stream.decode(request) if not request.final or len(finals) == MAX_ATTEMPTS else None

    drive = Drive(stream, decode).run([CHUNK])
    assert len(finals) == MAX_ATTEMPTS
    assert drive.words == stream.words
    assert drive.gaps == []


def test_a_dead_decoder_makes_gaps_of_all_speech() -> None:
    """If every decode fails, all speech is in gaps, and the stream ends with ``Done``."""
    stream = seconds(0.5, 3, 1, 20, 1)
    drive = Drive(stream, lambda request: None).run([CHUNK])
    assert drive.words == []
    assert sum(end - start for start, end in drive.gaps) == sum(end - start for start, end in drive.utterances)
    assert all(isinstance(event, Gap) and event.reason == "decode_failed" for event in only(drive, Gap))
    assert max(drive.held) < to_samples(17)
    check(drive)


def test_the_words_known_before_a_failure_are_not_lost() -> None:
    """The gap begins where the last partial ends."""
    stream = seconds(0.5, 3, 1)
    drive = Drive(stream, lambda request: None if request.final else stream.decode(request)).run([CHUNK])
    partial = only(drive, Partial)[-1]
    assert isinstance(partial, Partial)
    assert drive.words == [word for word in stream.words if word.end <= partial.end]
    assert drive.gaps == [(partial.end, drive.utterances[0][1])]
    check(drive)


def test_a_gap_ends_where_its_utterance_ends() -> None:
    """The decode that failed took audio after the utterance, in which another one had begun: that one is decoded."""
    session = Session(SessionConfig(max_window_s=1.0, min_silence_s=0.1), Start())
    session.receive_audio(np.arange(SAMPLE_RATE, dtype=np.float32))
    session.receive_speech(np.full(20, 0.9, np.float32))
    for _ in range(MAX_ATTEMPTS):
        request = session.next_decode()
        assert request is not None
        assert (request.start, len(request.samples)) == (0, SAMPLE_RATE)
        if request.id == MAX_ATTEMPTS:
            # Four windows of silence end the utterance; seven windows of speech begin the next one.
            session.receive_speech(np.array([0.1] * 4 + [0.9] * 7, np.float32))
        session.receive_failure(request.id)
    end = 24 * WINDOW
    happened = session.events()
    assert [event for event in happened if isinstance(event, Gap)] == [Gap(0, end, "decode_failed", end)]
    assert [event.end for event in happened if isinstance(event, UtteranceEnded)] == [end]
    assert [event.at for event in happened if isinstance(event, SpeechStarted)] == [0, end]
    session.receive_stop()
    request = session.next_decode()
    assert request is not None
    np.testing.assert_array_equal(request.samples, np.arange(end, SAMPLE_RATE, dtype=np.float32))


def test_no_gap_where_nothing_was_lost() -> None:
    """The last partial reached the end of the audio before the final decode failed: there is no gap."""
    stream = seconds(0, 3)

    def decode(request: DecodeRequest) -> Hypothesis | None:
        end = request.start + len(request.samples)
        return None if request.final else Hypothesis(request.id, (Word(" слово", request.start, end, 0.9),))

    drive = Drive(stream, decode)
    while len(drive.requests) < 3:
        drive.feed(drive.session.received + CHUNK)
    drive.flush()
    drive.stop()
    assert drive.text == " слово"
    assert drive.gaps == []
    check(drive)


def test_utterances_never_overlap() -> None:
    """A full window moved into the silence after an utterance: the next utterance begins after it, although its
    pre-roll would reach into it.
    """
    stream = Stream((20, 10, 18, 20, 30))
    drive = Drive(stream, lambda request: Hypothesis(request.id, ()), SessionConfig(max_window_s=1.0)).run([WINDOW])
    assert len(drive.utterances) == 2
    check(drive)


@given(
    stream=streams,
    sizes=chunk_sizes,
    delay=st.integers(0, 3),
    chance=st.randoms(use_true_random=False),
    rate=st.floats(0.1, 0.9),
    start=starts,
)
def test_failures_lose_only_what_a_gap_names(
    *, stream: Stream, sizes: list[int], delay: int, chance: random.Random, rate: float, start: Start
) -> None:
    """Whichever decodes fail, the stream ends, and every word outside gaps is committed exactly once."""

    def decode(request: DecodeRequest) -> Hypothesis | None:
        return None if chance.random() < rate else stream.decode(request)

    drive = Drive(stream, decode, HALL, start, delay).run(chunked(sizes))
    check(drive)
    lost = [word for word in stream.words if any(word.start < high and low < word.end for low, high in drive.gaps)]
    assert drive.words == [word for word in stream.words if word not in lost]


# ---- decoders with strange answers

NOTHING: Callable[[DecodeRequest], tuple[Word, ...]] = lambda request: ()  # noqa: E731


def babble(request: DecodeRequest) -> tuple[Word, ...]:
    """The same word again and again, at the very beginning: a loop."""
    return tuple(Word(" восемь", request.start, request.start, 0.99) for _ in range(3))


def beyond(request: DecodeRequest) -> tuple[Word, ...]:
    """Words after the end of the audio."""
    end = request.start + len(request.samples)
    return (Word(" потом", end + 5, end + 10**6, 0.9), Word(" ещё", end + 10**9, end + 10, 0.9))


def backwards(request: DecodeRequest) -> tuple[Word, ...]:
    """Times that run backwards, lengths below zero, positions below zero."""
    end = request.start + len(request.samples)
    return (
        Word(" конец", end - WORD, end - 2 * WORD, 0.9),
        Word(" начало", request.start, request.start - 100, 0.9),
        Word("", -5, -10, 0.0),
        Word(" середина", request.start + WORD, request.start, 1.0),
    )


@pytest.mark.parametrize("words", [NOTHING, babble, beyond, backwards])
@pytest.mark.parametrize("delay", [0, 3])
def test_a_strange_decoder_is_survived(words: Callable[[DecodeRequest], tuple[Word, ...]], delay: int) -> None:
    """Memory stays bounded, no exception is raised and every promise holds: only the text is bad."""
    stream = seconds(0.5, 40, 0.3, 5, 1, 0.2, 1, 3)

    def decode(request: DecodeRequest) -> Hypothesis:
        return Hypothesis(request.id, words(request))

    drive = Drive(stream, decode, delay=delay).run([CHUNK], [to_samples(10), to_samples(49)])
    assert max(drive.held) < to_samples(17)
    check(drive)


@st.composite
def garbage(draw: st.DrawFn) -> Decoder:
    """A decoder that answers with random words, or fails."""
    times = draw(st.lists(st.tuples(st.floats(-0.5, 1.5), st.floats(-0.5, 1.5), st.floats(0, 1)), min_size=1))
    counts = draw(st.lists(st.integers(-1, 14), min_size=1))
    source, count = itertools.cycle(times), itertools.cycle(counts)

    def decode(request: DecodeRequest) -> Hypothesis | None:
        number = next(count)
        if number < 0:
            return None

        def position(share: float) -> int:
            return request.start + round(share * len(request.samples))

        return Hypothesis(
            request.id,
            tuple(
                Word(" а", position(start), position(end), probability)
                for start, end, probability in itertools.islice(source, number)
            ),
        )

    return decode


@hypothesis_settings(max_examples=200)
@given(
    stream=streams,
    sizes=chunk_sizes,
    decode=garbage(),
    delay=st.integers(0, 4),
    window_s=st.sampled_from([1.0, 3.0, 15.0]),
    flush=st.floats(0, 1),
    start=starts,
)
def test_no_decoder_breaks_a_promise(
    *, stream: Stream, sizes: list[int], decode: Decoder, delay: int, window_s: float, flush: float, start: Start
) -> None:
    """Whatever a decoder answers, every promise holds, also with windows much shorter than the utterances."""
    config = SessionConfig(max_window_s=window_s)
    check(Drive(stream, decode, config, start, delay).run(chunked(sizes), [round(flush * stream.length)]))


# ---- commit by utterance


def test_by_utterance_the_words_come_once_when_it_has_ended() -> None:
    """Until then they are partial. The decode in the pause decides on all of them, and the end only confirms it."""
    drive = Drive(TWO, TWO.decode, start=BY_UTTERANCE).run([CHUNK])
    told = [event for event in drive.events if isinstance(event, Committed | UtteranceEnded)]
    assert [type(event) for event in told] == [Committed, UtteranceEnded] * 2
    assert drive.words == TWO.words
    for utterance, (start, end) in enumerate(drive.utterances):
        last = [request for request in drive.requests if start <= request.start < end][-1]
        assert (last.start, last.final, last.prefix) == (start, True, "")
        assert bool(last.context_text) == bool(utterance), "the last decode hears the end of the utterance before"
        assert start + len(last.samples) < end + CHUNK, "the last decode waited for the end"
    check(drive)


def test_by_utterance_a_partial_is_all_of_the_utterance() -> None:
    """Also when its window has moved on: no word that was shown disappears because it is older than a window."""
    stream = seconds(0.5, 40, 1)
    drive = Drive(stream, stream.decode, start=BY_UTTERANCE).run([CHUNK])
    assert max(len(request.samples) for request in drive.requests) <= to_samples(15)
    texts = [event.text for event in drive.events if isinstance(event, Partial)]
    said = "".join(word.text for word in stream.words)
    assert all(said.startswith(text) for text in texts)
    assert texts == sorted(texts, key=len)
    assert [event.text for event in only(drive, Committed) if isinstance(event, Committed)] == [said]
    check(drive)


def test_by_utterance_a_very_long_one_is_committed_in_parts() -> None:
    """A client keeps the audio of words that it was not told, so there is a limit. The partial after a part has the
    rest.
    """
    stream = seconds(0.5, 150, 1)
    drive = Drive(stream, stream.decode, start=BY_UTTERANCE).run([CHUNK])
    parts = only(drive, Committed)
    assert len(parts) == 3
    assert max(drive.held) < to_samples(MAX_HELD_S + 17)
    for part in parts[:-1]:
        after = drive.events[drive.events.index(part) + 1]
        assert isinstance(part, Committed)
        assert isinstance(after, Partial)
        assert after.start >= part.words[-1].end
    assert drive.words == stream.words
    check(drive)


def test_by_utterance_noise_after_words_keeps_no_more_audio() -> None:
    """The limit counts audio, not words."""
    stream = seconds(0.5, 150, 1)

    def decode(request: DecodeRequest) -> Hypothesis:
        return stream.decode(request) if request.start < to_samples(10) else Hypothesis(request.id, ())

    drive = Drive(stream, decode, start=BY_UTTERANCE).run([CHUNK])
    assert max(drive.held) < to_samples(MAX_HELD_S + 17)
    assert drive.words
    check(drive)


def test_by_utterance_words_before_a_gap_come_before_it() -> None:
    """A client that has seen the gap has the words before it too."""
    stream = seconds(0.5, 40, 1)
    lost = to_samples(25)

    def decode(request: DecodeRequest) -> Hypothesis | None:
        end = request.start + len(request.samples)
        return None if request.start < lost < end else stream.decode(request)

    drive = Drive(stream, decode, start=BY_UTTERANCE).run([CHUNK])
    kinds = [type(event) for event in drive.events if isinstance(event, Committed | Gap)]
    assert kinds == [Committed, Gap, Committed]
    ((start, end),) = drive.gaps
    assert drive.words == [word for word in stream.words if word.end <= start or word.start >= end]
    check(drive)


# ---- translation


def test_a_translation_comes_by_utterance() -> None:
    """Whatever the client says of ``commit``. The decoder is given no text: which audio it belongs to is not known."""
    drive = Drive(TWO, TWO.decode, start=TRANSLATE).run([CHUNK])
    told = [event for event in drive.events if isinstance(event, Committed | UtteranceEnded)]
    assert [type(event) for event in told] == [Committed, UtteranceEnded] * 2
    assert {(request.task, request.context_text, request.prefix) for request in drive.requests} == {
        ("translate", "", "")
    }
    assert drive.words == TWO.words
    check(drive)


def test_a_translation_is_divided_in_pauses() -> None:
    """After 8 s a short pause is enough to begin a new window. So no window is cut where somebody speaks, and a long
    utterance needs no long decodes.
    """
    speech = (0.5, 5, 0.4, 5, 0.4, 5, 0.4, 5, 1)
    stream = seconds(*speech)
    drive = Drive(stream, stream.decode, start=TRANSLATE).run([CHUNK])
    assert len(drive.utterances) == len(only(drive, Committed)) == 1
    assert drive.words == stream.words
    starts = sorted({request.start for request in drive.requests})
    assert len(starts) == 2
    assert not any(low <= starts[1] < high for low, high in stream.speech)
    check(drive)


def test_a_translation_without_pause_is_cut() -> None:
    """Where nobody makes a pause for 15 s, a window ends where it is full, and the next one begins there."""
    stream = seconds(0.5, 40, 1)
    drive = Drive(stream, stream.decode, start=TRANSLATE).run([CHUNK])
    assert max(len(request.samples) for request in drive.requests) == to_samples(15)
    assert len(stream.words) - len(drive.words) <= 2
    check(drive)


def test_a_translation_has_options_of_its_own() -> None:
    """The server's prompt is in the language that is spoken, and hotwords are compared with what was said: a
    translation has neither. A client's own prompt is given to the decoder.
    """
    config = SessionConfig(language="ru", prompt="Сервер.")

    def first(start: Start) -> DecodeRequest:
        return Drive(TWO, TWO.decode, config, start).run([CHUNK]).requests[0]

    plain = first(replace(TRANSLATE, hotwords=("Сбербанк",)))
    assert (plain.language, plain.prompt, plain.hotwords) == ("ru", "", ())
    assert first(replace(TRANSLATE, prompt="A speech.")).prompt == "A speech."


def test_a_translation_is_not_refined() -> None:
    """Which committed words belong to which audio is not known, so none of them can be replaced."""
    with pytest.raises(ValueError, match="found refine and task translate"):
        Start(refine=True, task="translate")


# ---- context: what was said before

TWO = seconds(0.5, 4, 1, 3, 1)
"""Two utterances with a pause of one second between them."""


def second_of(drive: Drive) -> list[DecodeRequest]:
    """The requests of the second utterance."""
    return [request for request in drive.requests if request.start >= drive.utterances[0][1]]


def unclear(decode: Decoder) -> Decoder:
    """A decoder that is less sure of its words, as with spontaneous speech."""

    def decode_unclear(request: DecodeRequest) -> Hypothesis:
        hypothesis = decode(request)
        assert hypothesis is not None
        return replace(hypothesis, words=tuple(replace(word, probability=0.7) for word in hypothesis.words))

    return decode_unclear


@pytest.mark.parametrize(
    ("late", "memory_s"),
    [(False, SessionConfig().memory_s), (True, SessionConfig().short_memory_s)],
    ids=["in time", "late"],
)
def test_the_memory_is_long_in_unclear_speech_while_decodes_are_in_time(late: bool, memory_s: float) -> None:
    """It reaches over utterances. Under load every stream makes do with a short one."""
    stream = seconds(0.5, *[4, 1] * 6, 1)
    delay = 1 + to_samples(LATE_S) // CHUNK if late else 0
    drive = Drive(stream, unclear(stream.decode), delay=delay).run([CHUNK])
    # At the end no audio arrives any more, and nothing is late.
    heard = [request for request in drive.requests if request.start < drive.utterances[-1][0]]
    longest = max(len(request.context) for request in heard)
    assert memory_s - 1 < longest / SAMPLE_RATE <= memory_s


def test_the_last_words_are_heard_again_before_a_new_utterance() -> None:
    """The last words, with their audio, are the context of the new utterance, not a part of its window."""
    drive = Drive(TWO, TWO.decode).run([CHUNK])
    request = second_of(drive)[0]
    end = drive.utterances[0][1]
    said = [word for word in TWO.words if word.end <= end][-len(request.context_text.split()) :]
    assert request.context_text == "".join(word.text for word in said)
    assert request.context[-1] == end - 1
    assert 0 <= request.context[0] - said[0].start < ENCODER_FRAME
    assert SessionConfig().short_memory_s - 1 < len(request.context) / SAMPLE_RATE <= SessionConfig().short_memory_s
    assert drive.words == TWO.words


@pytest.mark.parametrize(
    ("config", "pause_s", "probability"),
    [
        (SessionConfig(memory_s=0, short_memory_s=0), 1, 0.9),
        (SessionConfig(), 12, 0.9),
        (SessionConfig(), 1, SURE - 0.1),
    ],
    ids=["switched off", "long ago", "improbable words"],
)
def test_no_context_where_it_would_not_help(config: SessionConfig, pause_s: float, probability: float) -> None:
    """Without a useful context the new utterance is decoded like the first one."""
    stream = seconds(0.5, 4, pause_s, 3, 1)

    def decode(request: DecodeRequest) -> Hypothesis:
        perfect = stream.decode(request)
        return replace(perfect, words=tuple(replace(word, probability=probability) for word in perfect.words))

    drive = Drive(stream, decode, config).run([CHUNK])
    assert len(drive.utterances) == 2
    assert second_of(drive)
    assert all(len(request.context) == 0 and not request.context_text for request in second_of(drive))


def test_no_words_after_a_context_are_decoded_again_without_it() -> None:
    """A decoder that takes the end of the context for the end of all text costs a decode, but no words."""

    def decode(request: DecodeRequest) -> Hypothesis:
        return Hypothesis(request.id, ()) if request.context_text else TWO.decode(request)

    drive = Drive(TWO, decode).run([CHUNK])
    assert drive.words == TWO.words
    assert 1 <= sum(bool(request.context_text) for request in drive.requests) <= 3
    check(drive)


def test_no_words_after_a_prefix_are_decoded_again_without_it() -> None:
    """The final decode of an utterance is the last chance to recognise its words."""
    stream = seconds(0.5, 3, 1)

    def decode(request: DecodeRequest) -> Hypothesis:
        return Hypothesis(request.id, ()) if request.final and request.prefix else stream.decode(request)

    drive = Drive(stream, decode).run([CHUNK])
    assert drive.words == stream.words
    check(drive)


@pytest.mark.parametrize("given", ["context", "prefix"])
def test_a_repeated_context_or_prefix_is_decoded_again_without_it(given: str) -> None:
    """This happens at once: otherwise the decoder would repeat itself until the end of the utterance, and the speech
    would be lost.
    """
    stream = seconds(0.5, 3, 1, 6, 1)

    def decode(request: DecodeRequest) -> Hypothesis:
        known = (request.context_text if given == "context" else request.prefix).split()
        if len(known) < 3:
            return stream.decode(request)
        last = known[-1]
        end = request.start + len(request.samples)
        copies = [Word(f" {last}", end - (3 - at) * WORD, end - (2 - at) * WORD, 0.95) for at in range(3)]
        return Hypothesis(request.id, tuple(copies))

    drive = Drive(stream, decode).run([CHUNK])
    assert drive.words == stream.words
    check(drive)


def test_what_a_window_leaves_behind_is_its_context() -> None:
    """In a long utterance of unclear speech too the decoder hears what was said before the window, directly in front of
    it.
    """
    stream = seconds(0.5, 4, 1, 20, 1)
    drive = Drive(stream, unclear(stream.decode)).run([CHUNK])
    moved = [request for request in drive.requests if request.start > drive.utterances[1][0]]
    assert moved
    for request in moved:
        assert request.context[-1] == request.start - 1
        assert len(request.context) <= to_samples(SessionConfig().memory_s)
        before = [word.text for word in stream.words if word.end <= request.start]
        assert before[-len(request.context_text.split()) :] == [f" {text}" for text in request.context_text.split()]
    assert "".join(word.text for word in drive.words) == "".join(word.text for word in stream.words)
    check(drive)


def test_hallucinations_over_breath_are_not_told() -> None:
    """They are neither committed nor shown as partial, however often they come, and they are no gap."""
    invented = tuple(Word(text, 20_000, 30_000, 0.5) for text in (" Продолжение", " следует..."))
    stream = seconds(0.5, 3, 1)
    drive = Drive(stream, lambda request: Hypothesis(request.id, invented, no_speech_probability=0.7)).run([CHUNK])
    assert drive.words == []
    assert only(drive, Partial)
    assert all(isinstance(event, Partial) and not event.text for event in only(drive, Partial))
    assert drive.gaps == []
    check(drive)


# ---- long streams


@pytest.mark.parametrize("delay", [0, 4])
def test_speech_without_pause_stays_bounded(delay: int) -> None:
    """Ten minutes without a pause: every word is committed, a few seconds of audio are held, windows stay short."""
    stream = seconds(0.5, 600, 1)
    words = stream.words
    index = {word.start: number for number, word in enumerate(words)}

    def decode(request: DecodeRequest) -> Hypothesis:
        end = request.start + len(request.samples)
        first = index[-(-(request.start - words[0].start) // WORD) * WORD + words[0].start] if words else 0
        first += len(request.prefix.split())
        heard = [word for word in words[first : first + 60] if word.end <= end]
        return Hypothesis(request.id, tuple(heard), language="ru")

    drive = Drive(stream, decode, delay=delay).run([CHUNK])
    assert drive.words == words
    assert max(drive.held) < to_samples(8)
    assert max(len(request.samples) for request in drive.requests) < to_samples(8)
    check(drive)


def test_speech_without_certain_words_stays_bounded() -> None:
    """A full window moves on, although nothing in it was committed."""
    stream = seconds(0.5, 60, 1)
    drive = Drive(stream, lambda request: Hypothesis(request.id, ())).run([CHUNK])
    assert max(len(request.samples) for request in drive.requests) <= to_samples(15)
    assert max(drive.held) < to_samples(17)
    check(drive)


def test_a_backlog_is_decoded_to_its_end() -> None:
    """Audio that came in one piece is decoded in windows of the longest length, and ``waiting`` falls to 0."""
    stream = seconds(0.5, 100, 1)
    drive = Drive(stream, stream.decode)
    drive.session.receive_audio(np.arange(stream.length, dtype=np.float32))
    drive.session.receive_speech(
        np.array([stream.probability(start) for start in range(0, stream.length, WINDOW)], np.float32)
    )
    waiting = [drive.session.waiting]
    while (request := drive.session.next_decode()) is not None:
        drive.heard.append((request.start, request.start + len(request.samples)))
        drive.session.receive_hypothesis(stream.decode(request))
        drive.events += drive.session.events()
        waiting.append(drive.session.waiting)
    assert waiting[0] > to_samples(99)
    assert waiting == sorted(waiting, reverse=True)
    assert waiting[-1] == 0
    drive.stop()
    assert drive.words == stream.words
    check(drive)


# ---- resume


def resumed(first: Drive, seen: int, config: SessionConfig = HALL, delay: int = 0) -> tuple[Drive, Client]:
    """A second session for a client that received the first ``seen`` events of the first session, and the client."""
    client = Client()
    for event in first.events[:seen]:
        client.receive(event)
    start = replace(first.start, resume=client.resume())
    second = Drive(first.stream, first.stream.decode, config, start, delay=delay)
    return second, client


@hypothesis_settings(max_examples=200)
@given(
    stream=streams,
    sizes=st.tuples(chunk_sizes, chunk_sizes),
    share=st.floats(0, 1),
    delay=st.integers(0, 3),
    config=st.sampled_from([HALL, SessionConfig()]),
    start=starts,
)
def test_resume_loses_nothing_and_says_nothing_twice(
    *, stream: Stream, sizes: tuple[list[int], list[int]], share: float, delay: int, config: SessionConfig, start: Start
) -> None:
    """Wherever the connection broke: the words that the client had and those that it gets are the transcript."""
    first = Drive(stream, stream.decode, config, start).run(chunked(sizes[0]))
    second, client = resumed(first, round(share * (len(first.events) - 1)), config, delay)
    second.run(chunked(sizes[1]))
    check(second)
    for event in second.events:
        client.receive(event)
    assert client.words == ([refined(word) for word in stream.words] if start.refine else stream.words)


def test_resume_continues_with_the_prefix() -> None:
    """The first decode after a resume has the client's words as prefix, and their audio."""
    stream = seconds(0.5, 8, 1)
    first = Drive(stream, stream.decode)
    while len(first.words) < 12:
        first.feed(first.session.received + CHUNK)
    second, client = resumed(first, len(first.events))
    kept = [word for word in client.words if word.end > first.kept_from]
    assert kept
    second.run([CHUNK])
    assert second.requests[0].start == first.kept_from
    assert second.requests[0].prefix == "".join(word.text for word in kept)
    assert client.words + second.words == stream.words
    check(second)


def test_after_resume_nothing_is_decoded_before_the_known_words_arrived_again() -> None:
    """A decoder would invent text if its prefix lay in audio that has not arrived yet."""
    stream = seconds(0, 8)
    words = tuple(stream.words[:10])
    drive = Drive(stream, stream.decode, start=Start(resume=Resume("before", 0, words)))
    drive.run([CHUNK])
    assert len(drive.requests[0].samples) > words[-1].end
    assert list(words) + drive.words == stream.words


def test_resume_of_a_stream_without_more_audio_ends_at_once() -> None:
    """The client stops without sending audio: nothing is decoded, and ``Done`` comes."""
    stream = seconds(0.5, 8, 1)
    words = tuple(stream.words[3:9])
    drive = Drive(stream, stream.decode, start=Start(resume=Resume("before", words[0].start, words)))
    drive.stop()
    assert drive.requests == []
    assert drive.events[-1] == Done(0, 0, 0, 1, 0)


def repeating(request: DecodeRequest) -> Hypothesis:
    """A decoder that repeats the last word that it was given, three times: a loop."""
    last = (request.prefix.split() or ["а"])[-1]
    end = request.start + len(request.samples)
    return Hypothesis(request.id, tuple(Word(f" {last}", end - WORD, end, 0.95) for _ in range(3)))


@pytest.mark.parametrize("sent_s", [0.1, 1.0, 3.9, 4.0])
def test_a_resumed_stream_may_stop_before_its_words_were_sent_again(sent_s: float) -> None:
    """After the known words there is no audio that could be decoded without them, whatever the decoder answers."""
    stream = seconds(0, 8)
    words = tuple(stream.words[:10])
    drive = Drive(stream, repeating, start=Start(resume=Resume("before", 0, words)))
    drive.feed(to_samples(sent_s))
    drive.stop()
    assert drive.requests
    assert all(len(request.samples) for request in drive.requests)
    assert drive.words == []
    assert isinstance(drive.events[-1], Done)


@pytest.mark.parametrize("offset", [-(10**6), 0, 10**9])
def test_a_client_that_resumes_with_nonsense_harms_only_itself(offset: int) -> None:
    """Words far before or after their audio: memory stays bounded, and the stream ends with ``Done``."""
    stream = seconds(0, 40, 1)
    words = tuple(Word(" чушь", offset + number, offset + number, 1.0) for number in range(1000))
    start = Start(resume=Resume("before", 0, words))
    drive = Drive(stream, lambda request: Hypothesis(request.id, ()), start=start).run([CHUNK])
    assert max(drive.held) < to_samples(17)
    check(drive)


_claimed = st.lists(st.tuples(st.integers(-10_000, 120_000), st.integers(-10_000, 120_000)), min_size=1, max_size=14)


@hypothesis_settings(max_examples=200)
@given(streams, st.floats(0, 1), _claimed, st.one_of(garbage(), st.just(repeating)), st.integers(0, 4))
def test_no_resume_breaks_a_promise(
    stream: Stream, share: float, claimed: list[tuple[int, int]], decode: Decoder, delay: int
) -> None:
    """Whatever words a client claims to have, before, in or after the audio that it sends, and whatever a decoder makes
    of them.
    """
    position = round(share * stream.length)
    words = tuple(Word(" а", position + start, position + end, 1.0) for start, end in claimed)
    start = Start(resume=Resume("before", position, words))
    check(Drive(stream, decode, SessionConfig(max_window_s=3.0), start, delay=delay).run([CHUNK]))


# ---- what a request holds


def test_a_request_has_the_options_of_start_or_of_the_server() -> None:
    """The client's option overrides the server's setting."""
    stream = seconds(0, 2)
    config = SessionConfig(language="ru", prompt="Сервер.")

    def first(start: Start) -> DecodeRequest:
        return Drive(stream, stream.decode, config, start).run([CHUNK]).requests[0]

    plain = first(Start())
    assert (plain.language, plain.prompt, plain.hotwords) == ("ru", "Сервер.", ())
    own = first(Start(language="en", prompt="", hotwords=("Кеннеди",)))
    assert (own.language, own.prompt, own.hotwords) == ("en", "", ("Кеннеди",))
    assert first(Start(language="auto")).language is None


def test_a_detected_language_stays() -> None:
    """It is detected once: noise later in the stream cannot change it."""
    stream = seconds(0, 3, 1, 2)
    drive = Drive(stream, stream.decode, SessionConfig(language=None)).run([CHUNK])
    assert [request.language for request in drive.requests] == [None] + ["ru"] * (len(drive.requests) - 1)


def test_progress_comes_about_once_a_second() -> None:
    """Also while somebody speaks. ``settled`` never exceeds ``received``."""
    stream = seconds(3, 6, 3)
    drive = Drive(stream, stream.decode).run([CHUNK])
    told = only(drive, Progress)
    assert len(told) in (10, 11, 12)
    for event in told:
        assert isinstance(event, Progress)
        assert event.kept_from <= event.settled <= event.received


def test_committed_text_is_the_words_joined() -> None:
    """The text of ``Committed`` is the joined texts of its words, which hold the spaces."""
    assert Committed((Word(" раз", 0, 1, 1.0), Word(",", 1, 2, 1.0), Word(" два", 2, 3, 1.0)), 0).text == " раз, два"


def test_a_new_session_is_silent() -> None:
    """No event, no decode and no backlog before audio arrives."""
    session = Session(SessionConfig(), Start())
    assert session.events() == []
    assert session.next_decode() is None
    assert session.waiting == session.received == 0


# ---- decoders that stop early


def stopping(stream: Stream, most: int) -> Callable[[DecodeRequest], Hypothesis]:
    """A decoder that takes a pause for the end: it gives at most ``most`` words of a decode."""

    def decode(request: DecodeRequest) -> Hypothesis:
        return replace(hypothesis := stream.decode(request), words=hypothesis.words[:most])

    return decode


@pytest.mark.parametrize("speech_s", [6.0, 14.0, 40.0])
@pytest.mark.parametrize("most", [3, 8])
def test_a_decoder_that_stops_early_is_asked_for_the_rest(speech_s: float, most: int) -> None:
    """All audio comes at once, as from a client that catches up: windows are long, and the decoder stops in the middle
    of them. The rest is decoded in a window of its own.
    """
    stream = seconds(0.5, speech_s, 1)
    drive = Drive(stream, stopping(stream, most)).run([10**7])
    assert drive.words == stream.words[: len(drive.words)]
    # A shorter rest may belong to the last word, whose end is not known exactly.
    ((_, end),) = stream.speech
    assert end - drive.words[-1].end <= to_samples(UNHEARD_S)
    check(drive)


def test_a_resumed_stream_does_not_end_where_its_decoder_stops() -> None:
    """The connection broke in the last phrase: the prefix is known, and the rest comes in one piece."""
    stream = seconds(0.5, 14, 1)
    words = tuple(stream.words[4:10])
    start = Start(resume=Resume("before", words[0].start, words))
    drive = Drive(stream, stopping(stream, 5), start=start).run([10**7])
    assert stream.words[:10] + drive.words == stream.words
    check(drive)


def test_a_word_at_the_start_of_every_window_does_not_stop_the_stream() -> None:
    """A decoder that always gives one short word at the beginning is not asked again and again."""
    stream = seconds(0.5, 14, 1)

    def stuck(request: DecodeRequest) -> Hypothesis:
        return Hypothesis(request.id, (Word(" э", request.start, request.start + 1, 0.9),))

    drive = Drive(stream, stuck).run([10**7])
    assert len(drive.requests) < 8
    check(drive)
