"""Refinement: committed words are decided once more, by paragraph, behind live work.

The rules:

- The stream's utterances are collected into paragraphs (``core/paragraph.py``). When all words of a paragraph have been
  committed, it is decoded afresh, one paragraph at a time and in order.
- ``choose`` decides for each utterance whether its committed words stand or are replaced.
- Each committed word of the stream belongs to exactly one paragraph. A word's position is its middle, inside its
  utterance; the paragraph takes all words up to its end that no paragraph before it has taken. Words that lie in none
  of its utterances stand: after a resume the gate may open and close elsewhere than the first time.
- Live work goes first. A paragraph that must wait too long is given up: its committed words stand. So are all that are
  left when whoever runs the session does not wait any longer.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, Word
from whisperlivekit.core.paragraph import Paragraph, Paragraphs, Rendition
from whisperlivekit.core.timeline import Timeline
from whisperlivekit.core.units import to_samples

MAX_KEPT_S = 120.0
"""Audio that a stream keeps for paragraphs that wait. An older paragraph is given up, or after twice this time even if
its decode has begun. Not tuned: four paragraphs of the longest kind; 120 s are 8 MB."""

MUCH_LESS = 0.8
"""Share of the committed words' mean probability below which new words do not replace them. Not tuned."""


def choose(committed: Sequence[Word], refined: Sequence[Word]) -> tuple[Word, ...]:
    """The words of one utterance: the refined ones where they are better evidence than the committed ones.

    ``refined`` has no words that are probably not said: ``Rendition`` has removed them.
    """
    if not refined or (committed and _mean(refined) < MUCH_LESS * _mean(committed)):
        return tuple(committed)
    return tuple(refined)


def _mean(words: Sequence[Word]) -> float:
    return sum(word.probability for word in words) / len(words)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a paragraph's refinement."""

    start: int
    end: int
    words: tuple[Word, ...]
    """The words that are valid from now on."""
    replaces: int
    """How many committed words they replace: the first ones that no paragraph before has replaced."""
    decoded: bool
    """False: the paragraph was given up, and its committed words stand."""


@dataclass(slots=True)
class _Placed:
    """A committed word and its position."""

    at: int
    word: Word


