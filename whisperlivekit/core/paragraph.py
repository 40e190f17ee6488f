"""Paragraphs: utterances that are joined without their pauses and decoded together, afresh, with all beams.

Whisper was trained on 30 s of speech at a time, and on spontaneous speech it needs the words around an utterance more
than it needs time. So ``Paragraphs`` collects utterances until their audio is as long as one decode can be, and
``Rendition`` decodes such a paragraph:

- All utterances are heard in one decode, one directly after the other. In noise, even 0.3 s of silence between them
  costs words. The times of the words are mapped back to the stream.
- The decoder may pass over an utterance, which is then decoded once more, alone. Or it takes a pause for the end of all
  speech; then what follows its last word is decoded in turn, together.
- Audio on which the decoder fails twice becomes a gap.

A word never lies in two utterances and an utterance never in two paragraphs, so nothing is lost or doubled at a border.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, compress

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.core.evidence import count_spoken, is_speech
from whisperlivekit.core.gate import POST_ROLL_S, PRE_ROLL_S
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, Task, Word
from whisperlivekit.core.units import WINDOW, to_samples

LONGEST_S = 28.0
"""The longest audio of a paragraph. Whisper takes 30 s, and the engine adds a second of silence."""

PAUSE_S = 2.0
"""A pause that ends a paragraph of at least ``ENOUGH_S``: more speech may be far away."""

ENOUGH_S = 10.0
"""Audio of a paragraph that is enough context to stand alone. Not tuned."""

STRETCH_S = 60.0
"""The longest stretch of the stream, pauses included, from the beginning of a paragraph to its end. It bounds the audio
that a stream keeps where somebody says a word now and then."""

CUT_S = 5.0
"""An utterance that is longer than a paragraph is cut where speech is least probable in its last ``CUT_S``."""

CUT_WINDOWS = 5
"""Windows, about 0.16 s, over which that probability is averaged: one low window may be a consonant."""

COVERED_S = 0.4
"""Speech in an utterance from which on it must have got a word. The shortest that people say ("да") take about 0.3 s,
and what is shorter is as often a breath or a click."""

UNHEARD_S = 0.8
"""Speech after the last word that is long enough to hold another word. The same as in ``core/utterance.py``."""

ADVANCE_S = 0.2
"""How far a decode must have come in its first utterance for the rest of that to be decoded in turn. It bounds the
number of decodes."""

MAX_ATTEMPTS = 2
"""Decodes of the same audio before it is given up as a gap."""

PARAGRAPH_BEAMS = 5
"""Beam width. Source: Whisper's and faster-whisper's default for files."""


@dataclass(frozen=True, slots=True)
class Span:
    """Samples ``[start, end)`` of the stream: an utterance with its pre-roll and post-roll, or a part of one."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Utterances in the order of the stream, at least one and together at most ``LONGEST_S``."""

    spans: tuple[Span, ...]

    @property
    def start(self) -> int:
        return self.spans[0].start

    @property
    def end(self) -> int:
        return self.spans[-1].end

    @property
    def length(self) -> int:
        """Samples of its audio, without the pauses."""
        return sum(span.length for span in self.spans)


