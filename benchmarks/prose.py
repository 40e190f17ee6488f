"""Sentences of novels, read by one man: the recordings of Debian's voice festvox-ru (Nickolay V. Shmyrev, 2005).

They are 620 sentences, 99 minutes. The licence is the package's own, similar to the BSD licence. The
package is a download of 179 MB and takes another 242 MB unpacked.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from benchmarks.debian import DOWNLOADS, Package, unpack
from benchmarks.scoring import normalise

PACKAGE = Package(
    "f/festvox-ru",
    "festvox-ru_0.5+dfsg-6_all.deb",
    "21ef3f0f2978ecf2e2eddb367cb0ff4a72572196d28dc69feb84f4177af5e6c4",
)
VOICE = "usr/share/festival/voices/russian/msu_ru_nsh_clunits"

STREAMS = 3
EVERY = 36
"""Each stream has every 36th sentence, so that it has all novels and lasts about three minutes."""

_ROW = re.compile(r'\( (\S+) "(.*)" \)')
_RESPELT = {"не надолго": "ненадолго", "во внутрь": "вовнутрь"}
"""Spelling in the package's texts -> correct spelling, in the sentences of the streams."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of the package."""

    audio: Path
    """Mono 16 kHz."""
    words: tuple[str, ...]
    """Normalised."""


def fetch_prose(folder: Path = DOWNLOADS) -> Path:
    """Download, check and unpack the package, unless that was done before; the folder that it is unpacked into."""
    return unpack([PACKAGE], folder / "prose")


def read_sentences(root: Path) -> list[Sentence]:
    """All sentences in the order of the package."""
    voice = root / VOICE
    rows = _ROW.findall((voice / "etc" / "txt.done.data").read_text(encoding="utf-8"))
    return [Sentence(voice / "wav" / f"{name}.wav", _words(text)) for name, text in rows]


def prose_streams(root: Path) -> dict[str, list[Sentence]]:
    """The sentences of each stream, by its name: ``prose-1``, ``prose-2`` and so on."""
    sentences = read_sentences(root)
    step = EVERY // STREAMS
    return {f"prose-{number + 1}": sentences[number * step :: EVERY] for number in range(STREAMS)}


def _words(text: str) -> tuple[str, ...]:
    # A plus stands before a stressed vowel.
    words = " ".join(normalise(text.replace("+", "")))
    for wrong, right in _RESPELT.items():
        words = re.sub(rf"\b{wrong}\b", right, words)
    return tuple(words.split())
