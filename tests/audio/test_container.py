"""Media files."""

import io
import tracemalloc
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperlivekit.audio.container import decode
from whisperlivekit.errors import BadAudio


def tone(rate: int, seconds: float) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def sound_file(seconds: float, rate: int, channels: int, kind: str, subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.tile(tone(rate, seconds)[:, None], (1, channels)), rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def video_file(seconds: float, container: str, codec: str, rate: int = 48_000) -> bytes:
    """A file of FFmpeg's own kinds."""
    buffer = io.BytesIO()
    output: Any
    with av.open(buffer, mode="w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.tile(tone(rate, seconds), (2, 1)), format="fltp", layout="stereo")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(packet)
    return buffer.getvalue()


def check_tone(source: bytes | Path, seconds: float = 2.0) -> None:
    pieces = list(decode(source))
    audio = np.concatenate(pieces)
    assert all(piece.dtype == np.float32 and piece.ndim == 1 for piece in pieces)
    assert len(pieces) >= 3, "a file comes in pieces"
    assert abs(len(audio) / 16_000 - seconds) < 0.1
    spectrum = np.abs(np.fft.rfft(audio[:16_000]))
    assert np.argmax(spectrum) == pytest.approx(440, abs=2)
    assert np.abs(audio[4_000:12_000]).max() == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize(
    ("kind", "subtype", "rate", "channels"),
    [
        ("WAV", "PCM_16", 44_100, 2),
        ("WAV", "FLOAT", 16_000, 1),
        ("WAV", "ULAW", 8_000, 1),
        ("FLAC", "PCM_24", 48_000, 1),
        ("OGG", "VORBIS", 22_050, 2),
        ("MP3", None, 44_100, 1),
    ],
)
def test_sound_files(kind: str, subtype: str | None, rate: int, channels: int) -> None:
    """What libsndfile reads, of any rate and channels."""
    check_tone(sound_file(2.0, rate, channels, kind, subtype))


@pytest.mark.parametrize(("container", "codec"), [("mp4", "aac"), ("matroska", "libopus"), ("webm", "libopus")])
def test_ffmpeg_files(container: str, codec: str) -> None:
    """What FFmpeg reads: voice messages, recordings of browsers and phones."""
    check_tone(video_file(2.0, container, codec))


def test_a_path_and_an_open_file(tmp_path: Path) -> None:
    """A file on disk or already open, wherever its position is, is the same as its bytes."""
    path = tmp_path / "tone.wav"
    path.write_bytes(sound_file(2.0, 16_000, 1, "WAV"))
    check_tone(path)
    with path.open("rb") as file:
        file.read(100)
        assert sum(len(piece) for piece in decode(file)) == 32_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"not audio at all, just a few words of text", "not a media file"),
        (b"RIFF\x00\x00\x00\x00WAVE", "not a media file|no audio"),
    ],
)
def test_what_is_no_audio_is_refused(content: bytes, message: str) -> None:
    """A clear error for every file that has nothing to hear."""
    with pytest.raises(BadAudio, match=message):
        list(decode(content))


def test_a_playlist_is_refused(tmp_path: Path) -> None:
    """An uploaded playlist must not make the server open the files or addresses it names."""
    secret = tmp_path / "secret.wav"
    secret.write_bytes(sound_file(1.0, 16_000, 1, "WAV"))
    concat = f"ffconcat version 1.0\nfile '{secret}'\n"
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    for content in (concat, playlist):
        path = tmp_path / "upload"
        path.write_text(content)
        with pytest.raises(BadAudio):
            list(decode(path))
        with pytest.raises(BadAudio):
            list(decode(content.encode()))


def test_a_cut_file_gives_what_is_there() -> None:
    """A recording that was interrupted is read up to there."""
    content = sound_file(4.0, 44_100, 1, "FLAC")
    audio = np.concatenate(list(decode(content[: len(content) // 2])))
    assert 16_000 < len(audio) < 3 * 16_000


@settings(deadline=None, max_examples=60)
@given(
    content=st.binary(max_size=300), header=st.sampled_from([b"", b"RIFF", b"fLaC", b"OggS", b"\x1aE\xdf\xa3", b"ID3"])
)
def test_any_bytes_give_audio_or_a_clear_error(header: bytes, content: bytes) -> None:
    """No file ends in anything but audio or BadAudio."""
    try:
        for piece in decode(header + content):
            assert np.isfinite(piece).all()
    except BadAudio:
        return


def test_an_hour_needs_no_more_memory_than_a_minute(tmp_path: Path) -> None:
    """A file is read piece by piece: 20 minutes (77 MB as samples) stay under 8 MB."""
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", samplerate=16_000, channels=1) as file:
        minute = np.zeros(60 * 16_000, np.float32)
        for _ in range(20):
            file.write(minute)
    tracemalloc.start()
    try:
        total = sum(len(piece) for piece in decode(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 20 * 60 * 16_000
    assert peak < 8_000_000
