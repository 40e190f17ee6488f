"""Whisper on CTranslate2: a batch of decode requests in, hypotheses out. The only module that imports ctranslate2.

Each request's audio is encoded with a second of silence after it instead of being padded to 30 s: the encoder takes
any length, and its cost falls with it. Alone that makes the decoder, trained on 30 s, loop where an unfinished word
should end the text: it misses the far silence that it knows. So the last encoder frames of 30 s of silence, computed
once, are put behind every window (docs/decisions.md has the figures).
"""

import copy
import logging
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, Word
from whisperlivekit.core.units import ENCODER_FRAME, HOP, SAMPLE_RATE, to_samples
from whisperlivekit.engine.cuda import load_cublas
from whisperlivekit.engine.second_ids import SecondIds, UnknownFormat, copy_model, folder_for_copy

log = logging.getLogger(__name__)

PADDING_S = 1.0
"""Silence encoded after the audio. Tried 0 to 5 s with and without ``TAIL_FRAMES``: below 1 s words are invented."""

TAIL_FRAMES = 50
"""Encoder frames of far silence behind every window. Tried 5 to 400: fewer let the decoder loop, more add nothing."""

SHORTEST = SAMPLE_RATE // 10
"""Samples of the shortest window that can hold a word: in an empty one the decoder hears a subtitle's editor."""

CONTEXT_S = 30.0
"""Source: what Whisper was trained on."""

TOKENS = 4
TOKENS_PER_SECOND = 9
"""Budget of new tokens: fast Russian speech has 6 to 7 a second."""

MAX_PROMPT_TOKENS = 100
"""Tokens of earlier text. Source: Whisper allows 223; live windows are short, and longer prompts started loops."""

MIN_PARALLEL = 5
"""Tokens of a prefix from which one pass for them, and the blank row that it needs, cost less than a step each."""

MAX_BATCH = {"cpu": 1, "cuda": 8}
"""Requests of one batch. On two CPU lanes 1, 2, 4 and 8 gave 10.3, 11.2, 10.3 and 9.4 live decodes a second: not worth
waiting for each other, and batches of 8 held 150 MB more. On a GPU untested."""

LIVE_BEAMS = 2
"""Beam width while somebody speaks. Over six streams 1, 2, 3 and 5 gave WER 0.137, 0.121, 0.123 and 0.128 for 0.26,
0.29, 0.30 and 0.36 CPU seconds a second."""

MIN_LOOP_REPEATS = 3
MAX_LOOP_TOKENS = 20
"""A tail of at least 3 copies of the same 1 to 20 tokens is a loop; what people say twice stays."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What to load and where."""

    model_dir: Path
    device: str
    """"cpu" or "cuda"."""
    device_index: int = 0
    compute_type: str = "int8"
    threads: int = 1
    """CPU threads of one decode."""
    lanes: int = 1
    """Batches at once, each in a thread of its own, on one copy of the weights. On a CPU two lanes of one thread do
    twice the work of one lane of two: decoding a few windows is too little to be shared by cores."""
    max_batch: int = 1
    """Requests of one batch; ``MAX_BATCH`` has what pays."""
    beams: int = 3
    """Beam width of the last decode of an utterance; the others have ``LIVE_BEAMS`` of them at most."""
    language: str | None = "ru"
    """Of the first decodes, which warm the model; None: detect it."""
    longest_s: float = CONTEXT_S
    """Seconds of audio, context included, in the longest request. A GPU is filled with it when the model is loaded."""
    silero_dir: Path | None = None
    """The folder of the speech detector's file; None: no speech detector is loaded."""


@dataclass(frozen=True, slots=True)
class _Tokens:
    """One request's token lists."""

    prompt: list[int]
    """Everything up to and including ``<|notimestamps|>``."""
    context: list[int]
    """The text of the request's context, forced like the prefix."""
    own_prefix: list[int]

    @property
    def prefix(self) -> list[int]:
        return self.context + self.own_prefix


