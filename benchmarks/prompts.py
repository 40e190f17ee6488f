"""The prompts that the benchmark streams consist of: Russian telephone prompts of one voice, with texts and word ends.

Audio and texts come from Debian's Asterisk core sounds (Maxim Topal, ivrvoice.ru, CC BY 3.0). This program downloads
the packages, determines when each word ends by aligning the known text with Whisper base, and writes ``prompts.json``.
That file is committed, so building the streams needs no model:

    python -m benchmarks.prompts --model models/whisper/base
"""

import argparse
import itertools
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import jiwer
import numpy as np
from numpy.typing import NDArray

from benchmarks.debian import DOWNLOADS, Package, unpack
from benchmarks.scoring import normalise, spell_numbers

Samples = NDArray[np.float32]

RATE = 16_000
TABLE = Path(__file__).with_name("prompts.json")
PACKAGES = (
    Package(
        "a/asterisk-core-sounds",
        "asterisk-core-sounds-ru_1.6.1-1_all.deb",
        "28a61616bb0cd3345a7ea532dec4df9f071e5d0fa9f8c1a563ea9669002f39ab",
    ),
    Package(
        "a/asterisk-core-sounds",
        "asterisk-core-sounds-ru-g722_1.6.1-1_all.deb",
        "673b4238a6b8269960f055d868c6a11083f7a0d00979167cb01554046b48ed9b",
    ),
)
SOUNDS = "usr/share/asterisk/sounds/ru_RU_f_IvrvoiceRU"
TEXTS = "usr/share/doc/asterisk-core-sounds-ru/core-sounds-ru.txt.gz"

HIGHEST_CER = 0.4
"""Character error rate, offline, above which the audio is assumed to say something else than the text.

It does not apply to single numbers: the model misrecognises many of them without context, and their names say what they
are."""
DECAY_S = 0.15
"""How much sound may follow the end of the last word. Alignment puts the end of a short single word too early."""
LONGEST_S = 29.0
"""In seconds: a prompt must fit into one Whisper window to be aligned in one pass."""
_REMARK = re.compile(r"\[.*?\]|<.*?>|\(.*?\)")
_FOREIGN = re.compile(r"[a-z]", re.IGNORECASE)
_MISSPELT = {
    "взездочка", "демонтрационным", "дэльта", "завршить", "зэд", "неразрешен", "октрября", "съерра", "увеличиения",
}  # fmt: skip
"""Misspelt words in the package's texts; prompts with them are left out."""

_RESPELT = {"что бы": "чтобы", "чтобы бы": "чтобы", "за тем": "затем"}
"""Spelling in the package's texts -> correct spelling."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt that can be used for measurements."""

    name: str
    begin: int
    """First sample of the sound in the package's file, at 16 kHz; silence before it is left out."""
    end: int
    words: tuple[str, ...]
    """Normalised; digits stay digits."""
    ends_s: tuple[float, ...]
    """When each word ends, in seconds from ``begin``."""
    cer: float
    """Character error rate of Whisper base offline with beam 5, numbers spelt out."""
    timing: str
    """How the ends were found: ``aligned`` by Whisper's cross-attention, or ``proportional`` to the number of letters
    where that failed.
    """


def fetch_packages(folder: Path = DOWNLOADS) -> Path:
    """Download, check and unpack the packages, unless that was done before; the folder that they are unpacked into."""
    return unpack(PACKAGES, folder / "root")


