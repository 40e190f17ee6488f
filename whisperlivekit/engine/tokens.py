"""Turns a request's texts into token ids: the prompt, and the text that the decoder is forced to begin with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from whisperlivekit.core.hypothesis import DecodeRequest, Task
from whisperlivekit.core.units import SAMPLE_RATE

MAX_PROMPT_TOKENS = 100
"""Tokens of prompt text. Source: Whisper allows 223. Live windows are short, and longer prompts started loops."""

MAX_FORCED_TOKENS = 200
"""Tokens of context and prefix. Twelve seconds of Russian have about 60; scripts that the vocabulary hardly knows, such
as Georgian, have up to 400. With a full prompt and the new text of 15 s this stays below Whisper's 448 positions."""

TOKENS = 4
TOKENS_PER_SECOND = 9
"""Budget of new tokens: fast Russian speech has 6 to 7 a second."""


@dataclass(frozen=True, slots=True)
class RequestTokens:
    """The token ids of one request."""

    prompt: list[int]
    """Everything up to and including ``<|notimestamps|>``."""
    forced: list[int]
    """The text of the request's context, then its prefix. The hypothesis continues them."""
    budget: int
    """New tokens that the request's audio can hold."""


class Tokenizers:
    """Whisper's tokenizer for every language and task. Not thread-safe: each lane has its own."""

    def __init__(self, path: Path, *, multilingual: bool) -> None:
        """Read the model's tokenizer.json.

        Raises:
            Exception: what the library tokenizers raises for a missing or broken file.
        """
        # Imported here: faster_whisper imports CTranslate2, which must not be loaded before the fork.
        from faster_whisper.tokenizer import Tokenizer
        from tokenizers import Tokenizer as TokenizerFile

        self._file: Any = TokenizerFile.from_file(str(path))
        self._new = Tokenizer
        self._multilingual = multilingual
        self._made: dict[tuple[str, Task], Any] = {}
        self.end_of_text = cast(int, self._file.token_to_id("<|endoftext|>"))
        """Ids below this one are text, ids from this one on are task tokens and timestamps."""

    def lane(self) -> "Tokenizers":
        """The same tokenizers for another thread."""
        other = object.__new__(Tokenizers)
        other.__dict__ = {**self.__dict__, "_made": {}}
        return other

    def language(self, code: str, task: Task = "transcribe") -> Any:
        """faster-whisper's tokenizer for a language, whose ``sot_sequence`` asks for this task."""
        if (code, task) not in self._made:
            self._made[code, task] = self._new(self._file, self._multilingual, task, code)
        return self._made[code, task]

    def request(self, request: DecodeRequest, language: str, no_timestamps: int | None = None) -> RequestTokens:
        """The token ids of a request; ``no_timestamps`` replaces the vocabulary's id of ``<|notimestamps|>``."""
        tokenizer = self.language(language, request.task)
        prompt: list[int] = []
        if request.prompt:
            prompt = [tokenizer.sot_prev, *self.text(" " + request.prompt.strip(), language)[-MAX_PROMPT_TOKENS:]]
        end = int(tokenizer.no_timestamps) if no_timestamps is None else no_timestamps
        return RequestTokens(
            prompt=[*prompt, *tokenizer.sot_sequence, end],
            forced=self._forced(request, language)[-MAX_FORCED_TOKENS:],
            budget=TOKENS + round(TOKENS_PER_SECOND * len(request.samples) / SAMPLE_RATE),
        )

    def fits(self, request: DecodeRequest, language: str) -> bool:
        """Whether the decoder can read the whole context and prefix of the request."""
        return len(self._forced(request, language)) <= MAX_FORCED_TOKENS

    def _forced(self, request: DecodeRequest, language: str) -> list[int]:
        return self.text(request.context_text, language) + self.text(request.prefix, language)

    def text(self, text: str, language: str) -> list[int]:
        """The ids of a text, without task tokens."""
        # A client's text may contain "<|startoftranscript|>". A task token in the place of text makes CTranslate2 write
        # outside its memory.
        return [id_ for id_ in self.language(language).encode(text) if id_ < self.end_of_text] if text else []
