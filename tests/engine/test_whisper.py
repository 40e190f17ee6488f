"""Whisper on CTranslate2, with the real model."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.scoring import normalise
from tests.speech import assert_says, assert_times, clip, spans, text_of
from whisperlivekit.core.hypothesis import DecodeRequest
from whisperlivekit.core.paragraph import LONGEST_S, PARAGRAPH_BEAMS
from whisperlivekit.core.units import SAMPLE_RATE, to_samples
from whisperlivekit.engine import whisper
from whisperlivekit.engine.hotwords import find_candidates
from whisperlivekit.engine.tokens import MAX_PROMPT_TOKENS
from whisperlivekit.engine.whisper import MAX_TEXT, SHORTEST, WhisperModel

PHRASE = clip("phrase_3s")
BEGINNING = " Извините, но голосовой"
REST = "ящик абонента переполнен"
SPECIAL = ("<|startoftranscript|>", "<|notimestamps|>", "<|endoftext|>", "<|0.00|>", "<|ru|>")


def request(**changes: Any) -> DecodeRequest:
    """The phrase in Russian from the beginning of a stream."""
    return DecodeRequest(**{"id": 1, "samples": PHRASE.samples, "start": 0, "language": "ru", **changes})


@pytest.mark.model
@pytest.mark.parametrize("final", [False, True])
def test_a_phrase_with_its_words_and_times(whisper_base: WhisperModel, final: bool) -> None:
    """Partial and final decodes, which have different beam widths, give the transcript beside the clip."""
    (hypothesis,) = whisper_base.decode([request(id=5, final=final)])
    assert hypothesis.request_id == 5
    assert_says(text_of(hypothesis), PHRASE.text)
    assert_times(spans(hypothesis.words), PHRASE.words, audio_s=(0, len(PHRASE.samples) / SAMPLE_RATE))
    assert not hypothesis.looped


@pytest.mark.model
def test_a_known_text_gets_the_times_of_its_words(whisper_base: WhisperModel) -> None:
    """Also where the window does not begin with the stream, and where the text contains task tokens."""
    text = " " + SPECIAL[0] + " ".join(word.text for word in PHRASE.words)
    words = whisper_base.lane().align(request(start=SAMPLE_RATE), text)
    assert [" ".join(normalise(word.text)) for word in words] == [word.text for word in PHRASE.words]
    audio_s = (1, 1 + len(PHRASE.samples) / SAMPLE_RATE)
    assert_times(spans(words), PHRASE.words, audio_s=audio_s, shift_s=1)


@pytest.mark.model
def test_a_known_text_may_be_empty_but_not_longer_than_the_decoder_reads(whisper_base: WhisperModel) -> None:
    """No text has no words. CTranslate2 is not given more tokens than it has positions for."""
    assert whisper_base.lane().align(request(), "") == []
    with pytest.raises(ValueError, match=f"expected at most {MAX_TEXT}"):
        whisper_base.lane().align(request(), " раз" * (MAX_TEXT + 1))


@pytest.mark.model
def test_the_language_is_detected(whisper_base: WhisperModel) -> None:
    """Where the request names none."""
    (hypothesis,) = whisper_base.decode([request(language=None)])
    assert hypothesis.language == "ru"
    assert_says(text_of(hypothesis), PHRASE.text)


def english(text: str) -> bool:
    """Words of English letters only, and at least three of them."""
    words = normalise(text)
    return len(words) > 2 and all(letter.isascii() for word in words for letter in word)


@pytest.mark.model
@pytest.mark.parametrize("final", [False, True])
def test_a_phrase_is_translated(whisper_base: WhisperModel, final: bool) -> None:
    """The words are English, with times inside the audio that never decrease; the language is that of the speech. How
    well base translates differs between processors.
    """
    (hypothesis,) = whisper_base.decode([request(task="translate", final=final)])
    assert english(text_of(hypothesis)), text_of(hypothesis)
    assert hypothesis.language == "ru"
    starts = [word.start for word in hypothesis.words]
    assert starts == sorted(starts)
    assert 0 <= starts[0] < hypothesis.words[-1].end <= len(PHRASE.samples)


@pytest.mark.model
def test_a_translation_is_separated_by_spaces_whatever_is_spoken(whisper_base: WhisperModel) -> None:
    """Chinese is divided into letters, its translation into words."""
    (hypothesis,) = whisper_base.decode([request(task="translate", language="zh", final=True)])
    assert all(word.text.startswith(" ") for word in hypothesis.words[1:])


@pytest.mark.model
@pytest.mark.parametrize("samples", [0, 1, SHORTEST - 1])
def test_a_window_too_short_for_a_word_has_none(whisper_base: WhisperModel, samples: int) -> None:
    """On silent audio Whisper tends to output subtitle credits. The other requests of the batch are not affected."""
    short = request(samples=PHRASE.samples[:samples], prefix=" раз", final=True)
    assert whisper_base.decode([replace(short, language=None)])[0].words == ()
    (nothing, something) = whisper_base.decode([short, request(id=2, final=True)])
    assert nothing.words == ()
    assert_says(text_of(something), PHRASE.text)


@pytest.mark.model
def test_a_prompt_and_a_prefix_of_any_length_are_accepted(whisper_base: WhisperModel) -> None:
    """Clients choose both. Neither may raise an error, nor change the words of other requests in the batch."""
    prompt = request(prompt="Голосовая почта. " * 100, hotwords=("Кеннеди",) * 100)
    prefix = request(id=2, prefix=" слово" * 300)
    hypotheses = [*whisper_base.decode([prompt]), *whisper_base.decode([prefix, request(id=3)])]
    assert [hypothesis.request_id for hypothesis in hypotheses] == [1, 2, 3]
    for hypothesis in (hypotheses[0], hypotheses[2]):
        assert_says(text_of(hypothesis), PHRASE.text)


class Endless:
    """CTranslate2's model, whose texts never end by themselves."""

    def __init__(self, model: Any, end_of_text: int) -> None:
        self._model = model
        self._end_of_text = end_of_text
        self.prompt = 0
        self.lengths: list[int] = []

    def generate(self, encoded: Any, prompts: list[list[int]], **options: Any) -> Any:
        results = self._model.generate(encoded, prompts, **options, suppress_tokens=[-1, self._end_of_text])
        self.prompt = len(prompts[0])
        self.lengths = [len(result.sequences_ids[0]) for result in results]
        return results

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("prompt", ["", "Голосовая почта. " * 100])
def test_a_paragraph_of_fast_speech_is_not_cut(whisper_base: WhisperModel, prompt: str) -> None:
    """However long the prompt, there is room for 7 tokens a second: fast Russian speech."""
    lane = whisper_base.lane()
    lane._model = endless = Endless(lane._model, lane._tokenizers.end_of_text)
    noise = np.random.default_rng(0).normal(0, 0.05, to_samples(LONGEST_S)).astype(np.float32)
    lane.decode([request(samples=noise, prompt=prompt, final=True, beams=PARAGRAPH_BEAMS)])
    assert (endless.prompt > MAX_PROMPT_TOKENS) is bool(prompt)
    assert endless.lengths[0] >= 7 * LONGEST_S


