"""Media files."""

import io
import random
import struct
import tracemalloc
from collections.abc import Callable
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
    """The formats of sound files, with any sample rate and number of channels."""
    check_tone(sound_file(2.0, rate, channels, kind, subtype))


@pytest.mark.parametrize(("container", "codec"), [("mp4", "aac"), ("matroska", "libopus"), ("webm", "libopus")])
def test_ffmpeg_files(container: str, codec: str) -> None:
    """The formats of voice messages and of recordings made by browsers and phones."""
    check_tone(video_file(2.0, container, codec))


@pytest.mark.parametrize(("kind", "rate"), [("WAV", 8_000), ("FLAC", 16_000)])
def test_channels_can_be_kept_apart(kind: str, rate: int) -> None:
    """Each row is what the file of that channel alone gives."""
    both = np.random.default_rng(4).normal(0, 0.1, (2 * rate, 2))

    def written(samples: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, rate, format=kind)
        return buffer.getvalue()

    pieces = list(decode(written(both), channels=2))
    assert len(pieces) >= 3
    rows = np.concatenate(pieces, axis=1)
    for channel in (0, 1):
        alone = np.concatenate(list(decode(written(both[:, channel]))))
        np.testing.assert_allclose(rows[channel], alone, atol=1e-6)


@pytest.mark.parametrize(("channels", "found"), [(1, "1 channel"), (3, "3 channels")])
def test_a_file_without_the_channels_that_are_asked_for(channels: int, found: str) -> None:
    """It is not a recording of two speakers: the error says how many channels it has."""
    with pytest.raises(BadAudio, match=f"the file has {found}, expected 2, one for each speaker"):
        list(decode(sound_file(1.0, 16_000, channels, "WAV"), channels=2))


def test_a_path_and_an_open_file(tmp_path: Path) -> None:
    """A path and an open file at any position give the same audio as the file's bytes."""
    path = tmp_path / "tone.wav"
    path.write_bytes(sound_file(2.0, 16_000, 1, "WAV"))
    check_tone(path)
    with path.open("rb") as file:
        file.read(100)
        assert sum(len(piece) for piece in decode(file)) == 32_000


def wav(encoding: int, channels: int, rate: int, bits: int, data: bytes = bytes(16_000)) -> bytes:
    """A WAV file whose header says what it is told to say."""
    frame_bytes = channels * bits // 8
    header = struct.pack(
        "<IHHIIHH", 16, encoding, channels, rate, rate * frame_bytes & 0xFFFFFFFF, frame_bytes & 0xFFFF, bits
    )
    whole = b"WAVEfmt " + header + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(whole)) + whole


PCM, FLOAT = 1, 3


def without_sound(container: str) -> bytes:
    """A video without an audio track."""
    buffer = io.BytesIO()
    output: Any
    with av.open(buffer, mode="w", format=container) as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame(16, 16, "yuv420p")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(packet)
    return buffer.getvalue()


def cover_only() -> bytes:
    """An MP3's tag with a picture and no audio after it."""
    picture = b"\0image/png\0\x03\0" + b"\x89PNG\r\n\x1a\n" + bytes(500)
    frame = b"APIC" + struct.pack(">I", len(picture)) + bytes(2) + picture
    return b"ID3\x03\0\0" + bytes(len(frame) >> shift & 127 for shift in (21, 14, 7, 0)) + frame


SUBTITLES = b"1\n00:00:00,000 --> 00:00:01,000\n- What is that?\n\n"

NOT_MEDIA = "the file is not a media file that this server can read"
NO_AUDIO = "the file has no audio that can be decoded"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty, expected audio"),
        (b"not audio at all, just a few words of text", NOT_MEDIA),
        (b"words of text. " * 1_000, NOT_MEDIA),
        (SUBTITLES, NOT_MEDIA),
        (b"PK\x03\x04" + bytes(100), NOT_MEDIA),
        (b"RIFF\x00\x00\x00\x00WAVE", NOT_MEDIA),
        (cover_only(), NOT_MEDIA),
        (without_sound("matroska"), "the file has no audio track"),
        (without_sound("mp4"), "the file has no audio track"),
        (wav(PCM, 0, 16_000, 16), NO_AUDIO),
        (wav(PCM, 1_000, 16_000, 16), NO_AUDIO),
        (wav(PCM, 1, 16_000, 128), NO_AUDIO),
        (wav(0x1234, 1, 16_000, 16), NO_AUDIO),
        (wav(PCM, 1, 16_000, 16, b""), NO_AUDIO),
        (wav(PCM, 1, 0, 16), NOT_MEDIA),
        (wav(PCM, 1, 2, 16), "the file's sample rate is 2, expected 1000 to 768000"),
        (wav(PCM, 1, 2**31 - 1, 16), "the file's sample rate is 2147483647, expected 1000 to 768000"),
    ],
    # Names that are the same in every process: a container may hold a random id, and its length varies.
    ids=[
        "empty",
        "sentence",
        "long text",
        "subtitles",
        "zip",
        "only a RIFF header",
        "only a cover",
        "matroska without sound",
        "mp4 without sound",
        "no channels",
        "1000 channels",
        "128 bits",
        "unknown encoding",
        "no samples",
        "0 Hz",
        "2 Hz",
        "2147483647 Hz",
    ],
)
def test_what_is_no_audio_is_an_error(content: bytes, message: str) -> None:
    """A clear message for every file without audible content, and for headers that claim absurd things."""
    with pytest.raises(BadAudio) as raised:
        list(decode(content))
    assert raised.value.message == message


