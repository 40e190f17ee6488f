"""Which words of a hypothesis are certain enough to be committed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from whisperlivekit.core.hypothesis import Word, bare
from whisperlivekit.core.units import ENCODER_FRAME

SURE = 0.85
"""Probability from which a word that two hypotheses in a row agree on may be committed early."""

UNSURE = 0.4
"""Probability below which a word waits: wrong starts and invented words score lower, most misspelt ones higher."""

EARLY = 0.5
"""Share of the threshold for sure words."""

LATE = 4.0
"""Multiple of the threshold for unsure words."""

CLEAR = 0.88
"""Mean probability of the committed words of clean speech: 0.87 to 0.90 over four streams; with noise 10 dB below the
speech 0.80 to 0.87."""

NOISY = 2.5
"""By how much of what is missing to ``CLEAR`` the border of the unsure words rises: in noise, fragments are rated as
high as misspelt words are in clean speech."""

RECENT = 20
"""Words that the mean is made of, so to say: each new one moves it by a twentieth."""

NUMBER = 6.0
"""Multiple of the threshold for digits that no word follows: "26" may be written when only "двадцать" is heard."""


@dataclass(slots=True)
class CommitPolicy:
    """Commit by alignment: a word that ends well before the audio does has been heard whole.

    How well depends on the evidence: sooner for a sure word that the hypothesis before had too, later for an unsure
    one, so that a wrong start can still be corrected by what follows it.

    Source: AlignAtt (Papi et al., 2023), on the times of a finished hypothesis instead of each decoding step, and
    LocalAgreement (Liu et al., 2020) as the second opinion.
    """

    frame_threshold: int
    """Encoder frames (20 ms) between the end of a word and the end of the audio."""
    _before: list[str] = field(default_factory=list)
    """The uncommitted words of the hypothesis before."""
    _clarity: float = CLEAR
    """The mean probability of the words committed lately, of this stream."""

    def committable(self, words: Sequence[Word], audio_end: int) -> int:
        """How many of the first ``words`` can be committed, given audio up to ``audio_end``."""
        count = 0
        agreed = True
        for index, (word, before) in enumerate(zip(words, [*self._before, *[""] * len(words)], strict=False)):
            agreed = agreed and bare(word.text) == before
            if word.end > audio_end - self._distance(word, words[index + 1 :], agreed=agreed):
                break
            count += 1
        self._before = [bare(word.text) for word in words[count:]]
        for word in words[:count]:
            self._clarity += (word.probability - self._clarity) / RECENT
        return count

    def reset(self) -> None:
        """A new utterance begins: there is no hypothesis before."""
        self._before = []

    def _distance(self, word: Word, following: Sequence[Word], *, agreed: bool) -> float:
        distance = float(self.frame_threshold * ENCODER_FRAME)
        if word.probability < UNSURE + max(0.0, CLEAR - self._clarity) * NOISY:
            return distance * LATE
        if _is_number(word) and all(_is_number(other) for other in following):
            return distance * NUMBER
        # The last word may still grow: only what follows it shows where it ended.
        return distance * EARLY if following and agreed and word.probability >= SURE else distance


def _is_number(word: Word) -> bool:
    return any(letter.isdigit() for letter in word.text)
