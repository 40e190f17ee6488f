"""Paragraphs: collecting utterances, and decoding them together.

The value of each sample is its own position in the stream, so a test knows which audio a request holds, in which order.
Long because both halves, collecting and decoding, have rules of their own and property tests over them.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from whisperlivekit.core.gate import POST_ROLL_S
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, Word
from whisperlivekit.core.paragraph import (
    CUT_S,
    LONGEST_S,
    MAX_ATTEMPTS,
    PARAGRAPH_BEAMS,
    STRETCH_S,
    UNHEARD_S,
    Paragraph,
    Paragraphs,
    Rendition,
    Span,
    share_out,
)
from whisperlivekit.core.units import WINDOW, to_samples

S = 16_000
WORD = 6_400
"""Samples of a word of the scripted decoder: 0.4 s."""
LETTERS = str.maketrans("0123456789", "аеиоуыэюяё")
DIGITS = str.maketrans("аеиоуыэюяё", "0123456789")

lengths = st.one_of(st.integers(1, 3 * S), st.integers(1, 70 * S))
"""Utterances: most are short, some are longer than a paragraph."""
pauses = st.one_of(st.integers(0, 3 * S), st.integers(0, 90 * S))


def stream_of(parts: Sequence[tuple[int, int]]) -> list[Span]:
    """Utterances from pairs of a pause and a length."""
    spans, position = [], 0
    for pause, length in parts:
        spans.append(Span(position + pause, position + pause + length))
        position = spans[-1].end
    return spans


def collect(utterances: Sequence[Span], probability: Callable[[int], float] = lambda _: 0.9) -> list[Paragraph]:
    """Feed whole utterances, window by window, to the end of the stream."""
    paragraphs = Paragraphs()
    complete: list[Paragraph] = []
    position = 0

    def windows(end: int) -> None:
        nonlocal position
        while position + WINDOW <= end:
            position += WINDOW
            paragraphs.receive_window(position, probability(position))
            complete.extend(paragraphs.take())
            if paragraphs.kept_from is not None:
                assert position - paragraphs.kept_from <= to_samples(STRETCH_S), "it keeps more than it may"

    for span in utterances:
        windows(span.start)
        paragraphs.open(span.start)
        windows(span.end)
        paragraphs.close(span.end)
    paragraphs.end()
    assert paragraphs.kept_from is None
    return complete + paragraphs.take()


def audio_of(paragraph: Paragraph) -> list[NDArray[np.float32]]:
    return [np.arange(span.start, span.end, dtype=np.float32) for span in paragraph.spans]


def paragraph_of(*spans: tuple[float, float]) -> Paragraph:
    """From starts and ends in seconds."""
    return Paragraph(tuple(Span(to_samples(start), to_samples(end)) for start, end in spans))


def hear(request: DecodeRequest, until: int | None = None) -> Hypothesis:
    """A word for every 0.4 s of audio, up to the sample ``until``. Its text is the position of its middle sample."""
    words = []
    for begin in range(0, len(request.samples) if until is None else until, WORD):
        end = min(begin + WORD, len(request.samples))
        text = f" {int(request.samples[(begin + end) // 2])}".translate(LETTERS)
        words.append(Word(text, request.start + begin, request.start + end, 0.9))
    return Hypothesis(request.id, tuple(words), language="ru")


def middle(word: Word) -> int:
    """The position in the stream at which the scripted decoder heard it."""
    return int(word.text.translate(DIGITS))


def render(paragraph: Paragraph, decode: Callable[[DecodeRequest], Hypothesis | None]) -> Rendition:
    """Run a rendition to its end; ``decode`` returns None for a failure."""
    rendition = Rendition(paragraph, audio_of(paragraph))
    for number in range(10_000):
        request = rendition.next_decode(number, "ru", "prompt", ("word",))
        if request is None:
            break
        assert rendition.next_decode(number, "ru") is None, "two decodes at once"
        hypothesis = decode(request)
        if hypothesis is None:
            rendition.receive_failure(request.id)
        else:
            rendition.receive_hypothesis(hypothesis)
    assert rendition.complete
    return rendition


# ---- which utterances belong together


@given(st.lists(st.tuples(pauses, lengths), max_size=12))
def test_every_sample_of_every_utterance_is_in_one_paragraph(parts: list[tuple[int, int]]) -> None:
    """No sample is lost, doubled or moved, no paragraph is longer than a decode can be, and no stretch is kept for
    longer than promised.
    """
    utterances = stream_of(parts)
    spans = [span for paragraph in collect(utterances) for span in paragraph.spans]
    assert all(span.length > 0 for span in spans)
    merged: list[Span] = []
    borders = {span.start for span in utterances}
    for span in spans:
        if merged and merged[-1].end == span.start and span.start not in borders:
            merged[-1] = Span(merged[-1].start, span.end)
        else:
            merged.append(span)
    assert merged == utterances
    for paragraph in collect(utterances):
        assert 0 < paragraph.length <= to_samples(LONGEST_S)
        assert paragraph.end - paragraph.start <= to_samples(STRETCH_S)


def test_utterances_are_joined_until_the_next_does_not_fit() -> None:
    """Pauses do not count: 3 utterances of 8 s are 24 s of audio, and a fourth would be too long."""
    utterances = stream_of([(S, 8 * S)] * 7)
    assert [len(paragraph.spans) for paragraph in collect(utterances)] == [3, 3, 1]


def test_a_paragraph_does_not_wait_for_an_utterance_that_cannot_fit() -> None:
    """As soon as the open utterance is too long for it, the paragraph is complete."""
    paragraphs = Paragraphs()
    paragraphs.open(0)
    paragraphs.close(20 * S)
    paragraphs.open(21 * S)
    paragraphs.receive_window(29 * S, 0.9)
    assert paragraphs.take() == []
    paragraphs.receive_window(29 * S + WINDOW, 0.9)
    assert paragraphs.take() == [paragraph_of((0, 20))]
    assert paragraphs.kept_from == 21 * S


@pytest.mark.parametrize(("speech_s", "complete"), [(9.9, False), (10.0, True)])
def test_a_pause_ends_a_paragraph_that_is_long_enough(speech_s: float, complete: bool) -> None:
    """Two seconds after ten seconds of audio, and no sooner."""
    paragraphs = Paragraphs()
    end = to_samples(speech_s)
    paragraphs.open(0)
    paragraphs.close(end)
    paragraphs.receive_window(end + 2 * S - 1, 0.1)
    assert paragraphs.take() == []
    paragraphs.receive_window(end + 2 * S, 0.1)
    assert bool(paragraphs.take()) is complete


def test_a_word_now_and_then_is_not_kept_for_ever() -> None:
    """A minute after its beginning a paragraph is complete, however little was said."""
    paragraphs = Paragraphs()
    paragraphs.open(0)
    paragraphs.close(S)
    paragraphs.receive_window(60 * S - 1, 0.1)
    assert paragraphs.kept_from == 0
    paragraphs.receive_window(60 * S, 0.1)
    assert paragraphs.take() == [paragraph_of((0, 1))]
    assert paragraphs.kept_from is None


@given(st.integers(29 * S, 120 * S), st.integers(0, 28 * S))
def test_a_long_utterance_is_cut_where_speech_is_least_probable(length: int, dip: int) -> None:
    """If the dip lies in the last seconds of what fits, the cut lies in it."""
    found = collect([Span(0, length)], lambda end: 0.5 if dip <= end < dip + 5 * WINDOW else 0.9)
    cut = found[0].end
    limit = to_samples(LONGEST_S)
    assert limit - to_samples(CUT_S) <= cut <= limit
    if limit - to_samples(CUT_S) <= dip - WINDOW and dip + 6 * WINDOW <= limit:
        assert dip <= cut <= dip + 5 * WINDOW


def test_without_probabilities_a_long_utterance_is_cut_at_the_limit() -> None:
    """An utterance that closes without windows is cut all the same."""
    paragraphs = Paragraphs()
    paragraphs.open(0)
    paragraphs.close(60 * S)
    paragraphs.end()
    assert paragraphs.take() == [paragraph_of((0, 28)), paragraph_of((28, 56)), paragraph_of((56, 60))]


def test_closing_what_is_not_open_changes_nothing() -> None:
    """The end of a stream closes an utterance only if there is one."""
    paragraphs = Paragraphs()
    paragraphs.close(S)
    paragraphs.end()
    assert paragraphs.take() == []


# ---- decoding


paragraphs_of_spans = st.lists(st.tuples(st.integers(0, 3 * S), st.integers(1, 5 * S)), min_size=1, max_size=12).map(
    lambda parts: collect(stream_of(parts))[0]
)


@given(paragraphs_of_spans)
def test_all_utterances_are_heard_once_without_their_pauses(paragraph: Paragraph) -> None:
    """The joined decode holds every sample of every span, in order, and nothing else."""
    rendition = Rendition(paragraph, audio_of(paragraph))
    request = rendition.next_decode(7, "ru", "prompt", ("word",))
    assert request is not None
    expected = np.concatenate([np.arange(span.start, span.end) for span in paragraph.spans])
    np.testing.assert_array_equal(request.samples, expected)
    assert (request.id, request.start, request.beams) == (7, paragraph.start, PARAGRAPH_BEAMS)
    assert (request.language, request.prompt, request.hotwords) == ("ru", "prompt", ("word",))
    assert request.final
    assert not request.realtime


def check_words(rendition: Rendition) -> None:
    """What holds for every rendition: order, spans, and no word without length."""
    edges = [(word.start, word.end) for word in rendition.words]
    assert all(start < end for start, end in edges)
    assert all(one <= other for (one, _), (other, _) in pairwise(edges))
    for span, words in rendition.utterances:
        assert all(span.start <= word.start and word.end <= span.end for word in words)


@given(paragraphs_of_spans)
def test_words_get_their_times_in_the_stream_back(paragraph: Paragraph) -> None:
    """Every word of the joined decode is told once, in order, in the utterance that holds most of it, and where the
    decoder heard it.
    """
    heard: list[int] = []

    def decode(request: DecodeRequest) -> Hypothesis:
        hypothesis = hear(request)
        heard.extend(middle(word) for word in hypothesis.words)
        return hypothesis

    rendition = render(paragraph, decode)
    first = [middle(word) for word in rendition.words]
    check_words(rendition)
    assert sorted(heard) == first
    for span, words in rendition.utterances:
        for word in words:
            assert span.start <= middle(word) < span.end
            assert abs((word.start + word.end) / 2 - middle(word)) <= WORD / 2


@given(paragraphs_of_spans, st.integers(0, 28 * S), st.sets(st.integers(0, 11)))
def test_what_the_joined_decode_missed_is_decoded_again(paragraph: Paragraph, until: int, deaf: set[int]) -> None:
    """Whether the decoder stops early or passes over utterances: in the end everything that is long enough to hold a
    word was heard, and nothing twice.
    """
    passed_over = [paragraph.spans[number] for number in deaf if number < len(paragraph.spans)]
    joined = True

    def decode(request: DecodeRequest) -> Hypothesis:
        nonlocal joined
        hypothesis = hear(request, min(until, len(request.samples)) if joined else None)
        if joined:
            kept = tuple(
                word
                for word in hypothesis.words
                if not any(span.start <= middle(word) < span.end for span in passed_over)
            )
            hypothesis = Hypothesis(request.id, kept)
        joined = False
        return hypothesis

    rendition = render(paragraph, decode)
    check_words(rendition)
    middles = [middle(word) for word in rendition.words]
    assert middles == sorted(set(middles)), "a word was told twice"
    alone = len(paragraph.spans) == 1
    for span, words in rendition.utterances:
        if words:
            assert span.end - words[-1].end <= to_samples(UNHEARD_S + POST_ROLL_S)
        else:
            # One whose audio was already decoded alone is not decoded again.
            assert span.length < S or alone


def test_an_utterance_without_a_word_is_decoded_alone() -> None:
    """Only that one, once: if nothing is heard in it again, there is nothing."""
    paragraph = paragraph_of((0, 4), (5, 8), (9, 12))
    requests: list[DecodeRequest] = []

    def decode(request: DecodeRequest) -> Hypothesis:
        requests.append(request)
        words = hear(request).words if len(requests) == 1 else ()
        return Hypothesis(request.id, tuple(word for word in words if not 5 * S <= middle(word) < 8 * S))

    rendition = render(paragraph, decode)
    assert [(request.start, len(request.samples)) for request in requests] == [(0, 10 * S), (5 * S, 3 * S)]
    assert {word.start // S for word in rendition.words} == {0, 1, 2, 3, 9, 10, 11}


def test_a_short_sound_needs_no_word() -> None:
    """An utterance with less than 0.4 s of speech between its pre-roll and post-roll is not decoded alone."""
    requests: list[DecodeRequest] = []

    def decode(request: DecodeRequest) -> Hypothesis:
        requests.append(request)
        return Hypothesis(request.id, ())

    render(paragraph_of((0, 0.9), (2, 3.1)), decode)
    assert [request.start for request in requests] == [0, 2 * S]


def test_the_rest_of_an_utterance_is_decoded_after_the_last_word() -> None:
    """The decoder took a pause inside a long utterance for the end."""
    requests: list[DecodeRequest] = []

    def decode(request: DecodeRequest) -> Hypothesis:
        requests.append(request)
        return hear(request, 8 * S if len(requests) == 1 else None)

    rendition = render(paragraph_of((10, 30)), decode)
    assert [(request.start, len(request.samples)) for request in requests] == [(10 * S, 20 * S), (18 * S, 12 * S)]
    assert len(rendition.words) == 50
    check_words(rendition)


def test_what_follows_an_early_end_is_decoded_together() -> None:
    """The rest of the utterance, and the utterances after it; one that was passed over before the end stays alone."""
    paragraph = paragraph_of((0, 3), (4, 7), (8, 11), (12, 15))
    requests: list[DecodeRequest] = []

    def decode(request: DecodeRequest) -> Hypothesis:
        requests.append(request)
        if len(requests) > 1:
            return hear(request)
        words = hear(request, round(7.2 * S)).words
        return Hypothesis(request.id, tuple(word for word in words if not 4 * S <= middle(word) < 7 * S))

    rendition = render(paragraph, decode)
    alone, rest = requests[1:]
    assert (alone.start, len(alone.samples)) == (4 * S, 3 * S)
    end = [word.end for word in rendition.words if middle(word) < round(9.3 * S)][-1]
    np.testing.assert_array_equal(rest.samples, [*range(end, 11 * S), *range(12 * S, 15 * S)])
    check_words(rendition)


def test_a_rest_without_words_is_decoded_utterance_by_utterance() -> None:
    """Once: what is heard alone without words has none."""
    paragraph = paragraph_of((0, 2), (3, 5), (6, 8))
    requests: list[DecodeRequest] = []

    def decode(request: DecodeRequest) -> Hypothesis:
        requests.append(request)
        return hear(request, 2 * S) if len(requests) == 1 else Hypothesis(request.id, ())

    render(paragraph, decode)
    assert [(request.start // S, len(request.samples) // S) for request in requests] == [(0, 6), (3, 4), (3, 2), (6, 2)]


def test_a_loop_is_cut_and_what_it_covered_is_decoded_again() -> None:
    """The repeated words are not told, and the speech over which the decoder repeated itself is heard again."""
    paragraph = paragraph_of((0, 2), (3, 5), (6, 8))
    requests: list[DecodeRequest] = []

    def decode(request: DecodeRequest) -> Hypothesis:
        requests.append(request)
        if len(requests) > 1:
            return hear(request)
        words = [Word(" опять", number * WORD, (number + 1) * WORD, 0.9) for number in range(15)]
        return Hypothesis(request.id, tuple(words), looped=True)

    rendition = render(paragraph, decode)
    assert [(request.start, len(request.samples)) for request in requests] == [(0, 6 * S), (WORD, 6 * S - WORD)]
    assert [word.text for word in rendition.words].count(" опять") == 1


def test_words_that_were_not_said_are_dropped_utterance_by_utterance() -> None:
    """A farewell over noise is not told although the rest of the paragraph is speech."""
    texts = [" да", " конечно", " всем", " пока"]

    def decode(request: DecodeRequest) -> Hypothesis:
        if request.start:
            return Hypothesis(request.id, ())
        words = [
            Word(text, number * S, number * S + S, 0.9 if number < 2 else 0.4) for number, text in enumerate(texts)
        ]
        return Hypothesis(request.id, tuple(words))

    rendition = render(paragraph_of((0, 2), (3, 5)), decode)
    assert "".join(word.text for word in rendition.words) == " да конечно"


# ---- failures


@given(paragraphs_of_spans, st.lists(st.booleans(), max_size=40), st.integers(0, 28 * S))
def test_failures_lose_nothing_unnoticed(paragraph: Paragraph, failures: list[bool], until: int) -> None:
    """Whatever fails, each utterance that is long enough has words or lies in a gap, and gaps hold no word."""
    pending = list(failures)
    joined = True

    def decode(request: DecodeRequest) -> Hypothesis | None:
        nonlocal joined
        if pending and pending.pop(0):
            return None
        hypothesis = hear(request, min(until, len(request.samples)) if joined else None)
        joined = False
        return hypothesis

    rendition = render(paragraph, decode)
    check_words(rendition)
    assert rendition.gaps == sorted(rendition.gaps, key=lambda gap: gap.start)
    for gap in rendition.gaps:
        assert not any(gap.start < word.end and word.start < gap.end for word in rendition.words)
    for span, words in rendition.utterances:
        lost = any(span.start <= gap.start and gap.end <= span.end for gap in rendition.gaps)
        assert words or lost or span.length < S or len(paragraph.spans) == 1


def test_one_failure_costs_nothing() -> None:
    """The same audio is decoded again."""
    answers: list[DecodeRequest] = []

    def decode(request: DecodeRequest) -> Hypothesis | None:
        answers.append(request)
        return None if len(answers) < MAX_ATTEMPTS else hear(request)

    rendition = render(paragraph_of((0, 2), (3, 4)), decode)
    assert len(rendition.words) == 8
    assert rendition.gaps == []
    np.testing.assert_array_equal(answers[0].samples, answers[1].samples)


def test_two_failures_of_the_joined_audio_make_all_of_it_a_gap() -> None:
    """The pauses are not part of the gap."""
    rendition = render(paragraph_of((0, 2), (3, 4)), lambda _: None)
    assert rendition.words == ()
    assert rendition.gaps == [Span(0, 2 * S), Span(3 * S, 4 * S)]


def test_an_answer_that_is_not_awaited_is_ignored() -> None:
    """Another request's answer or failure changes nothing."""
    paragraph = paragraph_of((0, 2))
    rendition = Rendition(paragraph, audio_of(paragraph))
    request = rendition.next_decode(1, "ru")
    assert request is not None
    rendition.receive_failure(2)
    rendition.receive_hypothesis(Hypothesis(2, (Word(" нет", 0, WORD, 0.9),)))
    assert rendition.words == ()
    rendition.receive_hypothesis(hear(request))
    assert len(rendition.words) == 5


