"""Which words of a hypothesis are certain enough to be committed."""

from collections.abc import Sequence
from dataclasses import dataclass

from whisperlivekit.core.hypothesis import Word
from whisperlivekit.core.units import ENCODER_FRAME


@dataclass(frozen=True, slots=True)
class CommitPolicy:
    """Commit by alignment: a word that ends well before the audio does has been heard whole.

    Source: AlignAtt (Papi et al., 2023), applied to the times of a finished hypothesis instead of to each decoding step.
    """

    frame_threshold: int
    """Encoder frames (20 ms) between the end of a word and the end of the audio."""

    def committable(self, words: Sequence[Word], audio_end: int) -> int:
        """How many of the first ``words`` can be committed, given audio up to ``audio_end``."""
        limit = audio_end - self.frame_threshold * ENCODER_FRAME
        count = 0
        while count < len(words) and words[count].end <= limit:
            count += 1
        return count
