"""Any media file -> float32 16 kHz, mono or one row for each channel.

It comes in pieces, so that hours of audio need no more memory than seconds.
FFmpeg's libraries decode (through PyAV), soxr resamples as it does for live streams: to 71 dB of the best quality,
where FFmpeg's own resampler has 41 dB. PyAV is imported on first use: a worker that serves only live streams never
needs it.
"""

import ctypes
import io
from collections.abc import Generator, Iterator
from functools import cache
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.audio.pcm import SAMPLE_RATES
from whisperlivekit.audio.resample import Resampler
from whisperlivekit.errors import BadAudio

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.container import InputContainer

PIECE_S = 0.5
"""Seconds of audio in a piece; the last one is shorter."""

_FORMATS = (
    "mov,matroska,ogg,mp3,wav,flac,aac,ac3,eac3,amr,amrnb,amrwb,asf,avi,mpegts,mpeg,flv,caf,aiff,au,w64,wv,ape,g722,gsm"
)
"""FFmpeg's containers that hold their own audio. Playlists (hls, concat, dash, ...) are not allowed: an uploaded one
would make the server open any file or address that it names."""

BROKEN = (ValueError, LookupError, ArithmeticError, RuntimeError, MemoryError)
"""What PyAV may raise for a broken file besides FFmpeg's errors: its own checks use Python's exceptions. Among 8000
damaged files of 22 formats none did, but an exception that escapes would count as a fault of the server."""


MOST_BYTES = 128 * 1024 * 1024
"""The largest piece of memory that FFmpeg may allocate: an index of 5 million frames, 30 hours of AAC. A table of a
damaged MP4 may claim any size, and FFmpeg fills it before it looks for the content: 2.4 GB for a file of 4 kB."""


class Readable(Protocol):
    """What FFmpeg needs of a file that it only reads forward."""

    def read(self, size: int, /) -> bytes: ...


def decode(source: Path | bytes | BinaryIO, channels: int = 1) -> Generator[NDArray[np.float32], None, None]:
    """The audio of a media file: pieces of float32[n], 16 kHz, in [-1, 1]; the first audio track of several.

    channels: 1: the file's channels are mixed. More: it must have so many, and pieces are float32[channels, n].

    Packets that cannot be decoded are left out, as players do. A file that is cut off gives what is there.

    Raises:
        BadAudio: the file is not a media file, is damaged from its beginning, has no audio, or not so many channels.
        OSError: ``source`` is a path that cannot be opened.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield from decode(file, channels)
        return
    stream: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else source
    if not stream.seek(0, io.SEEK_END):
        raise BadAudio("the file is empty, expected audio")
    stream.seek(0)
    import av

    audible = False
    try:
        with open_container(stream) as container:
            for piece in resampled(frames(container), channels):
                if piece.size:
                    audible = True
                    yield piece
    except (av.FFmpegError, *BROKEN) as error:
        raise BadAudio("the file is damaged, expected audio that can be decoded") from error
    if not audible:
        raise BadAudio("the file has no audio that can be decoded")


def count_channels(file: BinaryIO) -> int:
    """The channels of a media file's first audio track. Afterwards the file is at its beginning again.

    Raises:
        BadAudio: the file is not a media file, or has no audio.
    """
    try:
        with open_container(file) as container:
            if not container.streams.audio:
                raise BadAudio("the file has no audio track")
            return int(container.streams.audio[0].codec_context.layout.nb_channels)
    finally:
        file.seek(0)


def open_container(stream: Readable, name: str | None = None, **options: str) -> "InputContainer":
    """Read the header. ``name``: FFmpeg's name of the format; None: find out. ``options``: FFmpeg's, of the format.

    Raises:
        BadAudio: the stream is not in such a format.
    """
    import av

    _limit_memory()
    try:
        return av.open(
            stream,
            mode="r",
            format=name,
            options={"format_whitelist": _FORMATS, "protocol_whitelist": "", **options},
            metadata_errors="ignore",
        )
    except (av.FFmpegError, *BROKEN) as error:
        raise BadAudio("the file is not a media file that this server can read") from error


@cache
def _limit_memory() -> None:
    """PyAV has no name for this setting of FFmpeg's, which holds for the process."""
    from av import _core

    limit = ctypes.CDLL(_core.__file__).av_max_alloc
    limit.argtypes, limit.restype = [ctypes.c_size_t], None
    limit(MOST_BYTES)


def frames(container: "InputContainer") -> Iterator["AudioFrame"]:
    """The decoded frames of the first audio track."""
    import av

    if not container.streams.audio:
        raise BadAudio("the file has no audio track")
    packets = container.demux(container.streams.audio[0])
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):
            return
        try:
            yield from packet.decode()
        except av.FFmpegError:
            continue


def resampled(
    decoded: Iterator["AudioFrame"], channels: int = 1, piece_s: float = PIECE_S
) -> Iterator[NDArray[np.float32]]:
    """Frames of any sample format, layout and rate -> float32[n], mono 16 kHz; float32[channels, n] if more than 1. In
    pieces of ``piece_s`` seconds.
    """
    from av import AudioResampler

    # Some broadcasts change these on the way.
    for (rate, _, _), alike in groupby(
        decoded, lambda frame: (frame.sample_rate, frame.format.name, frame.layout.name)
    ):
        _check_rate(rate)
        # It joins small frames too: a frame may hold a single sample. The samples are interleaved ("flt"), because PyAV
        # reads outside its memory when it gives a frame of 8 or more separate channels to numpy.
        to_floats = AudioResampler(format="flt", frame_size=int(rate * piece_s))
        resamplers = [Resampler(rate) for _ in range(channels)]
        for frame in chain(alike, (None,)):
            for floats in to_floats.resample(frame):
                rows = _rows(floats.to_ndarray().reshape(-1, floats.layout.nb_channels), channels)
                yield _joined([resampler.feed(row) for resampler, row in zip(resamplers, rows, strict=True)])
        yield _joined([resampler.flush() for resampler in resamplers])


def _rows(samples: NDArray[Any], channels: int) -> NDArray[np.float32]:
    """float32[n, the file's channels] -> float32[channels, n], in [-1, 1]. A broken file of floats may hold NaN and
    infinity.
    """
    finite = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0).clip(-1.0, 1.0)
    if channels == 1:
        return np.asarray(finite.mean(axis=1, dtype=np.float32, keepdims=True).T, dtype=np.float32)
    if samples.shape[1] != channels:
        found = f"{samples.shape[1]} channel{'s' if samples.shape[1] > 1 else ''}"
        raise BadAudio(f"the file has {found}, expected {channels}, one for each speaker")
    return np.asarray(finite.T, dtype=np.float32)


def _joined(rows: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return rows[0] if len(rows) == 1 else np.stack(rows)


def _check_rate(rate: int) -> None:
    # A header may claim anything from 1 to 2^31, and resampling from such a rate needs an absurd amount of memory.
    if not 1_000 <= rate <= 4 * SAMPLE_RATES[-1]:
        raise BadAudio(f"the file's sample rate is {rate}, expected 1000 to {4 * SAMPLE_RATES[-1]}")