@pytest.mark.model
def test_a_request_may_have_its_own_beam_width(whisper_base: WhisperModel) -> None:
    """It counts instead of the engine's, and requests of different widths are not decoded together."""
    widths = []

    class Spy(Endless):
        def generate(self, encoded: Any, prompts: list[list[int]], **options: Any) -> Any:
            widths.append(options["beam_size"])
            return self._model.generate(encoded, prompts, **options)

    lane = whisper_base.lane()
    lane._model = Spy(lane._model, 0)
    for changes in ({}, {"final": True}, {"final": True, "beams": 5}, {"beams": 1}):
        lane.decode([request(**changes)])
    assert widths == [2, 3, 5, 1]
    with pytest.raises(ValueError, match="beam width"):
        lane.decode([request(final=True), request(final=True, beams=5)])


@pytest.mark.model
@pytest.mark.parametrize("token", SPECIAL)
def test_special_tokens_in_a_client_s_text_are_ignored(whisper_base: WhisperModel, token: str) -> None:
    """In a prompt, a hotword, a short and a long prefix, or context: one of them once ended the whole process.

    The text is the phrase, without any special token, and the prefix is not repeated.
    """
    for final in (False, True):
        requests = [
            request(prompt=f"{token} раз два", final=final),
            request(hotwords=(token, "ящик"), final=final),
            request(prefix=token, final=final),
            request(context_text=token, final=final),
            request(prefix=f"{token}{BEGINNING}{token}", final=final),
        ]
        *whole, continued = (text_of(hypothesis) for each in requests for hypothesis in whisper_base.decode([each]))
        for text in whole:
            assert_says(text, PHRASE.text)
        assert_says(continued, REST)