class WhisperModel:
    """One loaded model. Not thread-safe: it belongs to one thread; ``lane`` makes it another one's too."""

    def __init__(self, config: EngineConfig) -> None:
        """Load the model.

        Raises:
            OSError, RuntimeError, ValueError: what CTranslate2 and the tokenizer say of missing or broken files.
            ModelUnavailable: the GPU's libraries are missing.
        """
        if config.device == "cuda":
            load_cublas()
        # Imported here: these start threads and take memory, and must not be loaded before the fork.
        import ctranslate2
        from faster_whisper.feature_extractor import FeatureExtractor
        from faster_whisper.tokenizer import Tokenizer
        from tokenizers import Tokenizer as TokenizerFile

        self._ctranslate2: Any = ctranslate2
        self._config = config
        self.stages_s: dict[str, float] = {}
        """Time of each stage of the last ``decode``."""
        self._second_ids: SecondIds | None = None
        self._model: Any = self._load()
        self._tokenizer_file: Any = TokenizerFile.from_file(str(config.model_dir / "tokenizer.json"))
        self._new_tokenizer = Tokenizer
        self._end_of_text = cast(int, self._tokenizer_file.token_to_id("<|endoftext|>"))
        self._tokenizers: dict[str, Any] = {}
        self._features: Any = FeatureExtractor(feature_size=self._model.n_mels)
        silence = np.zeros(to_samples(CONTEXT_S), np.float32)
        self._tail = self._encode_bare(silence, 0.0)[-TAIL_FRAMES:]

    def _load(self) -> Any:
        config = self._config
        with ExitStack() as until_loaded:
            path = config.model_dir
            try:
                folder = until_loaded.enter_context(folder_for_copy())
                self._second_ids = copy_model(config.model_dir, folder)
                path = folder
            except (OSError, UnknownFormat) as error:
                log.warning("decoding will be slower than it could be: %s", error)
            return self._ctranslate2.models.Whisper(
                str(path),
                device=config.device,
                device_index=config.device_index,
                compute_type=config.compute_type,
                intra_threads=config.threads,
                inter_threads=config.lanes,
            )

    def lane(self) -> "WhisperModel":
        """The same model for another thread."""
        other = copy.copy(self)
        other.stages_s = {}
        other._tokenizers = {}  # noqa: SLF001 - our own copy
        return other

    def decode(self, requests: Sequence[DecodeRequest]) -> list[Hypothesis]:
        """The hypotheses of the requests, in their order."""
        self.stages_s = {}
        results = {
            index: Hypothesis(request.id, (), request.language)
            for index, request in enumerate(requests)
            if len(request.samples) < SHORTEST
        }
        rest = [index for index in range(len(requests)) if index not in results]
        languages = {index: requests[index].language or self._detect(requests[index]) for index in rest}

        tokens = {index: self._tokens(requests[index], languages[index]) for index in rest}

        def group(index: int) -> tuple[bool, str, int, bool]:
            own = tokens[index]
            return requests[index].final, languages[index], len(own.prompt), len(own.prefix) > MIN_PARALLEL

        for (final, language, *_), members in groupby(sorted(rest, key=group), key=group):
            indices = list(members)
            batch = [requests[index] for index in indices]
            decoded = self._decode(batch, [tokens[index] for index in indices], language, final)
            results.update(zip(indices, decoded, strict=True))
        return [results[index] for index in range(len(requests))]

    # ---- one group: same language, same prompt length, same options

    def _decode(
        self, requests: list[DecodeRequest], tokens: list[_Tokens], language: str, final: bool
    ) -> list[Hypothesis]:
        with self._timed("encode"):
            encoded = self._encode([np.concatenate([request.context, request.samples]) for request in requests])
        with self._timed("generate"):
            generated = self._generate(encoded, requests, tokens, final)
        texts: list[list[int]] = []
        looped: list[bool] = []
        for request, (_, ids) in zip(requests, generated, strict=True):
            text = ids[: _budget(request)]
            kept = cut_loop(text)
            looped.append(len(kept) < len(text))
            texts.append(kept)
        with self._timed("align"):
            aligned = self._align(encoded, requests, tokens, texts, language)
        return [
            Hypothesis(
                request_id=request.id,
                words=tuple(words[count:]),
                prefix_words=tuple(words[:count]),
                language=language,
                no_speech_probability=no_speech,
                looped=loop,
            )
            for request, (no_speech, _), (words, count), loop in zip(requests, generated, aligned, looped, strict=True)
        ]

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self.stages_s[stage] = self.stages_s.get(stage, 0.0) + time.monotonic() - begin

    def _encode(self, audio: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Encoder output of a batch: float32[1 + n, frames, width].

        Row 0 is blank: far silence. Each other row is encoded for itself with near silence, then filled up with far
        silence: padding the shorter ones to the longest before encoding would change their text.
        """
        rows = [self._encode_bare(samples, PADDING_S) for samples in audio]
        frames = max(len(row) for row in rows) + TAIL_FRAMES
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
        # In CTranslate2: numpy has no bfloat16.
        frames: NDArray[np.float32] = np.asarray(encoded.to(self._ctranslate2.DataType.float32))[0]
        return frames

    def _generate(
        self, encoded: NDArray[np.float32], requests: list[DecodeRequest], tokens: list[_Tokens], final: bool
    ) -> list[tuple[float, list[int]]]:
        """No-speech probability and text tokens after the prefix, for each request."""
        longest = max(len(own.prompt) + len(own.prefix) + _budget(r) for r, own in zip(requests, tokens, strict=True))
        prompts = [own.prompt + own.prefix for own in tokens]
        # One token at least is forced by a step: CTranslate2 does not let a text end at its first.
        parallel = min(len(own.prefix) for own in tokens) - 1 if self._second_ids else 0
        if self._second_ids and parallel >= MIN_PARALLEL:
            # CTranslate2 applies its timestamp rules to all rows when the first prompt does not end so.
            blank = tokens[0].prompt + [self._second_ids.no_timestamps] * parallel
            one_pass = [own.prompt + self._second_ids.of(own.prefix[:parallel]) for own in tokens]
            prompts = [blank, *(ids + own.prefix[parallel:] for ids, own in zip(one_pass, tokens, strict=True))]
        else:
            parallel = 0
        results = self._model.generate(
            self._view(encoded[-len(prompts) :]),
            prompts,
            beam_size=self._config.beams if final else min(self._config.beams, LIVE_BEAMS),
            # CTranslate2 gives the decoding half of it, prompt and prefix included.
            max_length=min(448, 2 * longest),
            return_no_speech_prob=True,
            suppress_blank=not any(own.prefix for own in tokens),
        )[-len(tokens) :]
        # A result begins with what was forced step by step.
        return [
            (
                float(result.no_speech_prob),
                [id_ for id_ in result.sequences_ids[0][len(own.prefix) - parallel :] if id_ < self._end_of_text],
            )
            for result, own in zip(results, tokens, strict=True)
        ]

    def _view(self, array: NDArray[np.float32]) -> Any:
        return self._ctranslate2.StorageView.from_array(array)

    def _align(
        self,
        encoded: NDArray[np.float32],
        requests: list[DecodeRequest],
        tokens: list[_Tokens],
        texts: list[list[int]],
        language: str,
    ) -> list[tuple[list[Word], int]]:
        """Words with times, and how many of them are the prefix, for each request."""
        tokenizer = self._tokenizer(language)
        everything = [own.prefix + text for own, text in zip(tokens, texts, strict=True)]
        if not any(texts):
            return [([], 0) for _ in requests]
        # An empty window divides by zero in some versions of CTranslate2: it gets a token that is thrown away.
        padded = [ids or [self._end_of_text - 1] for ids in everything]
        alignments = self._model.align(
            self._view(encoded[1:]),
            tokenizer.sot_sequence,
            padded,
            [max(2, (len(request.context) + len(request.samples)) // HOP) for request in requests],
            median_filter_width=7,
        )
        return [
            (self._words(request, tokenizer, ids, alignment), _count_words(tokenizer, own.prefix)) if ids else ([], 0)
            for request, own, ids, alignment in zip(requests, tokens, everything, alignments, strict=True)
        ]

    def _words(self, request: DecodeRequest, tokenizer: Any, ids: list[int], alignment: Any) -> list[Word]:
        texts, groups = tokenizer.split_to_word_tokens(ids)
        pairs = np.array(alignment.alignments, np.int64).reshape(-1, 2)
        # The first encoder frame of each token, and the end of the last.
        first = np.full(len(ids) + 1, pairs[-1, 1] + 1 if len(pairs) else 0, np.int64)
        for token, frame in reversed(pairs.tolist()):
            if token <= len(ids):
                first[token] = frame
        words: list[Word] = []
        position = 0
        audio_end = request.start + len(request.samples)
        origin = request.start - len(request.context)
        for text, group in zip(texts, groups, strict=True):
            end_position = position + len(group)
            start = origin + int(first[position]) * ENCODER_FRAME
            end = min(origin + int(first[end_position]) * ENCODER_FRAME, audio_end)
            probability = float(np.mean(alignment.text_token_probs[position:end_position]))
            position = end_position
            if words and _joins(text):
                last = words[-1]
                words[-1] = Word(last.text + text, last.start, end if text.strip("-") else last.end, last.probability)
            else:
                words.append(Word(text, min(start, end), end, probability))
        return words

    # ---- tokens

    def _tokenizer(self, language: str) -> Any:
        if language not in self._tokenizers:
            self._tokenizers[language] = self._new_tokenizer(
                self._tokenizer_file, self._model.is_multilingual, "transcribe", language
            )
        return self._tokenizers[language]

    def _no_timestamps(self, tokenizer: Any) -> int:
        return self._second_ids.no_timestamps if self._second_ids else int(tokenizer.no_timestamps)

    def _tokens(self, request: DecodeRequest, language: str) -> _Tokens:
        tokenizer = self._tokenizer(language)
        earlier = ", ".join(request.hotwords)
        earlier = f"{earlier}. {request.prompt}" if earlier and request.prompt else earlier or request.prompt
        prompt: list[int] = []
        if earlier:
            prompt = [tokenizer.sot_prev, *self._text_tokens(tokenizer, " " + earlier.strip())[-MAX_PROMPT_TOKENS:]]
        return _Tokens(
            prompt=[*prompt, *tokenizer.sot_sequence, self._no_timestamps(tokenizer)],
            context=self._text_tokens(tokenizer, request.context_text),
            own_prefix=self._text_tokens(tokenizer, request.prefix),
        )

    def _text_tokens(self, tokenizer: Any, text: str) -> list[int]:
        # A client's text may hold "<|startoftranscript|>": a task token where text belongs makes CTranslate2 write
        # beyond its memory.
        return [id_ for id_ in tokenizer.encode(text) if id_ < self._end_of_text] if text else []

    def _detect(self, request: DecodeRequest) -> str:
        if not self._model.is_multilingual:
            return "en"
        encoded = self._encode([request.samples])[1:]
        token: str = self._model.detect_language(self._view(encoded))[0][0][0]
        return token.strip("<|>")


def _budget(request: DecodeRequest) -> int:
    """New tokens that the request's audio can hold."""
    return TOKENS + round(TOKENS_PER_SECOND * len(request.samples) / SAMPLE_RATE)


def _joins(text: str) -> bool:
    """A piece that belongs to the word before it: punctuation, or the second half of a compound."""
    return bool(re.fullmatch(r"[^\w\s]+", text)) or text.startswith("-")


def _count_words(tokenizer: Any, ids: list[int]) -> int:
    count = 0
    for text in tokenizer.split_to_word_tokens(ids)[0] if ids else []:
        count += not (count and _joins(text))
    return count


def cut_loop(ids: list[int]) -> list[int]:
    """``ids`` up to and including the first copy of a run that fills its end ``MIN_LOOP_REPEATS`` times or more."""
    for length in range(1, MAX_LOOP_TOKENS + 1):
        repeats = 1
        while (
            len(ids) >= length * (repeats + 1)
            and ids[-length:] == ids[len(ids) - length * (repeats + 1) : len(ids) - length * repeats]
        ):
            repeats += 1
        if repeats >= MIN_LOOP_REPEATS:
            return ids[: len(ids) - length * (repeats - 1)]
    return ids
