"""Any media file -> float32 mono 16 kHz, in pieces, so that hours of audio need no more memory than seconds.

libsndfile (through soundfile) reads what it knows: wav, flac, ogg, mp3. FFmpeg's libraries (through PyAV) read the
rest: m4a, mp4, webm, ... Both are imported on first use: a worker that only serves live streams never loads them.
"""

import io
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.audio.pcm import SAMPLE_RATES
from whisperlivekit.audio.resample import Resampler
from whisperlivekit.errors import BadAudio

BLOCK_S = 0.5
"""Seconds of audio in a piece, about."""

_FFMPEG_FORMATS = (
    "mov,matroska,ogg,mp3,wav,flac,aac,ac3,eac3,amr,amrnb,amrwb,asf,avi,mpegts,mpeg,flv,caf,aiff,au,w64,wv,ape,g722,gsm"
)
"""Containers that hold their own audio. Playlists (hls, concat, dash, ...) are left out: an uploaded one would make
the server open whatever file or address it names."""


def decode(source: Path | bytes | BinaryIO) -> Generator[NDArray[np.float32], None, None]:
    """The audio of a media file: pieces of float32[n], mono 16 kHz, in [-1, 1]; the first audio track of several.

    Packets that cannot be decoded are left out, as players do.

    Raises:
        BadAudio: the file is no media file, is damaged from its beginning, or has no audio.
    """
    stream: BinaryIO
    if isinstance(source, Path):
        with source.open("rb") as stream:
            yield from decode(stream)
        return
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    if not stream.seek(0, io.SEEK_END):
        raise BadAudio("the file is empty, expected audio")
    stream.seek(0)
    pieces = _soundfile_pieces(stream)
    try:
        first = next(pieces, None)
    except _NotForSoundfile:
        stream.seek(0)
        pieces = _ffmpeg_pieces(stream)
        first = next(pieces, None)
    if first is None:
        raise BadAudio("the file has no audio")
    yield first
    yield from pieces


class _NotForSoundfile(Exception):
    """libsndfile does not read this file."""


def _soundfile_pieces(stream: BinaryIO) -> Iterator[NDArray[np.float32]]:
    import soundfile

    try:
        file = soundfile.SoundFile(stream)
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        raise _NotForSoundfile from error
    with file:
        _check_rate(file.samplerate)
        resampler = Resampler(file.samplerate)
        frames = int(file.samplerate * BLOCK_S)
        while True:
            try:
                block = file.read(frames, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError:
                break  # The damaged rest; what came before it has been given.
            if not len(block):
                break
            piece = resampler.feed(_mono(block))
            if len(piece):
                yield piece
        rest = resampler.flush()
        if len(rest):
            yield rest


def _ffmpeg_pieces(stream: BinaryIO) -> Iterator[NDArray[np.float32]]:
    import av

    try:
        container = av.open(
            stream,
            mode="r",
            options={"format_whitelist": _FFMPEG_FORMATS, "protocol_whitelist": ""},
            metadata_errors="ignore",
        )
    except (av.error.FFmpegError, ValueError) as error:
        raise BadAudio("the file is not a media file that this server can read") from error
    with container:
        if not container.streams.audio:
            raise BadAudio("the file has no audio track")
        resampler: Resampler | None = None
        rate = 0
        waiting: list[NDArray[np.float32]] = []
        waiting_samples = 0
        for frame in _frames(container):
            if resampler is None or frame.sample_rate != rate:
                # Some broadcasts change their rate on the way.
                if resampler is not None:
                    waiting.append(resampler.flush())
                rate = frame.sample_rate
                _check_rate(rate)
                resampler = Resampler(rate)
            waiting.append(resampler.feed(_mono(_float_frames(frame))))
            waiting_samples += len(waiting[-1])
            if waiting_samples >= 16_000 * BLOCK_S:
                yield np.concatenate(waiting)
                waiting, waiting_samples = [], 0
        if resampler is not None:
            waiting.append(resampler.flush())
        if waiting:
            rest = np.concatenate(waiting)
            if len(rest):
                yield rest


def _frames(container: Any) -> Iterator[Any]:
    import av

    packets = container.demux(container.streams.audio[0])
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.FFmpegError):
            return
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            continue


def _float_frames(frame: Any) -> NDArray[np.float32]:
    """A PyAV frame -> float32[frames, channels], in [-1, 1]."""
    array: NDArray[Any] = frame.to_ndarray()
    samples: NDArray[Any] = array.T if frame.format.is_planar else array.reshape(-1, len(frame.layout.channels))
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - np.float32(128)) / np.float32(128)
    if np.issubdtype(samples.dtype, np.integer):
        return samples.astype(np.float32) / np.float32(-float(np.iinfo(samples.dtype).min))
    return samples.astype(np.float32)


def _mono(block: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32[frames, channels] -> float32[frames]; broken float files may hold anything, a recognizer must not."""
    mono = np.nan_to_num(block, nan=0.0, posinf=1.0, neginf=-1.0).clip(-1.0, 1.0).mean(axis=1, dtype=np.float32)
    return np.asarray(mono, dtype=np.float32)


def _check_rate(rate: int) -> None:
    # A header may claim anything from 1 to 2^31; a resampler from there needs absurd memory.
    if not 1_000 <= rate <= 4 * SAMPLE_RATES[-1]:
        raise BadAudio(f"the file's sample rate is {rate}, expected 1000 to {4 * SAMPLE_RATES[-1]}")