def hears(model: WhisperModel, text: str) -> WhisperModel:
    """A view of the model whose decoder writes this text for all audio; what it thinks of other texts is real."""
    lane = model.lane()
    lane._generate = lambda encoded, tokens, beams: [(0.0, lane._tokenizers.text(text, "ru")) for _ in tokens]  # type: ignore[method-assign]
    return lane


@pytest.mark.model
@pytest.mark.parametrize(
    ("misheard", "hotwords", "expected"),
    [
        (f"{BEGINNING} ящик обонента переполнен.", ("Абонент", "Ящер"), f"{BEGINNING} ящик Абонента переполнен."),
        (f"{BEGINNING} ящик обо нента, переполнен.", ("абонент",), f"{BEGINNING} ящик абонента, переполнен."),
        (" Извините, ноголосавой ящик абонента переполнен.", ("голосовой",), f"{BEGINNING} ящик абонента переполнен."),
        (" Извините, но голосавая щик обанента переполнен.", ("голосовой ящик", "абонент"), f" {PHRASE.text}"),
    ],
)
def test_a_misheard_hotword_is_corrected(
    whisper_base: WhisperModel, misheard: str, hotwords: tuple[str, ...], expected: str
) -> None:
    """In the case that was said, also where it was heard as two words or together with another word. The other words
    and the punctuation stay, and the times are those of the new words.
    """
    (hypothesis,) = hears(whisper_base, misheard).decode([request(hotwords=hotwords)])
    assert normalise(text_of(hypothesis)) == normalise(expected)
    assert text_of(hypothesis).count(",") == misheard.count(",")
    assert_times(spans(hypothesis.words), PHRASE.words, audio_s=(0, len(PHRASE.samples) / SAMPLE_RATE))


@pytest.mark.model
@pytest.mark.parametrize("hotword", ["Абонемент", "Голосовский", "Извинович", "Переполов", "Голосеев", "Бонет"])
def test_a_hotword_that_was_not_said_is_not_written(
    whisper_base: WhisperModel, monkeypatch: pytest.MonkeyPatch, hotword: str
) -> None:
    """Even if every word is questioned: the audio decides, not the sound of the word."""
    monkeypatch.setattr("whisperlivekit.engine.hotwords.MAX_PROBABILITY", 1.0)
    (plain,) = whisper_base.decode([request()])
    assert find_candidates((hotword,), plain.words) != []
    (hypothesis,) = whisper_base.decode([request(hotwords=(hotword,))])
    assert text_of(hypothesis) == text_of(plain)


