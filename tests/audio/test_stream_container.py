"""Media files that arrive piece by piece."""

import asyncio
import io
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.conftest import ROOT
from whisperlivekit.audio import stream_container
from whisperlivekit.audio.container import decode, frames
from whisperlivekit.audio.stream_container import SILENT_BYTES, TRAILER_BYTES, StreamContainer
from whisperlivekit.errors import BadAudio

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


FORMATS = {
    # What Chromium's and Firefox's MediaRecorder send.
    "webm": ("webm", "libopus", {"live": "1", "cluster_time_limit": "100"}),
    "ogg": ("ogg", "libopus", {"page_duration": "20000"}),
    # Safari's.
    "mp4": ("mp4", "aac", {"movflags": "frag_every_frame+empty_moov+default_base_moof"}),
    "wav": ("wav", "pcm_s16le", {}),
    "flac": ("flac", "flac", {}),
    "mp3": ("mp3", "libmp3lame", {}),
    "aac": ("adts", "aac", {}),
    "au": ("au", "pcm_s16be", {}),
}


class _Recorder(io.RawIOBase):
    """A file that cannot seek, as a socket is."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self.pieces.append(bytes(data))
        return len(data)


def record(kind: str, seconds: float = 2.0) -> list[bytes]:
    """A tone in this format: what the encoder had written after each 0.1 s."""
    container, codec, options = FORMATS[kind]
    recorder = _Recorder()
    output: Any = av.open(recorder, mode="w", format=container, options=options)
    stream = output.add_stream(codec, rate=48_000, layout="mono")
    to_format = av.AudioResampler(format="flt" if codec == "libopus" else "s16", layout="mono", rate=48_000)
    tone = (8_000 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * 48_000)) / 48_000)).astype(np.int16)
    written: list[bytes] = []
    for at in range(0, len(tone), 4_800):
        frame = av.AudioFrame.from_ndarray(tone[None, at : at + 4_800], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, at, Fraction(1, 48_000)
        for converted in to_format.resample(frame):
            for packet in stream.encode(converted):
                output.mux(packet)
        written.append(b"".join(recorder.pieces))
        recorder.pieces.clear()
    for packet in stream.encode(None):
        output.mux(packet)
    output.close()
    return [piece for piece in [*written, b"".join(recorder.pieces)] if piece]


async def drained(container: StreamContainer) -> list[NDArray[np.float32]]:
    pieces = []
    while (piece := await container.read()) is not None:
        pieces.append(piece)
    return pieces


async def played(chunks: list[bytes], channels: int = 1) -> list[NDArray[np.float32]]:
    """What a stream of these chunks gives."""
    container, pieces = StreamContainer(channels), []
    try:
        for chunk in chunks:
            container.feed(chunk)
            pieces += await drained(container)
        container.end()
        return pieces + await drained(container)
    finally:
        container.close()


def cut(data: bytes, step: int) -> list[bytes]:
    return [data[at : at + step] for at in range(0, len(data), step)]


def wait_for_threads() -> None:
    deadline = time.monotonic() + 5
    while any(thread.name == "stream-container" for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "a thread is left"
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    wait_for_threads()


@pytest.mark.parametrize("kind", FORMATS)
async def test_a_stream_gives_what_the_file_gives(kind: str) -> None:
    """The audio is that of the same bytes as a file, however they are cut."""
    data = b"".join(record(kind))
    whole = np.concatenate(list(decode(data)))
    assert len(whole) / 16_000 == pytest.approx(2.0, abs=0.1)
    for step in (100, 1_000, len(data)):
        pieces = await played(cut(data, step))
        assert all(piece.dtype == np.float32 and 0 < len(piece) <= 8_400 for piece in pieces)
        np.testing.assert_array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("kind", ["webm", "ogg", "mp4"])
async def test_audio_comes_while_the_file_is_recorded(kind: str) -> None:
    """What a browser has recorded is heard with it, less a quarter of a second that the formats hold back."""
    container, heard = StreamContainer(), 0
    for number, piece in enumerate(record(kind)[:-1], start=1):
        container.feed(piece)
        heard += sum(map(len, await drained(container)))
        assert heard / 16_000 > number / 10 - 0.25
    container.close()


@pytest.mark.parametrize("kind", FORMATS)
async def test_files_may_follow_each_other(kind: str) -> None:
    """A recorder that was stopped and started again begins another file."""
    data = b"".join(record(kind))
    assert sum(map(len, await played(cut(data * 2, 1_000)))) / 16_000 == pytest.approx(4.0, abs=0.1)


@pytest.mark.parametrize("length", [b"\0\0\0\0", b"\xff\xff\xff\xff"])
async def test_a_wav_stream_need_not_know_its_length(length: bytes) -> None:
    """Programs that stream WAV write a length of 0 or the largest one."""
    data = b"".join(record("wav"))
    at = data.index(b"data") + 4
    head = data[:4] + length + data[8:at] + length
    assert sum(map(len, await played(cut(head + data[at + 4 :], 1_000)))) / 16_000 == pytest.approx(2.0, abs=0.1)


async def test_what_is_no_media_file_is_an_error() -> None:
    """Raw audio whose encoding was not given is an error at once, not noise."""
    with pytest.raises(BadAudio, match=r"begins with 00 01 02 03, expected WebM, .* raw audio needs its encoding"):
        await played([bytes(range(200))])
    with pytest.raises(BadAudio, match="has 3 bytes, expected an audio file"):
        await played([b"Ogg"])
    with pytest.raises(BadAudio, match="not a media file"):
        await played([b"\x1a\x45\xdf\xa3" + b"garbage" * 1_000])


async def test_channels_are_kept_apart() -> None:
    """A stereo recording of two speakers. The number of channels must be the one that was announced."""
    buffer = io.BytesIO()
    left = (0.5 * np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000)).astype(np.float32)
    soundfile.write(buffer, np.stack([left, np.zeros_like(left)], axis=1), 16_000, format="WAV")
    pieces = await played(cut(buffer.getvalue(), 1_001), channels=2)
    audio = np.concatenate(pieces, axis=1)
    assert audio.shape == (2, 32_000)
    np.testing.assert_allclose(audio[0], left, atol=1e-4)
    assert not audio[1].any()
    with pytest.raises(BadAudio, match=r"has 1 channel.*, expected 2"):
        await played(record("wav"), channels=2)


async def test_a_stream_without_bytes_has_no_audio() -> None:
    assert await played([]) == await played([b"", b""]) == []


async def test_audio_before_the_damage_is_heard() -> None:
    """The rest of a damaged stream is an error as soon as it is more than tags at the end of a file."""
    data = b"".join(record("wav"))
    container = StreamContainer()
    container.feed(data)
    heard = await drained(container)
    container.end()
    heard += await drained(container)
    assert sum(map(len, heard)) / 16_000 == pytest.approx(2.0, abs=0.1)
    container.feed(bytes(TRAILER_BYTES))
    with pytest.raises(BadAudio, match="ended or is damaged"):
        container.feed(b"x")
    container.close()


async def test_an_endless_element_is_an_error() -> None:
    """FFmpeg would collect an element of any length that a container claims."""
    container = StreamContainer()
    container.feed(b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(1_000_000))
    assert not await drained(container)
    for _ in range(SILENT_BYTES // 1_000_000 - 1):
        container.feed(bytes(1_000_000))
        assert not await drained(container)
    with pytest.raises(BadAudio, match="no audio"):
        container.feed(bytes(1_000_000))
    container.close()


def test_a_table_of_any_size_needs_little_memory(tmp_path: Path) -> None:
    """A damaged MP4 claims 67 million frames in a fragment of 0.1 s, as a stream and as a file."""
    data = b"".join(record("mp4", 0.5))
    at = data.index(b"trun") + 4
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data[:at] + struct.pack(">II", 0, 2**26) + data[at + 8 :])
    program = """if True:
        import asyncio, resource, sys
        from pathlib import Path
        from whisperlivekit.audio.container import decode
        from whisperlivekit.audio.stream_container import StreamContainer
        from whisperlivekit.errors import BadAudio

        async def stream(data):
            container = StreamContainer()
            container.feed(data)
            while await container.read() is not None:
                pass

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        data = Path(sys.argv[1]).read_bytes()
        for attempt in (lambda: asyncio.run(stream(data)), lambda: list(decode(data))):
            try:
                attempt()
            except BadAudio:
                pass
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert int(done.stdout) < 400_000, "kB"


