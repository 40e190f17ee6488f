"""Whisper on CTranslate2: a batch of decode requests in, hypotheses out. The only module that runs ctranslate2.

Each request's audio is encoded with a second of silence after it instead of being padded to 30 s: the encoder takes
any length, and its cost grows with the length. This padding alone is not enough. The decoder was trained on 30 s, and
without distant silence it loops where an unfinished word should end the text. So the last encoder frames of 30 s of
silence, computed once, are appended to every window (docs/decisions.md has the figures).
"""

import copy
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.core.hypothesis import NO_AUDIO, DecodeRequest, Hypothesis, Word
from whisperlivekit.core.units import ENCODER_FRAME, HOP, SAMPLE_RATE, to_samples
from whisperlivekit.engine.ct2_format import UnknownFormat
from whisperlivekit.engine.cuda import load_cublas
from whisperlivekit.engine.hotwords import Candidate, choose, find_candidates
from whisperlivekit.engine.loops import cut_loop
from whisperlivekit.engine.schedule import may_share_batch
from whisperlivekit.engine.scratch import scratch_folder
from whisperlivekit.engine.second_ids import SecondIds, copy_model
from whisperlivekit.engine.tokens import RequestTokens, Tokenizers
from whisperlivekit.engine.whisper_folder import can_translate
from whisperlivekit.engine.words import aligned_words, word_lengths

log = logging.getLogger(__name__)

PADDING_S = 1.0
"""Silence encoded after the audio. Tried 0 to 5 s with and without ``TAIL_FRAMES``: below 1 s words are invented."""

TAIL_FRAMES = 50
"""Encoder frames of distant silence after every window. Tried 5 to 400: with fewer the decoder loops, more add
nothing."""

SHORTEST = SAMPLE_RATE // 10
"""Samples of the shortest window that can contain a word. On silent audio Whisper tends to output subtitle credits."""

CONTEXT_S = 30.0
"""Longest audio that Whisper takes. Source: Whisper's training data."""

MIN_PARALLEL = 5
"""Forced tokens from which reading them in one pass, with the blank row that this needs, is cheaper than one decoder
step for each."""

MAX_TEXT = 440
"""Tokens of the longest text that is aligned and was not generated. Source: Whisper's decoder has 448 positions."""

MAX_BATCH = {"cpu": 1, "cuda": 8}
"""Requests in one batch. On two CPU lanes 1, 2, 4 and 8 gave 10.3, 11.2, 10.3 and 9.4 live decodes a second: too little
to make requests wait for each other, and batches of 8 needed 150 MB more. Not tuned on a GPU."""

LIVE_BEAMS = 2
"""Beam width while somebody speaks. Over six streams 1, 2, 3 and 5 gave WER 0.137, 0.121, 0.123 and 0.128 for 0.26,
0.29, 0.30 and 0.36 CPU seconds a second."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What to load, and where to run it."""

    model_dir: Path
    device: str
    """"cpu" or "cuda"."""
    device_index: int = 0
    compute_type: str = "int8"
    threads: int = 1
    """CPU threads of one decode."""
    lanes: int = 1
    """Batches at once, each in its own thread, on one copy of the weights. On a CPU two lanes of one thread do twice
    the work of one lane of two threads: a decode of a few windows is too little work to be shared by cores."""
    max_batch: int = 1
    """Largest number of requests in one batch; see ``MAX_BATCH``."""
    beams: int = 3
    """Beam width of the last decode of an utterance; decodes during speech use at most ``LIVE_BEAMS``, and a request
    may have a width of its own."""
    language: str | None = "ru"
    """Language of the decodes that warm the model up; None: detect it."""
    longest_s: float = CONTEXT_S
    """Seconds of audio, context included, in the longest request. A GPU is filled with it when the model is loaded."""
    silero_dir: Path | None = None
    """The folder of the speech detector's file; None: no speech detector is loaded."""


