"""Which words of a hypothesis are committed."""

from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.core.commit import CLEAR, EARLY, LATE, NUMBER, RECENT, SURE, UNSURE, CommitPolicy
from whisperlivekit.core.hypothesis import Word, normalize
from whisperlivekit.core.units import ENCODER_FRAME

THRESHOLD = 25
DISTANCE = THRESHOLD * ENCODER_FRAME
END = 100_000
PLAIN = (SURE + UNSURE) / 2


def word(text: str = " слово", end: int = 0, probability: float = PLAIN) -> Word:
    return Word(text, max(0, end - 3_000), end, probability)


def test_a_word_is_committed_when_it_ends_far_enough_before_the_audio() -> None:
    """The distance is the frame threshold, to the sample."""
    policy = CommitPolicy(THRESHOLD)
    assert policy.committable([word(end=END - DISTANCE)], END) == 1
    assert policy.committable([word(end=END - DISTANCE + 1)], END) == 0


def test_nothing_is_committed_of_nothing() -> None:
    """An empty hypothesis has nothing to commit."""
    assert CommitPolicy(THRESHOLD).committable([], END) == 0


def test_words_are_committed_in_order() -> None:
    """A word is never committed before the word in front of it."""
    policy = CommitPolicy(THRESHOLD)
    assert policy.committable([word(end=1), word(end=END), word(end=2)], END) == 1


def test_an_unsure_word_waits_longer() -> None:
    """What follows may still correct it. It is committed later, but it is committed."""
    policy = CommitPolicy(THRESHOLD)
    unsure = word(end=END - DISTANCE, probability=UNSURE - 0.01)
    assert policy.committable([unsure], END) == 0
    assert policy.committable([unsure], END + round(DISTANCE * (LATE - 1))) == 1


def test_in_noise_more_words_are_unsure() -> None:
    """Improbable words raise the limit for unsure words, also across utterances; probable words lower it again."""
    policy = CommitPolicy(THRESHOLD)
    doubtful = word(end=END - DISTANCE, probability=UNSURE + 0.05)
    assert policy.committable([doubtful], END) == 1
    for probability, count in ((CLEAR - 0.1, 0), (1.0, 1)):
        policy.committable([word(end=1, probability=probability)] * 3 * RECENT, END)
        policy.reset()
        assert policy.committable([doubtful], END) == count


def test_a_sure_word_that_was_seen_before_is_committed_early() -> None:
    """Two hypotheses agree, apart from case and punctuation, and another word follows."""
    policy = CommitPolicy(THRESHOLD)
    end, more = END - round(DISTANCE * EARLY), word(" ещё", END)
    assert policy.committable([word(" слово", end, SURE), more], END) == 0
    assert policy.committable([word(" Слово,", end, SURE), more], END) == 1


def test_the_last_word_is_never_committed_early() -> None:
    """It may still become longer, whatever its probability: "файл" may become "файла"."""
    policy = CommitPolicy(THRESHOLD)
    last = word(" слово", END - round(DISTANCE * EARLY), SURE)
    assert [policy.committable([last], END) for _ in range(3)] == [0, 0, 0]


def test_digits_wait_for_a_word_that_is_none() -> None:
    """They may be written before the whole number is said: "20" becomes "26", and "20 6" becomes "206"."""
    policy = CommitPolicy(THRESHOLD)
    digits, more, plain = word(" 20", END - DISTANCE, SURE), word(" 6", END - DISTANCE, SURE), word(" рублей", END)
    assert policy.committable([digits], END) == 0
    assert policy.committable([digits, more], END) == 0
    assert policy.committable([digits, more, plain], END) == 2
    assert policy.committable([digits], END + round(DISTANCE * (NUMBER - 1))) == 1


def test_agreement_ends_at_the_first_difference() -> None:
    """The words after one that has changed are as uncertain as that one."""
    end, more = END - round(DISTANCE * EARLY), word(" ещё", END)
    policy = CommitPolicy(THRESHOLD)
    policy.committable([word(" один", end, SURE), word(" два", end, SURE), more], END)
    assert policy.committable([word(" одна", end, SURE), word(" два", end, SURE), more], END) == 0


def test_agreement_is_with_the_uncommitted_words() -> None:
    """The next hypothesis begins after the committed words, so these are not compared again."""
    end, more = END - round(DISTANCE * EARLY), word(" ещё", END)
    policy = CommitPolicy(THRESHOLD)
    assert policy.committable([word(" раз", 1), word(" два", end, SURE), more], END) == 1
    assert policy.committable([word(" два", end, SURE), more], END) == 1


def test_a_new_utterance_has_no_hypothesis_before() -> None:
    """Words of two utterances are not compared."""
    end = END - round(DISTANCE * EARLY)
    words = [word(" слово", end, SURE), word(" ещё", END)]
    policy = CommitPolicy(THRESHOLD)
    policy.committable(words, END)
    policy.reset()
    assert policy.committable(words, END) == 0


words = st.lists(
    st.builds(
        Word,
        st.sampled_from([" раз", " два", " 26", "", " —"]),
        st.integers(-1_000, 2 * END),
        st.integers(-1_000, 2 * END),
        st.floats(0, 1),
    ),
    max_size=6,
)


@given(st.lists(words, min_size=1, max_size=6), st.integers(0, 60))
def test_never_more_than_there_is_and_never_too_close_to_the_end(rounds: list[list[Word]], threshold: int) -> None:
    """Whatever came before: only words from the beginning, none of which ends within the shortest distance."""
    policy = CommitPolicy(threshold)
    for hypothesis in rounds:
        count = policy.committable(hypothesis, END)
        assert 0 <= count <= len(hypothesis)
        nearest = END - min(EARLY, 1.0) * threshold * ENCODER_FRAME
        assert all(word.end <= nearest for word in hypothesis[:count])


@given(words, st.integers(0, 60))
def test_everything_is_committed_when_enough_was_heard_after_it(hypothesis: list[Word], threshold: int) -> None:
    """Enough audio after the words commits all of them, whatever they are."""
    far = 2 * END + round(LATE * threshold * ENCODER_FRAME) + 1
    assert CommitPolicy(threshold).committable(hypothesis, far) == len(hypothesis)


def test_normalized_words_have_letters_and_digits_only() -> None:
    """Comparison ignores punctuation and case."""
    assert [normalize(text) for text in (" Из-за", "«Ёлка»!", " 10%", " —")] == ["изза", "ёлка", "10", ""]