async def test_silence_that_compresses_well_needs_little_memory() -> None:
    """A megabyte may hold hours of audio: it comes in pieces, and the decoder waits until each is read."""
    buffer = io.BytesIO()
    output: Any
    with av.open(buffer, mode="w", format="flac") as output:
        stream = output.add_stream("flac", rate=8_000, layout="mono")
        for at in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 80_000), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 8_000, at * 80_000
            for packet in stream.encode(frame):
                output.mux(packet)
    container = StreamContainer()
    container.feed(buffer.getvalue())
    assert len(buffer.getvalue()) < 50_000
    count = heard = 0
    while (piece := await container.read()) is not None:
        heard += len(piece)
        count += 1
        assert len(piece) <= 8_400
        assert sum(map(len, container._pieces)) == 0
    assert heard / 16_000 > 190
    assert count > 350
    container.close()


async def test_the_event_loop_goes_on_while_a_piece_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding happens in another thread."""
    may_go_on = threading.Event()
    usual = frames

    def slow(container: Any) -> Any:
        assert may_go_on.wait(10)
        return usual(container)

    monkeypatch.setattr(stream_container, "frames", slow)
    container = StreamContainer()
    container.feed(b"".join(record("ogg")))
    reading = asyncio.create_task(container.read())
    await asyncio.sleep(0.05)
    assert not reading.done()
    may_go_on.set()
    assert await reading is not None
    container.close()


async def test_a_reader_may_be_cancelled() -> None:
    """The next ``read`` gets what the cancelled one would have got, and ``close`` ends the thread at any time."""
    data = b"".join(record("ogg"))
    whole = np.concatenate(list(decode(data)))
    container, pieces = StreamContainer(), []
    container.feed(data)
    for _ in range(20):
        reading = asyncio.create_task(container.read())
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    pieces += await drained(container)
    container.end()
    pieces += await drained(container)
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    container.close()
    abandoned = StreamContainer()
    abandoned.feed(data)
    reading = asyncio.create_task(abandoned.read())
    await asyncio.sleep(0)
    reading.cancel()
    abandoned.close()
    abandoned.close()


WEBM, OGG = (b"".join(record(kind, 0.5)) for kind in ("webm", "ogg"))


@settings(max_examples=25)
@given(
    data=st.sampled_from([WEBM, OGG]),
    damage=st.lists(st.tuples(st.integers(0, 5_000), st.binary(min_size=1, max_size=20)), max_size=4),
    steps=st.lists(st.integers(1, 3_000), min_size=1, max_size=5),
)
def test_any_damage_ends_in_audio_or_in_a_client_error(
    data: bytes, damage: list[tuple[int, bytes]], steps: list[int]
) -> None:
    """Whatever the bytes are, a stream ends, and what is wrong with it is the client's error."""
    for place, garbage in damage:
        at = place % len(data)
        data = data[:at] + garbage + data[at + len(garbage) :]
    chunks: list[bytes] = []
    while data:
        step = steps[len(chunks) % len(steps)]
        chunks.append(data[:step])
        data = data[step:]
    try:
        pieces = asyncio.run(played(chunks))
    except BadAudio:
        return
    assert all(np.isfinite(piece).all() for piece in pieces)