class WhisperModel:
    """One loaded model. Not thread-safe: it belongs to one thread, and ``lane`` makes a view of it for another."""

    def __init__(self, config: EngineConfig) -> None:
        """Load the model.

        Raises:
            OSError, RuntimeError, ValueError: CTranslate2 and the tokenizer report missing or broken files.
            ModelUnavailable: the GPU's libraries are missing.
        """
        if config.device == "cuda":
            load_cublas()
        # Imported here: these libraries start threads and take memory, and must not be loaded before the fork.
        import ctranslate2
        from faster_whisper.feature_extractor import FeatureExtractor

        self._ctranslate2: Any = ctranslate2
        self._config = config
        self.stages_s: dict[str, float] = {}
        """Seconds of each stage of the last ``decode``."""
        self._second_ids: SecondIds | None = None
        self._model: Any = self._load()
        self._n_mels = int(self._model.n_mels)
        self.translates = self._can_translate()
        """Whether a request's task may be to translate."""
        self._tokenizers = Tokenizers(config.model_dir / "tokenizer.json", multilingual=self._model.is_multilingual)
        self._features: Any = FeatureExtractor(feature_size=self._n_mels)
        silence = np.zeros(to_samples(CONTEXT_S), np.float32)
        self._tail = self._encode_bare(silence, 0.0)[-TAIL_FRAMES:]

    def _load(self) -> Any:
        config = self._config
        with ExitStack() as until_loaded:
            path = config.model_dir
            try:
                folder = until_loaded.enter_context(scratch_folder())
                self._second_ids = copy_model(config.model_dir, folder)
                path = folder
            except (OSError, UnknownFormat) as error:
                log.warning("forced text is read one token at a time, which makes decodes slower: %s", error)
            return self._ctranslate2.models.Whisper(
                str(path),
                device=config.device,
                device_index=config.device_index,
                compute_type=config.compute_type,
                intra_threads=config.threads,
                inter_threads=config.lanes,
            )

    def _can_translate(self) -> bool:
        try:
            return can_translate(self._config.model_dir)
        except (OSError, UnknownFormat):
            return False  # In a format that cannot be examined: nothing is known of it.

    def lane(self) -> "WhisperModel":
        """The same model for another thread."""
        other = copy.copy(self)
        other.stages_s = {}
        other._tokenizers = self._tokenizers.lane()  # noqa: SLF001 - our own copy
        return other

    def decode(self, requests: Sequence[DecodeRequest]) -> list[Hypothesis]:
        """The hypotheses of the requests, in their order. The model generates once for all of them.

        Raises:
            ValueError: two of the requests cannot share a batch; see ``may_share_batch``.
        """
        if not all(may_share_batch(requests[0], other) for other in requests[1:]):
            raise ValueError("requests cannot share a batch, expected one language, task, prompt and beam width")
        self.stages_s = {}
        audible = [request for request in requests if len(request.samples) >= SHORTEST]
        decoded = iter(self._decode(audible) if audible else ())
        return [
            next(decoded) if len(request.samples) >= SHORTEST else Hypothesis(request.id, (), request.language)
            for request in requests
        ]

    def align(self, request: DecodeRequest, text: str) -> list[Word]:
        """The words of a known text with the times at which they are spoken in the request's audio.

        Raises:
            ValueError: the text has more tokens than the decoder can read.
        """
        language = request.language or self._detect(request)
        ids = self._tokenizers.text(text, language)
        if len(ids) > MAX_TEXT:
            raise ValueError(f"the text has {len(ids)} tokens, expected at most {MAX_TEXT}")
        encoded = self._encode([np.concatenate([request.context, request.samples])])
        [alignment] = self._align(encoded[1:], [request], [ids], language)
        return self._words(request, ids, alignment, language)

    def _decode(self, requests: Sequence[DecodeRequest]) -> list[Hypothesis]:
        language = requests[0].language or self._detect(requests[0])
        no_timestamps = self._second_ids.no_timestamps if self._second_ids else None
        requests = [
            request if self._tokenizers.fits(request, language) else replace(request, context=NO_AUDIO, context_text="")
            for request in requests
        ]
        tokens = [self._tokenizers.request(request, language, no_timestamps) for request in requests]
        with self._timed("encode"):
            encoded = self._encode([np.concatenate([request.context, request.samples]) for request in requests])
        with self._timed("generate"):
            generated = self._generate(encoded, tokens, self._beams(requests[0]))
        texts: list[list[int]] = []
        looped: list[bool] = []
        for own, (_, ids) in zip(tokens, generated, strict=True):
            text = ids[: own.budget]
            kept = cut_loop(text)
            looped.append(len(kept) < len(text))
            texts.append(kept)
        with self._timed("align"):
            aligned = self._align_all(encoded, requests, tokens, texts, language)
        return [
            Hypothesis(
                request_id=request.id,
                words=tuple(words[count:]),
                language=language,
                no_speech_probability=no_speech,
                looped=loop,
            )
            for request, (no_speech, _), (words, count), loop in zip(requests, generated, aligned, looped, strict=True)
        ]

    def _beams(self, request: DecodeRequest) -> int:
        """The beam width of a request and of all that share its batch."""
        return request.beams or (self._config.beams if request.final else min(self._config.beams, LIVE_BEAMS))

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self.stages_s[stage] = time.monotonic() - begin

    def _detect(self, request: DecodeRequest) -> str:
        if not self._model.is_multilingual:
            return "en"
        encoded = self._encode([request.samples])[1:]
        token: str = self._model.detect_language(self._view(encoded))[0][0][0]
        return token.strip("<|>")

    def _encode(self, audio: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Encoder output of a batch: float32[1 + n, frames, width]. ``frames`` is never the number of mel bands.

        Row 0 is blank: distant silence. Each other row is encoded separately with silence after it, then filled up
        with distant silence: padding the shorter ones to the longest before encoding would change their text.
        """
        rows = [self._encode_bare(samples, PADDING_S) for samples in audio]
        frames = max(len(row) for row in rows) + TAIL_FRAMES
        # CTranslate2 takes an input for features, and encodes it, when its second dimension equals the number of mel
        # bands. Encoder output of that length would be encoded twice.
        frames += frames == self._n_mels
        encoded = np.empty((1 + len(rows), frames, rows[0].shape[1]), np.float32)
        silence = self._tail[np.arange(-frames, 0) % TAIL_FRAMES]
        encoded[:] = silence
        for target, row in zip(encoded[1:], rows, strict=True):
            target[: len(row)] = row
        return encoded

    def _encode_bare(self, samples: NDArray[np.float32], padding_s: float) -> NDArray[np.float32]:
        """float32[frames, width]: the audio and silence after it, up to 30 s."""
        length = min(len(samples) + to_samples(padding_s), to_samples(CONTEXT_S))
        padded = np.zeros(length // ENCODER_FRAME * ENCODER_FRAME, np.float32)
        padded[: len(samples)] = samples[: len(padded)]
        features = self._features(padded, padding=0)[None, :, : len(padded) // HOP]
        encoded = self._model.encode(self._view(np.ascontiguousarray(features)), to_cpu=True)
        # Converted by CTranslate2: numpy has no bfloat16.
        frames: NDArray[np.float32] = np.asarray(encoded.to(self._ctranslate2.DataType.float32))[0]
        return frames

    def _generate(
        self, encoded: NDArray[np.float32], tokens: Sequence[RequestTokens], beams: int
    ) -> list[tuple[float, list[int]]]:
        """No-speech probability and the text tokens after the forced ones, for each request."""
        longest = max(len(own.prompt) + len(own.forced) + own.budget for own in tokens)
        prompts = [own.prompt + own.forced for own in tokens]
        # One token at least is forced by a step: CTranslate2 does not let a text end at its first token.
        parallel = min(len(own.forced) for own in tokens) - 1 if self._second_ids else 0
        if self._second_ids and parallel >= MIN_PARALLEL:
            # CTranslate2 applies its timestamp rules to all rows unless the first prompt ends in <|notimestamps|>.
            blank = tokens[0].prompt + [self._second_ids.no_timestamps] * parallel
            one_pass = [own.prompt + self._second_ids.of(own.forced[:parallel]) for own in tokens]
            prompts = [blank, *(ids + own.forced[parallel:] for ids, own in zip(one_pass, tokens, strict=True))]
        else:
            parallel = 0
        results = self._model.generate(
            self._view(encoded[-len(prompts) :]),
            prompts,
            beam_size=beams,
            # CTranslate2 takes half of it for new tokens, whatever the prompt: at most 224, which is 8 a second in the
            # longest request.
            max_length=min(448, 2 * longest),
            return_no_speech_prob=True,
            suppress_blank=not any(own.forced for own in tokens),
        )[-len(tokens) :]
        # A result begins with the tokens that were forced step by step.
        end_of_text = self._tokenizers.end_of_text
        return [
            (
                float(result.no_speech_prob),
                [id_ for id_ in result.sequences_ids[0][len(own.forced) - parallel :] if id_ < end_of_text],
            )
            for result, own in zip(results, tokens, strict=True)
        ]

    def _view(self, array: NDArray[np.float32]) -> Any:
        return self._ctranslate2.StorageView.from_array(array)

    def _align_all(
        self,
        encoded: NDArray[np.float32],
        requests: Sequence[DecodeRequest],
        tokens: Sequence[RequestTokens],
        texts: list[list[int]],
        language: str,
    ) -> list[tuple[list[Word], int]]:
        """Words with times, hotwords corrected, and how many of them are forced text, for each request."""
        if not any(texts):
            return [([], 0) for _ in requests]
        everything = [own.forced + text for own, text in zip(tokens, texts, strict=True)]
        alignments = self._align(encoded[1:], requests, everything, language)
        written = "en" if requests[0].task == "translate" else language
        found = []
        for row, (request, own, ids) in enumerate(zip(requests, tokens, everything, strict=True)):
            given = len(word_lengths(self._pieces(own.forced, written))) if ids else 0
            words = self._words(request, ids, alignments[row], written)
            if request.hotwords:
                better = self._corrected(
                    request, encoded[1 + row], ids, words, given=given, heard=alignments[row], language=language
                )
                words = self._words(request, *better, written) if better else words
            found.append((words, given))
        return found

    def _align(
        self, encoded: NDArray[np.float32], requests: Sequence[DecodeRequest], texts: list[list[int]], language: str
    ) -> list[Any]:
        """CTranslate2's alignment of each text with the row of its request."""
        return list(
            self._model.align(
                self._view(encoded),
                self._tokenizers.language(language, requests[0].task).sot_sequence,
                # Some versions of CTranslate2 divide by zero on an empty text: it gets a token that is thrown away.
                [ids or [self._tokenizers.end_of_text - 1] for ids in texts],
                [max(2, (len(request.context) + len(request.samples)) // HOP) for request in requests],
                median_filter_width=7,
            )
        )

    def _words(self, request: DecodeRequest, ids: list[int], alignment: Any, language: str) -> list[Word]:
        if not ids:
            return []
        return aligned_words(
            self._pieces(ids, language),
            alignment.alignments,
            alignment.text_token_probs,
            origin=request.start - len(request.context),
            audio_end=request.start + len(request.samples),
        )

    def _corrected(
        self,
        request: DecodeRequest,
        window: NDArray[np.float32],
        ids: list[int],
        words: list[Word],
        *,
        given: int,
        heard: Any,
        language: str,
    ) -> tuple[list[int], Any] | None:
        """The text with hotwords in the place of misheard words, and its alignment; None: nothing was misheard.

        The decoder reads the text with each candidate and says how probable it is for this audio. The first ``given``
        words stay as they are; ``heard`` is the alignment of ``ids``.
        """
        edges = np.cumsum([0, *word_lengths(self._pieces(ids, language))])[given:]

        def replaced(text: list[int], candidate: Candidate) -> list[int]:
            new = self._tokenizers.text(candidate.text, language)
            return [*text[: edges[candidate.first]], *new, *text[edges[candidate.last] :]]

        def aligned(texts: list[list[int]]) -> list[Any]:
            return self._align(np.repeat(window[None], len(texts), axis=0), [request] * len(texts), texts, language)

        tried = [(one, replaced(ids, one)) for one in find_candidates(request.hotwords, words[given:])]
        tried = [(one, text) for one, text in tried if 0 < len(text) <= MAX_TEXT]
        if not tried:
            return None
        before = _log_probability(heard)
        gains = [_log_probability(after) - before for after in aligned([text for _, text in tried])]
        chosen = choose([one for one, _ in tried], gains)
        if not chosen:
            return None
        for one in chosen:
            ids = replaced(ids, one)
        return (ids, *aligned([ids])) if 0 < len(ids) <= MAX_TEXT else None

    def _pieces(self, ids: list[int], language: str) -> list[tuple[str, int]]:
        """Text and number of tokens of each piece of a text, with the space that belongs before it."""
        texts, groups = self._tokenizers.language(language).split_to_word_tokens(ids) if ids else ([], [])
        return [(text, len(group)) for text, group in zip(texts, groups, strict=True)]


def _log_probability(alignment: Any) -> float:
    """Of a whole text, given its audio."""
    return float(np.log(np.maximum(alignment.text_token_probs, 1e-10)).sum())
