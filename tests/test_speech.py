"""The promises about a model's text and times: what passes, and what does not."""

import pytest

from benchmarks.scoring import TimedWord
from tests.speech import Span, assert_continues, assert_says, assert_times, clip, says, sentences

PHRASE = "извините но голосовой ящик абонента переполнен"


@pytest.mark.parametrize(
    "text",
    [
        " Извините, но голосовой ящик абонента переполнен.",
        " Извините, но голосовой ящик обонента переполнен",
        " извините но голосовый ящик абонента переполнен...",
        " Извинити, но голосовой ящик обонента переполнен!",
    ],
)
def test_what_another_processor_writes_passes(text: str) -> None:
    """Single letters, case and punctuation."""
    assert_says(text, PHRASE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " Голосовой ящик абонента.",
        " Извините, но голосовой ящик",
        " Извините, но голосовой, но голосовой ящик абонента переполнен.",
        " Извините, но голосовой ящик абонента переполнен. Извините.",
        " Данный номер не существует.",
    ],
)
def test_lost_repeated_and_foreign_words_do_not(text: str) -> None:
    """Whatever a broken decoder, prefix or batch does to a text."""
    assert not says(text, PHRASE)


@pytest.mark.parametrize("text", [" абонента переполнен.", " ящик ящик абонента переполнен."])
def test_one_word_counts_in_a_short_text(text: str) -> None:
    """A continuation that begins a word too late or too early."""
    assert says(" ящик обонента переполнен.", "ящик абонента переполнен")
    assert not says(text, "ящик абонента переполнен")


@pytest.mark.parametrize("lost_or_repeated", ["звонок будет", "ваш ваш звонок будет", "и ваш звонок будет"])
def test_a_long_continuation_begins_with_its_own_words(lost_or_repeated: str) -> None:
    """One word too many or too few at the end of the prefix is found in a text of any length."""
    rest = "обслужен первым доступным оператором оставайтесь на линии"
    assert_continues(f"Ваш звонак будет {rest}", f"ваш звонок будет {rest}")
    with pytest.raises(AssertionError):
        assert_continues(f"{lost_or_repeated} {rest}", f"ваш звонок будет {rest}")


def test_numbers_and_yo_are_spelt_either_way() -> None:
    assert_says("Нажмите 8, её ещё", "нажмите восемь ее еще")


def test_nothing_is_nothing() -> None:
    """Punctuation is no word; a word is one too many."""
    assert_says(" .", "")
    assert not says(" да", "")


def test_special_tokens_are_no_text() -> None:
    """Not even one in a long text that is right otherwise."""
    with pytest.raises(AssertionError, match="special token"):
        assert_says(f"<|ru|> {PHRASE}", PHRASE)


REFERENCE = [TimedWord("раз", 0.5), TimedWord("два", 0.9), TimedWord("три", 1.3), TimedWord("четыре", 3.0)]


def heard(*ends_s: float) -> list[Span]:
    texts = (" Раз,", " два", " три", " четыре.")
    starts_s = (0.1, *ends_s[:-1])
    return [Span(text, start, end) for text, start, end in zip(texts, starts_s, ends_s, strict=True)]


def test_times_near_the_transcript_pass() -> None:
    """A word before a pause or the end is only held to the audio, and a shifted stream to its own zero."""
    assert_times(heard(0.6, 1.0, 2.4, 4.0), REFERENCE, audio_s=(0, 4.0))
    shifted = [Span(word.text, word.start_s + 10, word.end_s + 10) for word in heard(0.6, 1.0, 1.2, 3.5)]
    assert_times(shifted, REFERENCE, audio_s=(10, 14), shift_s=10)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (heard(0.6, 1.4, 1.5, 3.0), "from the transcript"),
        (heard(0.6, 0.5, 1.3, 3.0), "overlap"),
        (heard(0.6, 1.0, 1.3, 4.5), "outside"),
        ([], "too few"),
    ],
)
def test_other_times_do_not(found: list[Span], why: str) -> None:
    """A late word, words out of order, one behind the audio, none at all."""
    with pytest.raises(AssertionError, match=why):
        assert_times(found, REFERENCE, audio_s=(0, 4.0))


def test_the_clips_can_be_told_apart() -> None:
    """No sentence passes for another: a test may find a mixed-up answer by its text."""
    texts = [sentence.text for sentence in sentences()]
    assert len(texts) == 7
    assert [[says(text, expected) for expected in texts] for text in texts] == [
        [place == other for other in range(7)] for place in range(7)
    ]
    for sentence in sentences():
        assert 0 < sentence.words[0].end_s < sentence.words[-1].end_s <= len(sentence.samples) / 16_000
    assert clip("phrase_3s").text == PHRASE