# ---- pure functions


def test_a_word_that_straddles_a_seam_belongs_to_the_utterance_that_holds_most_of_it() -> None:
    """And ends or begins at that utterance's border."""
    spans = [Span(0, S), Span(5 * S, 6 * S)]
    early, late = Word(" рано", S - 3_000, S + 2_000, 0.9), Word(" поздно", S - 2_000, S + 3_000, 0.9)
    assert share_out([early], 0, spans) == [[Word(" рано", S - 3_000, S, 0.9)], []]
    assert share_out([late], 0, spans) == [[], [Word(" поздно", 5 * S, 5 * S + 3_000, 0.9)]]


@given(st.lists(st.tuples(st.integers(-S, 5 * S), st.integers(-S, 5 * S)), max_size=20))
def test_times_are_in_order_whatever_the_alignment_says(times: list[tuple[int, int]]) -> None:
    """No word is lost, empty or outside its span."""
    spans = [Span(S, 2 * S), Span(4 * S, 5 * S), Span(5 * S, 5 * S + 1)]
    words = [Word(f" {number}", S + start, S + end, 0.9) for number, (start, end) in enumerate(times)]
    found = share_out(words, S, spans)
    assert [word.text for part in found for word in part] == [word.text for word in words]
    for span, part in zip(spans, found, strict=True):
        assert all(span.start <= word.start < word.end <= span.end for word in part)
        assert all(one.start <= other.start for one, other in pairwise(part))
