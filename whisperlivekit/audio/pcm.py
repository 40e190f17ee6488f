"""Raw audio bytes of a stream -> float32 16 kHz, mono or one row for each channel."""

import struct
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.audio.resample import Resampler
from whisperlivekit.errors import BadAudio, UnsupportedFormat

Encoding = Literal["pcm_s16le", "pcm_f32le", "mulaw", "alaw"]
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)

SAMPLE_RATES = range(8_000, 192_001)
"""Sample rates that a client may announce."""

CHANNELS = range(1, 3)


class PcmDecoder:
    """Decodes one stream of raw audio; the result does not depend on how the stream is cut into chunks.

    A chunk must hold whole samples of all channels. Half a sample means that bytes were lost or that the stream has
    another format than announced, and everything after it would be noise.

    split: keep the channels apart; otherwise they are mixed into one.

    Raises:
        UnsupportedFormat: an encoding, sample rate or number of channels that is not supported.
    """

    def __init__(
        self, encoding: str = "pcm_s16le", sample_rate: int = 16_000, channels: int = 1, *, split: bool = False
    ) -> None:
        if encoding not in _DECODERS:
            raise UnsupportedFormat(f"encoding is {encoding!r}, expected one of {', '.join(ENCODINGS)}")
        if sample_rate not in SAMPLE_RATES:
            raise UnsupportedFormat(
                f"sample_rate is {sample_rate}, expected {SAMPLE_RATES[0]} to {SAMPLE_RATES[-1]} samples a second"
            )
        if channels not in CHANNELS:
            raise UnsupportedFormat(f"channels is {channels}, expected {CHANNELS[0]} or {CHANNELS[-1]}")
        self._width_bytes, self._decode = _DECODERS[encoding]
        self._encoding = encoding
        self._channels = channels
        self._split = split
        self._resamplers = [Resampler(sample_rate) for _ in range(channels if split else 1)]

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self._width_bytes * self._channels

    def feed(self, chunk: bytes) -> NDArray[np.float32]:
        """The chunk's audio at 16 kHz, in [-1, 1], less what the resampler still holds: float32[n]. If the channels are
        kept apart: float32[channels, n].

        Raises:
            BadAudio: the chunk is not whole samples, or a sample is not a number.
        """
        if len(chunk) % self.frame_bytes:
            unit = self._encoding if self._channels == 1 else f"{self._encoding}, {self._channels} channels"
            raise BadAudio(f"chunk has {len(chunk)} bytes, expected a multiple of {self.frame_bytes} ({unit})")
        samples = self._decode(chunk)
        frames = samples.reshape(-1, self._channels)
        if self._split:
            return np.stack([each.feed(frames[:, channel]) for channel, each in enumerate(self._resamplers)])
        mono = frames.mean(axis=1, dtype=np.float32) if self._channels > 1 else samples
        return self._resamplers[0].feed(mono)

    def flush(self) -> NDArray[np.float32]:
        """The audio that the resampler still holds, at the end of the stream."""
        rest = [each.flush() for each in self._resamplers]
        return np.stack(rest) if self._split else rest[0]


def wav_head(encoding: Encoding, sample_rate: int, channels: int) -> bytes:
    """The head of a WAV file of unknown length, which makes a file of raw audio. Source: the RIFF specification.

    encoding, sample_rate, channels: see ``PcmDecoder``.
    """
    width = _DECODERS[encoding][0]
    kind = {"pcm_s16le": 1, "pcm_f32le": 3, "alaw": 6, "mulaw": 7}[encoding]
    unknown = 0xFFFFFFFF
    audio = (kind, channels, sample_rate, sample_rate * channels * width, channels * width, 8 * width)
    return struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", unknown, b"WAVE", b"fmt ", 16, *audio, b"data", unknown)


def _decode_s16(chunk: bytes) -> NDArray[np.float32]:
    return np.frombuffer(chunk, dtype="<i2").astype(np.float32) * np.float32(1 / 32768)


def _decode_f32(chunk: bytes) -> NDArray[np.float32]:
    samples = np.frombuffer(chunk, dtype="<f4").astype(np.float32)
    finite = np.isfinite(samples)
    if not finite.all():
        at = int(np.argmin(finite))
        # A single NaN would stay in the state of the filters and the speech detector until the stream ends.
        raise BadAudio(f"sample {at} of the chunk is {samples[at]}, expected a finite number from -1 to 1")
    return np.clip(samples, -1.0, 1.0)


def _mulaw_table() -> NDArray[np.float32]:
    """All 256 codes. Source: ITU-T G.711, mu-law, 14 bits scaled to 16."""
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code >> 4) & 7)) - 0x84
    return (np.where(code & 0x80, -magnitude, magnitude) / 32768).astype(np.float32)


def _alaw_table() -> NDArray[np.float32]:
    """All 256 codes. Source: ITU-T G.711, A-law, 13 bits scaled to 16."""
    code = np.arange(256, dtype=np.int32) ^ 0x55
    segment = (code >> 4) & 7
    mantissa = (code & 0x0F) << 4
    magnitude = np.where(segment == 0, mantissa + 8, (mantissa + 0x108) << np.maximum(segment - 1, 0))
    return (np.where(code & 0x80, magnitude, -magnitude) / 32768).astype(np.float32)


def _decode_by(table: NDArray[np.float32]) -> Callable[[bytes], NDArray[np.float32]]:
    def decode(chunk: bytes) -> NDArray[np.float32]:
        samples: NDArray[np.float32] = table[np.frombuffer(chunk, dtype=np.uint8)]
        return samples

    return decode


_DECODERS: dict[str, tuple[int, Callable[[bytes], NDArray[np.float32]]]] = {
    "pcm_s16le": (2, _decode_s16),
    "pcm_f32le": (4, _decode_f32),
    "mulaw": (1, _decode_by(_mulaw_table())),
    "alaw": (1, _decode_by(_alaw_table())),
}
"""Encoding -> bytes of a sample, and the function bytes -> float32[n] in [-1, 1]."""