class Paragraphs:
    """Collects the utterances of a stream into paragraphs.

    The stream tells when an utterance opens and closes, and each window in between and outside. ``take`` then returns
    the paragraphs that are complete. A paragraph is complete when

    - the next utterance, also one that is still open, does not fit into it any more,
    - it has ``ENOUGH_S`` of audio and ``PAUSE_S`` have passed since, or it stretches over ``STRETCH_S``,
    - or the stream ends.
    """

    def __init__(self) -> None:
        self._longest = to_samples(LONGEST_S)
        self._spans: list[Span] = []
        """The paragraph that is being collected."""
        self._length = 0
        """Samples in ``_spans``."""
        self._open: int | None = None
        """Start of the utterance that is open, or of what is left of it after a cut."""
        self._recent: deque[tuple[int, float]] = deque(maxlen=to_samples(CUT_S) // WINDOW)
        """The end and the speech probability of the latest windows of that utterance."""
        self._complete: list[Paragraph] = []

    @property
    def kept_from(self) -> int | None:
        """The earliest sample of a paragraph that is not complete; None if there is none."""
        return self._spans[0].start if self._spans else self._open

    def take(self) -> list[Paragraph]:
        """The paragraphs completed since the last call, in order."""
        complete, self._complete = self._complete, []
        return complete

    def open(self, at: int) -> None:
        """An utterance begins at ``at``, no earlier than the end of the previous one."""
        self._open = at

    def receive_window(self, end: int, probability: float) -> None:
        """A window that ends at ``end`` has this speech probability. An utterance that it closes was closed before."""
        if self._open is not None:
            self._recent.append((end, probability))
            self._grow(end)
        elif self._spans:
            paused = end - self._spans[-1].end >= to_samples(PAUSE_S)
            if (paused and self._length >= to_samples(ENOUGH_S)) or end - self._spans[0].start >= to_samples(STRETCH_S):
                self.end()

    def close(self, end: int) -> None:
        """The open utterance, if there is one, ends at ``end``."""
        if self._open is None:
            return
        self._grow(end)
        if end > self._open:
            self._spans.append(Span(self._open, end))
            self._length += end - self._open
        self._open = None
        self._recent.clear()

    def end(self) -> None:
        """Complete the paragraph that is being collected: no utterance will be added to it."""
        if self._spans:
            self._complete.append(Paragraph(tuple(self._spans)))
            self._spans, self._length = [], 0

    def _grow(self, end: int) -> None:
        """The open utterance reaches up to ``end``: make room for it, and cut off what no paragraph can hold."""
        assert self._open is not None
        stretch = end - self._spans[0].start if self._spans else 0
        if self._length + end - self._open > self._longest or stretch > to_samples(STRETCH_S):
            self.end()
        while end - self._open > self._longest:
            cut = self._quietest(self._open + self._longest)
            self._complete.append(Paragraph((Span(self._open, cut),)))
            self._open = cut

    def _quietest(self, limit: int) -> int:
        """Where to cut, at ``limit`` or up to ``CUT_S`` before it."""
        windows = [(end, probability) for end, probability in self._recent if limit - to_samples(CUT_S) < end <= limit]
        runs = [windows[first : first + CUT_WINDOWS] for first in range(len(windows) - CUT_WINDOWS + 1)]
        if not runs:
            return limit
        quietest = min(runs, key=lambda run: sum(probability for _, probability in run))
        return quietest[CUT_WINDOWS // 2][0] - WINDOW // 2


class Rendition:
    """The words of one paragraph: decode requests out, hypotheses in, one request at a time."""

    def __init__(self, paragraph: Paragraph, audio: Sequence[NDArray[np.float32]], task: Task = "transcribe") -> None:
        """audio: the samples of each span, float32[n], mono 16 kHz."""
        self.paragraph = paragraph
        self.no_speech_probability: float | None = None
        """Of the whole paragraph; None: it was not decoded."""
        self._task: Task = task
        self.gaps: list[Span] = []
        """Audio on which the decoder failed, in the order of the stream once the rendition is complete."""
        self._joined = np.concatenate(audio)
        self._seams = seams(paragraph.spans)
        self._words: list[list[Word]] = [[] for _ in paragraph.spans]
        self._pieces: deque[Sequence[tuple[int, Span]]] = deque([list(enumerate(paragraph.spans))])
        """What is left to decode: neighbouring spans that are heard together, with the numbers of their utterances. The
        first piece is the whole paragraph, each later one an utterance alone or the rest after the last word."""
        self._request: DecodeRequest | None = None
        self._failures = 0

    @property
    def complete(self) -> bool:
        """Nothing is left to decode."""
        return not self._pieces

    @property
    def words(self) -> tuple[Word, ...]:
        """All words known, in order, with times in the stream."""
        return tuple(word for words in self._words for word in words)

    @property
    def utterances(self) -> list[tuple[Span, tuple[Word, ...]]]:
        """The words of each utterance."""
        return [(span, tuple(words)) for span, words in zip(self.paragraph.spans, self._words, strict=True)]

    def next_decode(
        self, request_id: int, language: str | None, prompt: str = "", hotwords: tuple[str, ...] = ()
    ) -> DecodeRequest | None:
        """The decode that is due; None: one is in flight, or the rendition is complete.

        The times of its words count from the first span on as if no pause were between the spans.
        """
        if self._request is not None or not self._pieces:
            return None
        piece = self._pieces[0]
        self._request = DecodeRequest(
            id=request_id,
            samples=self._joined[self._place(*piece[0]) : self._place(*piece[-1]) + piece[-1][1].length],
            start=piece[0][1].start,
            language=language,
            task=self._task,
            prompt=prompt,
            hotwords=hotwords,
            final=True,
            realtime=False,
            beams=PARAGRAPH_BEAMS,
        )
        return self._request

    def receive_hypothesis(self, hypothesis: Hypothesis) -> None:
        """The answer to the request in flight. An answer that is not awaited is ignored."""
        if self._request is None or hypothesis.request_id != self._request.id:
            return
        if self.no_speech_probability is None:
            self.no_speech_probability = hypothesis.no_speech_probability
        origin = self._request.start
        piece = self._next_piece()
        together = len(piece) > 1
        spoken = hypothesis.words[: count_spoken((), hypothesis.words, final=True)]
        found = share_out(spoken, origin, [span for _, span in piece])
        heard = [bool(words) and is_speech(words, hypothesis.no_speech_probability) for words in found]
        for (number, _), words in compress(zip(piece, found, strict=True), heard):
            self._words[number] += words
        # After the last word the decoder took a pause for the end, before it single utterances were passed over.
        last = max(compress(range(len(piece)), heard), default=None)
        passed_over = piece if last is None else piece[:last]
        if together:
            missed = (entry for entry, words in zip(passed_over, heard, strict=False) if not words)
            self._pieces += [[(number, span)] for number, span in missed if _holds_word(span)]
        if last is not None:
            rest = self._rest(piece, last)
            if any(_holds_word(span) for _, span in rest):
                self._pieces.append(rest)

    def receive_failure(self, request_id: int) -> None:
        """The decode in flight failed: the same audio is decoded once more, then it becomes a gap."""
        if self._request is None or request_id != self._request.id:
            return
        self._request = None
        self._failures += 1
        if self._failures == MAX_ATTEMPTS:
            self.gaps += [span for _, span in self._next_piece()]
            self.gaps.sort(key=lambda span: span.start)

    def _next_piece(self) -> Sequence[tuple[int, Span]]:
        """Nothing more is to be heard of the piece in flight."""
        self._request = None
        self._failures = 0
        return self._pieces.popleft()

    def _rest(self, piece: Sequence[tuple[int, Span]], last: int) -> list[tuple[int, Span]]:
        """What follows the last word, which was heard at this place of the piece."""
        number, span = piece[last]
        left = Span(self._words[number][-1].end, span.end)
        advanced = last > 0 or left.start - span.start >= to_samples(ADVANCE_S)
        unheard = advanced and left.length > to_samples(UNHEARD_S + POST_ROLL_S)
        return [*([(number, left)] if unheard else ()), *piece[last + 1 :]]

    def _place(self, number: int, span: Span) -> int:
        """Where a span of this utterance begins in the joined audio."""
        return self._seams[number] + span.start - self.paragraph.spans[number].start


def _holds_word(span: Span) -> bool:
    return span.length >= to_samples(PRE_ROLL_S + COVERED_S + POST_ROLL_S)


def seams(spans: Sequence[Span]) -> list[int]:
    """Where each span begins in the joined audio."""
    return list(accumulate((span.length for span in spans[:-1]), initial=0))


def share_out(words: Sequence[Word], origin: int, spans: Sequence[Span]) -> list[list[Word]]:
    """The words of each span, with times in the stream, from words with times in the joined audio.

    ``origin`` is the time at which the joined audio begins. A word that straddles a seam belongs to the span that holds
    most of it. In each span the times never decrease, and no word is empty.
    """
    found: list[list[Word]] = [[] for _ in spans]
    begins = [origin + seam for seam in seams(spans)]
    number = 0
    for word in words:
        while number + 1 < len(spans) and word.start + word.end >= 2 * begins[number + 1]:
            number += 1
        span, shift = spans[number], spans[number].start - begins[number]
        earliest = found[number][-1].start if found[number] else span.start
        start = min(max(word.start + shift, earliest), span.end - 1)
        found[number].append(replace(word, start=start, end=min(max(word.end + shift, start + 1), span.end)))
    return found