@pytest.mark.parametrize(
    ("encoding", "kind"), [(PCM, "<i8"), (FLOAT, "<f8"), (FLOAT, "<f4"), (PCM, "<i4"), (PCM, "u1")]
)
def test_samples_of_any_width(encoding: int, kind: str) -> None:
    """8 to 64 bits, integers and floats: the same tone."""
    samples = tone(16_000, 2.0).astype(np.float64)
    if encoding == PCM:
        samples = samples * 2.0 ** (8 * np.dtype(kind).itemsize - 1) + (128 if kind == "u1" else 0)
    check_tone(wav(encoding, 1, 16_000, 8 * np.dtype(kind).itemsize, samples.astype(kind).tobytes()))


@pytest.mark.parametrize("channels", [1, 2, 6, 7, 8, 9, 12, 24, 63])
def test_any_number_of_channels(channels: int) -> None:
    """They are mixed down to their mean; PyAV crashed the process with 8 and more separate ones."""
    samples = np.zeros((16_000, channels), "<i2")
    samples[:, -1] = 16_384
    audio = np.concatenate(list(decode(wav(PCM, channels, 16_000, 16, samples.tobytes()))))
    np.testing.assert_allclose(audio, 0.5 / channels, atol=1e-6)


def test_surround_sound_of_a_film() -> None:
    """AAC with 8 channels, whose decoder gives separate ones."""
    buffer = io.BytesIO()
    output: Any
    with av.open(buffer, mode="w", format="mp4") as output:
        stream = output.add_stream("aac", rate=48_000, layout="7.1")
        frame = av.AudioFrame.from_ndarray(np.repeat(tone(48_000, 2.0), 8)[None], format="flt", layout="7.1")
        frame.sample_rate = 48_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(packet)
    check_tone(buffer.getvalue())


def test_what_is_not_a_number_is_silence() -> None:
    """A file of floats may hold anything; a recognizer must get numbers from -1 to 1."""
    data = np.array([np.nan, np.inf, -np.inf, 3e38] * 4_000, "<f4").tobytes()
    audio = np.concatenate(list(decode(wav(FLOAT, 1, 16_000, 32, data))))
    np.testing.assert_array_equal(audio, np.tile(np.array([0, 1, -1, 1], np.float32), 4_000))


def test_a_playlist_is_an_error(tmp_path: Path) -> None:
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
    """A recording that was interrupted is read as far as it goes."""
    content = sound_file(4.0, 44_100, 1, "FLAC")
    audio = np.concatenate(list(decode(content[: len(content) // 2])))
    assert 16_000 < len(audio) < 3 * 16_000


@settings(deadline=None, max_examples=60)
@given(
    content=st.binary(max_size=300), header=st.sampled_from([b"", b"RIFF", b"fLaC", b"OggS", b"\x1aE\xdf\xa3", b"ID3"])
)
def test_any_bytes_give_audio_or_a_clear_error(header: bytes, content: bytes) -> None:
    """Any bytes give audio or BadAudio."""
    try:
        for piece in decode(header + content):
            assert np.isfinite(piece).all()
    except BadAudio:
        return


INTACT: dict[str, Callable[[], bytes]] = {
    "wav": lambda: sound_file(0.3, 44_100, 2, "WAV", "PCM_16"),
    "adpcm": lambda: sound_file(0.3, 16_000, 1, "WAV", "IMA_ADPCM"),
    "flac": lambda: sound_file(0.3, 44_100, 1, "FLAC", "PCM_24"),
    "mp3": lambda: sound_file(0.3, 44_100, 1, "MP3"),
    "vorbis": lambda: sound_file(0.3, 22_050, 1, "OGG", "VORBIS"),
    "opus": lambda: sound_file(0.3, 48_000, 1, "OGG", "OPUS"),
    "aiff": lambda: sound_file(0.3, 44_100, 1, "AIFF"),
    "caf": lambda: sound_file(0.3, 8_000, 1, "CAF"),
    "m4a": lambda: video_file(0.3, "mp4", "aac"),
    "webm": lambda: video_file(0.3, "webm", "libopus"),
    "mpegts": lambda: video_file(0.3, "mpegts", "aac"),
}


@pytest.mark.parametrize("kind", INTACT)
def test_a_damaged_file_gives_audio_or_a_clear_error(kind: str) -> None:
    """Cut anywhere, with bytes changed, most of them in its headers: finite audio in [-1, 1], or BadAudio."""
    intact = INTACT[kind]()
    assert sum(map(len, decode(intact))) > 3_000
    chance = random.Random(kind)
    for _ in range(60):
        damaged = bytearray(intact)
        if chance.random() < 0.25:
            damaged = damaged[: chance.randrange(len(damaged))]
        else:
            end = min(400, len(damaged)) if chance.random() < 0.7 else len(damaged)
            for _ in range(chance.choice([1, 2, 4, 16, 64])):
                damaged[chance.randrange(end)] = chance.choice([0, 127, 128, 255, chance.randrange(256)])
        try:
            for piece in decode(bytes(damaged)):
                assert np.isfinite(piece).all()
                assert np.abs(piece).max(initial=0.0) <= 1
        except BadAudio:
            continue


def test_frames_of_one_sample_are_joined() -> None:
    """A broken CAF header makes packets of one sample each: they are resampled in pieces, not one by one."""
    intact = sound_file(1.0, 44_100, 1, "CAF")
    at = intact.index(b"desc") + 12 + 8 + 4 + 4
    one_frame_packets = intact[:at] + struct.pack(">I", 2) + struct.pack(">I", 0x8001) + intact[at + 8 :]
    sizes = [len(piece) for piece in decode(one_frame_packets)]
    assert sum(sizes) == 16_000
    assert len(sizes) <= 4


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
