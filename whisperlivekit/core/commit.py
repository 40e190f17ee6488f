"""Decides which words of a hypothesis are certain enough to be committed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from whisperlivekit.core.hypothesis import Word, normalize
from whisperlivekit.core.units import ENCODER_FRAME

SURE = 0.85
"""Probability from which on a word may be committed early, if the previous hypothesis had it too."""

UNSURE = 0.4
"""Probability below which a word is committed late. Wrong beginnings and invented words score lower than this, most
misspelt words higher."""

EARLY = 0.5
"""Factor on the threshold for sure words."""

LATE = 4.0
"""Factor on the threshold for unsure words."""

CLEAR = 0.88
"""Mean probability of the committed words in clean speech. Measured: 0.87 to 0.90 over four streams; 0.80 to 0.87 with
noise 10 dB below the speech."""

UNCLEAR = 0.86
"""Running mean of the probabilities below which speech counts as unclear: somewhat less than ``CLEAR``. Not tuned."""

NOISY = 2.5
"""In noise the limit for unsure words is raised by this factor times the distance of the stream's mean probability to
``CLEAR``: there, fragments get the probabilities that misspelt words have in clean speech."""

RECENT = 20
"""The mean probability is a running mean: each new word moves it by 1 / ``RECENT``."""

NUMBER = 6.0
"""Factor on the threshold for digits after which no word follows. The decoder may write "26" when only "двадцать"
(twenty) has been said."""


@dataclass(slots=True)
class CommitPolicy:
    """Commits by alignment: a word that ends far enough before the end of the audio has been heard completely.

    How far depends on the evidence. A sure word that the previous hypothesis had too is committed earlier. An unsure
    word is committed later, so that a wrong beginning can still be corrected by what follows it.

    Source: AlignAtt (Papi et al., 2023), applied to the word times of a finished hypothesis instead of each decoding
    step, together with LocalAgreement (Liu et al., 2020).
    """

    frame_threshold: int
    """The distance, in encoder frames of 20 ms, between the end of a word and the end of the audio."""
    _before: list[str] = field(default_factory=list)
    """The words of the previous hypothesis that were not committed, normalized."""
    _clarity: float = CLEAR
    """Running mean of the probabilities of this stream's committed words."""

    @property
    def unclear(self) -> bool:
        """The decoder is less sure of this stream's words than of clean, read speech."""
        return self._clarity < UNCLEAR

    def committable(self, words: Sequence[Word], audio_end: int) -> int:
        """How many of the first ``words`` to commit, given audio up to ``audio_end``. They then count as committed."""
        count = 0
        agreed = True
        for index, (word, before) in enumerate(zip(words, [*self._before, *[""] * len(words)], strict=False)):
            agreed = agreed and normalize(word.text) == before
            if word.end > audio_end - self._distance(word, words[index + 1 :], agreed=agreed):
                break
            count += 1
        self._before = [normalize(word.text) for word in words[count:]]
        self.learn(words[:count])
        return count

    def learn(self, words: Sequence[Word]) -> None:
        """Words that were committed tell how clear the stream is."""
        for word in words:
            self._clarity += (word.probability - self._clarity) / RECENT

    def reset(self) -> None:
        """A new utterance begins: no previous hypothesis exists. What was learnt about the stream stays."""
        self._before = []

    def _distance(self, word: Word, following: Sequence[Word], *, agreed: bool) -> float:
        distance = float(self.frame_threshold * ENCODER_FRAME)
        if word.probability < UNSURE + max(0.0, CLEAR - self._clarity) * NOISY:
            return distance * LATE
        if _is_number(word) and all(_is_number(other) for other in following):
            return distance * NUMBER
        # The last word may still become longer: only a following word shows where it ends.
        return distance * EARLY if following and agreed and word.probability >= SURE else distance


def _is_number(word: Word) -> bool:
    return any(letter.isdigit() for letter in word.text)