class Refinement:
    """The paragraphs of one stream, from its speech and committed words to the words that replace them."""

    def __init__(self, known: Iterable[Word]) -> None:
        """known: committed words that a resumed stream brings, not yet refined."""
        self._paragraphs = Paragraphs()
        self._waiting: deque[Paragraph] = deque()
        """Complete, in order; the first one is decoded."""
        self._rendition: Rendition | None = None
        """Of the first paragraph."""
        self._request: int | None = None
        """The decode in flight. It may outlive its paragraph."""
        self._words: deque[_Placed] = deque()
        """Committed words that are not refined; their positions never decrease."""
        self._closed_to = 0
        """End of the last complete paragraph."""
        self._ended = False
        self._given_up = False
        """No paragraph is decoded any more."""
        self.receive_words(known)

    # ---- inputs

    def open(self, at: int) -> None:
        """An utterance begins."""
        self._paragraphs.open(max(at, self._closed_to))

    def receive_window(self, end: int, probability: float) -> None:
        """The speech detector has judged the window that ends at ``end``, and what follows from it was received."""
        self._paragraphs.receive_window(end, probability)
        self._collect()

    def close(self, end: int) -> None:
        """The open utterance, if there is one, ends."""
        self._paragraphs.close(end)
        self._collect()

    def end(self) -> None:
        """The stream has ended."""
        self._paragraphs.end()
        self._collect()
        self._ended = True

    def give_up(self) -> None:
        """The committed words stand that are not refined yet."""
        self._given_up = True

    def receive_words(self, words: Iterable[Word]) -> None:
        """These words are committed."""
        for word in words:
            earliest = self._words[-1].at if self._words else 0
            self._words.append(_Placed(max(earliest, (word.start + word.end) // 2), word))

    def receive_utterance_end(self, end: int) -> None:
        """All words committed so far belong to utterances that end at ``end`` or before."""
        for placed in reversed(self._words):
            if placed.at < end:
                break
            placed.at = end - 1

    def receive_hypothesis(self, hypothesis: Hypothesis) -> None:
        """The answer to a decode request. An answer that is not awaited is ignored."""
        if self._answers(hypothesis.request_id) and self._rendition is not None:
            self._rendition.receive_hypothesis(hypothesis)

    def receive_failure(self, request_id: int) -> None:
        """The decode failed. The second failure on the same audio lets its committed words stand."""
        if self._answers(request_id) and self._rendition is not None:
            self._rendition.receive_failure(request_id)

    def _answers(self, request_id: int) -> bool:
        if request_id != self._request:
            return False
        self._request = None
        return True

    # ---- outputs

    @property
    def kept_from(self) -> int | None:
        """The earliest sample that is still needed; None: no utterance waits."""
        return self._waiting[0].start if self._waiting else self._paragraphs.kept_from

    @property
    def idle(self) -> bool:
        """Nothing is left to refine."""
        return not self._waiting and not self._words and self._paragraphs.kept_from is None

    def next_decode(
        self,
        settled_to: int,
        timeline: Timeline,
        *,
        request_id: int,
        language: str | None,
        prompt: str,
        hotwords: tuple[str, ...],
    ) -> DecodeRequest | None:
        """The decode that is due, if any.

        settled_to: all words before this position were received. timeline: holds the audio from ``kept_from`` on.
        """
        if self._request is not None or self._given_up:
            return None
        if self._rendition is None:
            if not self._waiting or self._waiting[0].end > settled_to:
                return None
            spans = self._waiting[0].spans
            self._rendition = Rendition(self._waiting[0], [timeline.slice(span.start, span.end) for span in spans])
        request = self._rendition.next_decode(request_id, language, prompt, hotwords)
        self._request = request.id if request else None
        return request

    def take(self, settled_to: int, received: int) -> Outcome | None:
        """The next paragraph whose refinement has ended, if any; ``received`` is the end of the stream's audio."""
        if self._waiting and self._waiting[0].end <= settled_to:
            waited = received - self._waiting[0].start
            if self._given_up or (self._rendition is None and waited > to_samples(MAX_KEPT_S)):
                return self._close(None)
            if self._rendition is not None and (self._rendition.complete or waited > 2 * to_samples(MAX_KEPT_S)):
                return self._close(self._rendition)
        elif self._ended and self._words and not self._waiting:
            # Words that a client brought of audio in which no speech is found now.
            words = tuple(placed.word for placed in self._words)
            self._words.clear()
            return Outcome(words[0].start, words[-1].end, words, len(words), decoded=False)
        return None

    # ---- paragraphs

    def _collect(self) -> None:
        self._waiting += self._paragraphs.take()
        if self._waiting:
            self._closed_to = self._waiting[-1].end

    def _close(self, rendition: Rendition | None) -> Outcome:
        paragraph = self._waiting.popleft()
        self._rendition = None
        count = len(self._words)
        words: list[Word] = []
        decoded = rendition is not None and rendition.complete
        for span, refined in rendition.utterances if rendition is not None and decoded else ():
            words += self._words_before(span.start)
            words += choose(self._words_before(span.end), refined)
        words += self._words_before(paragraph.end)
        return Outcome(paragraph.start, paragraph.end, _in_order(words), count - len(self._words), decoded)

    def _words_before(self, position: int) -> list[Word]:
        taken = []
        while self._words and self._words[0].at < position:
            taken.append(self._words.popleft().word)
        return taken


def _in_order(words: Iterable[Word]) -> tuple[Word, ...]:
    """``words`` with starts that never decrease: committed and refined times of neighbours may overlap."""
    ordered: list[Word] = []
    for word in words:
        start = max(word.start, ordered[-1].start) if ordered else word.start
        ordered.append(replace(word, start=start, end=max(word.end, start)))
    return tuple(ordered)
