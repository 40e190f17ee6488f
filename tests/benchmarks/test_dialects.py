"""The protocols that the benchmarks speak, against a server with a scripted engine."""

import argparse
import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from benchmarks import live, load
from benchmarks.client import Native, Sound, StreamFailed, WhisperLiveKit, play
from benchmarks.dialects import protocol, protocol_names
from benchmarks.dialects.realtime import Realtime
from benchmarks.scoring import TimedWord
from tests.conftest import ROOT
from tests.server.scripted import Server, scripted_server

RATE = 16_000
SPEECH = (np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE) * 8_000).astype(np.int16)
SOUND = Sound(np.concatenate([SPEECH, np.zeros(RATE, np.int16), SPEECH]), RATE)
WORDS = [TimedWord("раз", 0.4), TimedWord("два", 0.8)]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with scripted_server() as running:
        yield running


def test_every_protocol_makes_a_dialect() -> None:
    """The native one, WhisperLiveKit's, and each module of ``benchmarks/dialects``."""
    modules = {path.stem for path in (ROOT / "benchmarks" / "dialects").glob("[a-z]*.py")}
    assert {"native", "whisperlivekit", *modules} == set(protocol_names())
    for name in protocol_names():
        spoken = protocol(name)
        assert spoken.path.startswith("/")
        assert not spoken.dialect(spoken.rate or RATE, language="ru").over
    assert isinstance(protocol("native").dialect(8_000, language="ru", refine=True), Native)
    assert isinstance(protocol("whisperlivekit").dialect(16_000, language="ru"), WhisperLiveKit)


def test_the_sound_has_the_protocol_s_rate() -> None:
    """As long as before; a protocol that takes any rate gets the recording's samples."""
    resampled = protocol("realtime").sound(SOUND)
    assert resampled.rate == 24_000
    assert resampled.seconds == pytest.approx(SOUND.seconds, abs=0.001)
    assert np.abs(resampled.samples[:20_000]).max() == pytest.approx(8_000, rel=0.05)
    assert protocol("native").sound(SOUND) is SOUND


@pytest.mark.parametrize("commit", ["words", "utterance"])
def test_a_realtime_session_from_start_to_end(server: Server, commit: str) -> None:
    """Both utterances arrive, the one that ends in a pause and the one that the last commit ends."""
    spoken = protocol("realtime")
    url = f"ws://127.0.0.1:{server.port}{spoken.path}"
    sound = spoken.sound(SOUND)
    dialect = spoken.dialect(sound.rate, language="ru", commit=commit)
    recording = asyncio.run(play(url, dialect, sound, pace=4))
    completed = [event["transcript"] for event in recording.of_type(f"{_TRANSCRIPTION}completed")]
    assert len(completed) == 3
    assert completed[-1] == ""
    assert recording.committed == "".join(f" {text}" for text in completed[:2])
    if commit == "utterance":
        assert any(shot.partial for shot in recording.snapshots)
        assert recording.snapshots[-1].partial == ""


_TRANSCRIPTION = "conversation.item.input_audio_transcription."


def test_what_a_realtime_server_must_not_do() -> None:
    """Errors end the stream; the transcript is that of the deltas."""
    for message in (
        {"type": "error", "error": {"code": "invalid_value", "message": "x"}},
        {"type": f"{_TRANSCRIPTION}failed", "error": {"code": "decode_failed", "message": "x"}},
        {"type": f"{_TRANSCRIPTION}completed", "item_id": "a", "transcript": "раз", "usage": {"seconds": 1}},
    ):
        with pytest.raises(StreamFailed):
            Realtime("ru").receive(message)
    with pytest.raises(ValueError, match="expected 24000"):
        protocol("realtime").dialect(16_000, language="ru")


def test_load_and_live_speak_realtime(server: Server, tmp_path: Path) -> None:
    """Both resample the recording and score what comes back."""
    url = f"ws://127.0.0.1:{server.port}/v1/realtime"
    options: dict[str, Any] = {"protocol": "realtime", "language": "ru", "stagger_s": 0.01}
    row = asyncio.run(load.measure(url, SOUND, WORDS, 1, argparse.Namespace(**options)))
    assert (row["served"], row["failures"]) == (1, [])
    assert row["commit_p95_s"] > 0

    audio = tmp_path / "a.wav"
    soundfile.write(audio, SOUND.samples, RATE, subtype="PCM_16")
    audio.with_suffix(".json").write_text(json.dumps([[word.text, word.end_s] for word in WORDS]), encoding="utf-8")
    options |= {
        "url": url, "audio": audio, "reference": None, "group": [], "sessions": 1, "commit": "words", "refine": False,
        "server_pid": None, "snapshots": None,
    }  # fmt: skip
    summary = asyncio.run(live.measure(argparse.Namespace(**options)))
    assert summary["worst"]["deletions"] == 0
    assert summary["worst"]["commit_p50_s"] > 0
