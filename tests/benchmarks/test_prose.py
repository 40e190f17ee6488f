"""Streams of prose, made from a folder laid out like Debian's package, with a clip of ``tests/data`` as its audio."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.material import prose_stream, write
from benchmarks.prompts import RATE
from benchmarks.prose import EVERY, STREAMS, VOICE, prose_streams, read_sentences
from benchmarks.scoring import normalise
from benchmarks.speech import read_recording
from tests.speech import clip

TEXTS = ("Извин+ите, но голосов+ой, ящик абон+ента, - переполнен.", "Подожд+ите: не надолго, ещё раз?")


def package(root: Path, texts: tuple[str, ...]) -> Path:
    """A package whose sentences have these texts, each with silence before and after the sound."""
    voice = root / VOICE
    for folder in ("etc", "wav"):
        (voice / folder).mkdir(parents=True)
    silence = np.zeros(RATE, np.float32)
    rows = []
    for number, text in enumerate(texts):
        samples = np.concatenate([silence, clip("phrase_3s").samples, silence])
        soundfile.write(voice / "wav" / f"ru_{number:04}.wav", samples, RATE, subtype="PCM_16")
        rows.append(f'( ru_{number:04} "{text}" )\n')
    (voice / "etc" / "txt.done.data").write_text("".join(rows), encoding="utf-8")
    return root


def test_texts_are_normalised_without_stress_marks(tmp_path: Path) -> None:
    """A stress mark is no space inside a word; what the package misspells is corrected."""
    first, second = read_sentences(package(tmp_path, TEXTS))
    assert " ".join(first.words) == "извините но голосовой ящик абонента переполнен"
    assert " ".join(second.words) == "подождите ненадолго еще раз"
    assert first.audio.is_file()


def test_a_stream_consists_of_its_sentences(tmp_path: Path) -> None:
    """Its clips have the sentences' texts and sound, do not touch, and its words end in their clips."""
    sentences = read_sentences(package(tmp_path / "package", TEXTS))
    write(tmp_path, "prose-1", *prose_stream("prose-1", sentences))
    recording = read_recording(tmp_path / "prose-1.flac")
    assert [tuple(normalise(one.text)) for one in recording.clips] == [sentence.words for sentence in sentences]
    assert all(before.end_s + 0.7 < after.start_s for before, after in pairwise(recording.clips))
    words = list(recording.words)
    samples, _ = soundfile.read(recording.audio, dtype="float32")
    for one in recording.clips:
        count = len(one.text.split())
        mine, words = words[:count], words[count:]
        assert one.start_s < mine[0].end_s < mine[-1].end_s <= one.end_s
        heard = samples[round(one.start_s * RATE) : round(one.end_s * RATE)]
        assert 2 < len(heard) / RATE < 4.5, "the silence around the sentence is left out"
        assert np.sqrt(np.mean(np.square(heard))) > 0.02
    assert words == []


def test_every_machine_gets_the_same_sentences(tmp_path: Path) -> None:
    """Each stream has every n-th sentence, and no sentence is in two streams."""
    texts = tuple(f"номер {number}" for number in range(2 * EVERY))
    root = tmp_path / VOICE / "etc"
    root.mkdir(parents=True)
    rows = "".join(f'( ru_{number:04} "{text}" )\n' for number, text in enumerate(texts))
    (root / "txt.done.data").write_text(rows, encoding="utf-8")
    streams = prose_streams(tmp_path)
    assert list(streams) == [f"prose-{number + 1}" for number in range(STREAMS)]
    numbers = [[int(sentence.words[1]) for sentence in sentences] for sentences in streams.values()]
    step = EVERY // STREAMS
    assert numbers == [[number * step, number * step + EVERY] for number in range(STREAMS)]
