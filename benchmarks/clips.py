"""Makes the clips in ``tests/data``: ``python -m benchmarks.clips``. It overwrites these files, which are committed."""

import argparse
from pathlib import Path

import soundfile

from benchmarks.material import Reference, narrow, stream_of, write
from benchmarks.prompts import RATE, Samples, fetch_packages, load_prompts

TESTS_DATA = Path(__file__).parents[1] / "tests" / "data"
CLIPS = {
    "prompts_24s": ("queue-periodic-announce", "vm-nobodyavail", "vm-toforward", "conf-waitforleader"),
    "phrase_3s": ("vm-mailboxfull",),
    "telephone_8k": ("pls-hold-while-try", "pbx-invalid"),
}
NOTICE = """# Clips of Russian speech

| clip | |
|---|---|
| `prompts_24s.flac` | four telephone prompts with pauses of 0.8 to 2 s of faint noise, mono 16 kHz |
| `phrase_3s.flac` | one phrase, mono 16 kHz |
| `telephone_8k.wav` | two prompts as a telephone line carries them: 300 to 3400 Hz, mono 8 kHz, G.711 mu-law |

`NAME.json` contains the normalised words of each clip, `[word, end_s]`; the end times are good to about 0.1 s.

Made by `python -m benchmarks.clips` from the Russian Asterisk core sounds 1.6.1, provided by Maxim Topal,
http://www.ivrvoice.ru, under the Creative Commons Attribution 3.0 licence, https://creativecommons.org/licenses/by/3.0/.
Changes: cut, joined with pauses, filtered, and encoded as FLAC and mu-law. The clips are under the same licence.
"""


def build(name: str, root: Path) -> tuple[Samples, Reference]:
    """The clip's samples (float32[n], mono 16 kHz) and its words."""
    prompts = load_prompts()
    samples, reference, _ = stream_of(name, root, [[prompts[prompt]] for prompt in CLIPS[name]])
    return samples, reference


def main() -> None:
    # Without a parser, --help would overwrite the clips.
    argparse.ArgumentParser(description=__doc__).parse_args()
    root = fetch_packages()
    for name in CLIPS:
        samples, reference = build(name, root)
        write(TESTS_DATA, name, samples, reference)
        if name.startswith("telephone"):
            (TESTS_DATA / f"{name}.flac").unlink()
            soundfile.write(TESTS_DATA / f"{name}.wav", narrow(samples), RATE // 2, subtype="ULAW")
    (TESTS_DATA / "README.md").write_text(NOTICE, encoding="utf-8")


if __name__ == "__main__":
    main()