@pytest.mark.model
def test_requests_of_a_batch_keep_their_hotwords(whisper_base: WhisperModel) -> None:
    """Two streams share a batch: each has only its own hotword, and what the client was told already stays."""
    lane = hears(whisper_base, " ящик обонента переполнен.")
    prefix = " Извините, но голосавой"
    requests = [
        request(id=1, prefix=prefix, hotwords=("Голосовой", "Абонент")),
        request(id=2, prefix=prefix, hotwords=("Голосовой",)),
    ]
    first, second = lane.decode(requests)
    assert normalise(text_of(first)) == ["ящик", "абонента", "переполнен"]
    assert normalise(text_of(second)) == ["ящик", "обонента", "переполнен"]


@pytest.mark.model
def test_context_is_heard_and_not_output(whisper_base: WhisperModel) -> None:
    """The words of the context are not repeated, and no word has a time before the window."""
    cut = round(1.55 * SAMPLE_RATE)
    start = 100_000
    (hypothesis,) = whisper_base.decode(
        [
            request(
                samples=PHRASE.samples[cut:],
                start=start,
                context=PHRASE.samples[:cut],
                context_text=" Извините,",
                final=True,
            )
        ]
    )
    assert_says(text_of(hypothesis), "но голосовой ящик абонента переполнен")
    end = start + len(PHRASE.samples) - cut
    assert_times(
        spans(hypothesis.words),
        PHRASE.words[1:],
        audio_s=(start / SAMPLE_RATE, end / SAMPLE_RATE),
        shift_s=(start - cut) / SAMPLE_RATE,
    )


@pytest.mark.model
@pytest.mark.parametrize("number", ["float16", "bfloat16"])
def test_encoder_output_in_half_precision_is_read(whisper_base: WhisperModel, number: str) -> None:
    """A GPU's encoder gives it, a CPU's never does, and numpy has no bfloat16."""

    class Half:
        def encode(self, features: Any, *, to_cpu: bool) -> Any:
            kind = getattr(whisper_base._ctranslate2.DataType, number)
            return whisper_base._model.encode(features, to_cpu=to_cpu).to(kind)

    half = whisper_base.lane()
    half._model = Half()
    expected = whisper_base._encode_bare(PHRASE.samples, 0.0)
    np.testing.assert_allclose(half._encode_bare(PHRASE.samples, 0.0), expected, rtol=0.01, atol=0.01)


@pytest.mark.model
@pytest.mark.parametrize("call", ["generate", "align", "detect_language"])
def test_no_window_is_encoded_twice(whisper_base: WhisperModel, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """CTranslate2 takes an input whose second dimension equals the number of mel bands for features, and encodes it. A
    window of 80 encoder frames, 128 with large-v3, must not reach it. With less silence a window of 1 s has 80 frames.
    """
    monkeypatch.setattr(whisper, "PADDING_S", 0.1)
    shapes: dict[str, list[int]] = {"generate": [], "align": [], "detect_language": []}

    class Spy:
        def __getattr__(self, name: str) -> Any:
            def spied(encoded: Any, *arguments: Any, **options: Any) -> Any:
                shapes[name].append(encoded.shape[1])
                return getattr(whisper_base._model, name)(encoded, *arguments, **options)

            return spied if name in shapes else getattr(whisper_base._model, name)

    lane = whisper_base.lane()
    lane._model = Spy()
    for tail in range(23, 28):
        monkeypatch.setattr(whisper, "TAIL_FRAMES", tail)
        lane.decode([request(samples=PHRASE.samples[8_000:24_000], language=None)])
    assert shapes[call] == [78, 79, 81, 81, 82]


@pytest.mark.model
def test_the_windows_of_a_model_with_128_mel_bands(whisper_base: WhisperModel) -> None:
    """With large-v3, windows of 0.56 s have as many encoder frames as mel bands: they get one frame of silence more."""
    lane = whisper_base.lane()
    lane._n_mels = 128
    lengths = [lane._encode([np.zeros(samples, np.float32)]).shape[1] for samples in (8_959, 8_960, 9_279, 9_280)]
    assert lengths == [127, 129, 129, 129]