def read_audio(root: Path, name: str) -> Samples:
    """The samples of the whole prompt: float32[n], mono 16 kHz."""
    with av.open(str(root / SOUNDS / f"{name}.g722"), format="g722") as container:
        blocks = [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
    samples: Samples = np.concatenate(blocks).astype(np.float32) / np.float32(32768)
    return samples


def read_texts(root: Path) -> Iterator[tuple[str, str]]:
    """The name and the text of each prompt that has an audio file and a text of Russian words only."""
    import gzip

    for line in gzip.decompress((root / TEXTS).read_bytes()).decode().splitlines():
        name, colon, text = line.partition(":")
        if not colon or name.startswith((";", "silence/")):
            continue
        text = _REMARK.sub(" ", text.replace(f"{name}:", " "))
        words = normalise(text)
        if not words or _FOREIGN.search(text) or _MISSPELT & set(words):
            continue
        if (root / SOUNDS / f"{name}.g722").exists():
            text = " ".join(words)
            for wrong, right in _RESPELT.items():
                text = re.sub(rf"\b{wrong}\b", right, text)
            yield name, text


def loudness_db(samples: Samples) -> Samples:
    """The level of each 10 ms in dB of full scale."""
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    level: Samples = (10 * np.log10(power + 1e-10)).astype(np.float32)
    return level


def sound_frames(samples: Samples) -> NDArray[np.bool_]:
    """Which blocks of 10 ms are sound: those less than 40 dB below the loudest one.

    Gaps shorter than 80 ms count as sound, because they are closures of stop consonants and not pauses.
    """
    level = loudness_db(samples)
    sound = level > max(-60.0, float(level.max()) - 40.0)
    quiet_from: int | None = None
    for frame in range(len(sound)):
        if not sound[frame]:
            quiet_from = frame if quiet_from is None else quiet_from
        else:
            if quiet_from is not None and quiet_from > 0 and frame - quiet_from < 8:
                sound[quiet_from:frame] = True
            quiet_from = None
    return np.asarray(sound, dtype=np.bool_)


def sound_span(samples: Samples) -> tuple[int, int]:
    """The first sample of the sound and the one behind it, with 50 ms around them, which keep the consonants whole."""
    sound = np.flatnonzero(sound_frames(samples))
    return max(0, int(sound[0]) * 160 - 800), min(len(samples), (int(sound[-1]) + 1) * 160 + 800)


def move_ends_out_of_silence(ends_s: list[float], sound: NDArray[np.bool_]) -> list[float]:
    """Move each end that is in a pause to the start of the pause. Alignment assigns a pause to either neighbour."""
    moved = []
    for end_s in ends_s:
        frame = min(round(end_s * 100), len(sound))
        while frame > 0 and not sound[frame - 1]:
            frame -= 1
        moved.append(round(frame / 100, 2))
    return list(itertools.accumulate(moved, max))


def proportional_ends(words: list[str], sound: NDArray[np.bool_]) -> list[float]:
    """Ends that divide the sound of the prompt in proportion to the letters of the words."""
    places = np.flatnonzero(sound)
    letters = np.cumsum([len("".join(spell_numbers([word]))) for word in words])
    index = np.minimum((letters / letters[-1] * len(places)).astype(int), len(places)) - 1
    return [round(float(places[i] + 1) / 100, 2) for i in index]


class Aligner:
    """Recognises prompts with Whisper base and aligns their known texts."""

    def __init__(self, model: Path) -> None:
        from faster_whisper import WhisperModel
        from faster_whisper.tokenizer import Tokenizer

        self._model = WhisperModel(str(model), device="cpu", compute_type="int8")
        self._tokenizer = Tokenizer(self._model.hf_tokenizer, multilingual=True, task="transcribe", language="ru")

    def encode(self, samples: Samples) -> Any:
        """The encoder output that the two other methods take."""
        from faster_whisper.audio import pad_or_trim

        return self._model.encode(pad_or_trim(self._model.feature_extractor(samples)))

    def recognise(self, encoded: Any) -> str:
        prompt = [*self._tokenizer.sot_sequence, self._tokenizer.no_timestamps]
        [result] = self._model.model.generate(encoded, [prompt], beam_size=5, max_length=300)
        return str(self._tokenizer.decode(result.sequences_ids[0]))

    def ends_s(self, encoded: Any, frames: int, words: list[str]) -> list[float] | None:
        """When each word ends, in seconds; None where the alignment does not give the words times in their order.

        ``frames``: length of the audio in log-mel frames.
        """
        tokens = self._tokenizer.encode(" " + " ".join(words))
        found: list[dict[str, Any]] = self._model.find_alignment(self._tokenizer, [tokens], encoded, frames)[0]
        texts = ["".join(normalise(word["word"])) for word in found]
        ends = [float(word["end"]) for word in found if normalise(word["word"])]
        if [text for text in texts if text] != words or ends != sorted(ends) or len(set(ends)) < len(ends) * 0.8:
            return None
        return ends


def measure(aligner: Aligner, root: Path, name: str, text: str) -> Prompt | str:
    """The prompt, or the reason why it cannot be used."""
    samples = read_audio(root, name)
    begin, end = sound_span(samples)
    samples = samples[begin:end]
    if len(samples) > LONGEST_S * RATE:
        return f"is {len(samples) / RATE:.0f} s long"
    words = text.split()
    encoded = aligner.encode(samples)
    said = spell_numbers(normalise(aligner.recognise(encoded)))
    cer = float(jiwer.cer("".join(spell_numbers(words)), "".join(said))) if said else 1.0
    if cer > HIGHEST_CER and not name.startswith("digits/"):
        return f"CER {cer:.2f}: {' '.join(said)!r} for {text!r}"
    audible = sound_frames(samples)
    aligned = aligner.ends_s(encoded, len(samples) // 160, words)
    ends = move_ends_out_of_silence(aligned, audible) if aligned else proportional_ends(words, audible)
    last_sound_s = round(float(np.flatnonzero(audible)[-1] + 1) / 100, 2)
    ends[-1] = round(max(ends[-1], last_sound_s - DECAY_S), 2)
    return Prompt(name, begin, end, tuple(words), tuple(ends), round(cer, 3), "aligned" if aligned else "proportional")


def load_prompts(table: Path = TABLE) -> dict[str, Prompt]:
    """The prompts of the committed table, by their names."""
    rows = json.loads(table.read_text(encoding="utf-8"))
    return {
        row["name"]: Prompt(**{**row, "words": tuple(row["words"]), "ends_s": tuple(row["ends_s"])}) for row in rows
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/whisper/base"))
    parser.add_argument("--output", type=Path, default=TABLE)
    options = parser.parse_args()
    root = fetch_packages()
    aligner = Aligner(options.model)
    rows = []
    texts = list(read_texts(root))
    for number, (name, text) in enumerate(texts):
        if number % 20 == 0:
            print(f"{number} of {len(texts)}", file=sys.stderr)
        measured = measure(aligner, root, name, text)
        if isinstance(measured, str):
            print(f"left out {name}: {measured}", file=sys.stderr)
        else:
            rows.append(json.dumps(asdict(measured), ensure_ascii=False))
    options.output.write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")
    print(f"{len(rows)} prompts in {options.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
