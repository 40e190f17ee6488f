"""Raw audio bytes of a stream."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperlivekit.audio.container import decode
from whisperlivekit.audio.pcm import ENCODINGS, Encoding, PcmDecoder, wav_head
from whisperlivekit.errors import BadAudio, UnsupportedFormat


@settings(deadline=None, max_examples=150)
@given(
    encoding=st.sampled_from(ENCODINGS),
    rate=st.sampled_from([8_000, 16_000, 44_100, 48_000]),
    channels=st.sampled_from([1, 2]),
    frames=st.integers(0, 4_000),
    cuts=st.lists(st.integers(0, 4_000), max_size=20),
)
def test_result_does_not_depend_on_chunks(
    encoding: str, rate: int, channels: int, frames: int, cuts: list[int]
) -> None:
    """Any stream, cut at any whole samples, gives the same audio as in one piece, finite and in [-1, 1]."""
    random = np.random.default_rng(frames)
    if encoding == "pcm_f32le":
        stream = random.uniform(-1.5, 1.5, frames * channels).astype("<f4").tobytes()
    else:
        stream = random.bytes(frames * channels * (2 if encoding == "pcm_s16le" else 1))
    whole, cut = PcmDecoder(encoding, rate, channels), PcmDecoder(encoding, rate, channels)
    expected = np.concatenate([whole.feed(stream), whole.flush()])
    edges = [0, *sorted(min(at, frames) * cut.frame_bytes for at in cuts), len(stream)]
    pieces = [cut.feed(stream[start:end]) for start, end in itertools.pairwise(edges)]
    actual = np.concatenate([*pieces, cut.flush()])
    np.testing.assert_array_equal(actual, expected)
    assert actual.dtype == np.float32
    assert np.isfinite(actual).all()
    assert np.abs(actual).max(initial=0.0) <= 1.0


@settings(deadline=None)
@given(
    encoding=st.text(max_size=12) | st.sampled_from(ENCODINGS),
    rate=st.integers(),
    channels=st.integers(),
    chunks=st.lists(st.binary(max_size=64), max_size=8),
)
def test_any_bytes_give_audio_or_a_clear_error(encoding: str, rate: int, channels: int, chunks: list[bytes]) -> None:
    """Whatever a client announces and sends gives audio or one of the two errors."""
    try:
        decoder = PcmDecoder(encoding, rate, channels)
    except UnsupportedFormat:
        return
    try:
        for chunk in chunks:
            assert np.isfinite(decoder.feed(chunk)).all()
    except BadAudio:
        return


def test_s16_is_scaled_to_one() -> None:
    """Full scale is -1, silence is 0."""
    decoder = PcmDecoder()
    np.testing.assert_array_equal(decoder.feed(b"\x00\x80\x00\x00\x00\x40"), np.array([-1.0, 0.0, 0.5], np.float32))


@pytest.mark.parametrize(
    ("encoding", "code", "expected"),
    [
        # ITU-T G.711, tables 1 and 2: the ends and the middle of both scales, in 16 bits.
        ("mulaw", 0x00, -32124),
        ("mulaw", 0x80, 32124),
        ("mulaw", 0xFF, 0),
        ("mulaw", 0x7F, 0),
        ("mulaw", 0xD4, 748),
        ("alaw", 0xD5, 8),
        ("alaw", 0x55, -8),
        ("alaw", 0xAA, 32256),
        ("alaw", 0x2A, -32256),
        ("alaw", 0x80, 5504),
    ],
)
def test_telephone_codes(encoding: str, code: int, expected: int) -> None:
    """mu-law and A-law are decoded as in G.711."""
    assert PcmDecoder(encoding).feed(bytes([code]))[0] * 32768 == expected


def test_channels_are_mixed_down() -> None:
    """Two channels give their mean."""
    stereo = np.array([0.5, -0.5, 0.25, 0.75], "<f4").tobytes()
    mono = PcmDecoder("pcm_f32le", channels=2).feed(stereo)
    np.testing.assert_array_equal(mono, np.array([0.0, 0.5], np.float32))


def test_half_a_sample_is_an_error_with_both_numbers() -> None:
    """The message says how long the chunk is and what its length must be a multiple of."""
    with pytest.raises(BadAudio, match=r"1001 bytes, expected a multiple of 2 \(pcm_s16le\)"):
        PcmDecoder().feed(bytes(1001))
    with pytest.raises(BadAudio, match=r"12 bytes, expected a multiple of 8 \(pcm_f32le, 2 channels\)"):
        PcmDecoder("pcm_f32le", channels=2).feed(bytes(12))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_a_number_is_an_error(value: float) -> None:
    """NaN and infinity never reach the filters, and the error names the sample."""
    chunk = np.array([0.0, value, 0.0], "<f4").tobytes()
    with pytest.raises(BadAudio, match=r"sample 1 of the chunk is .*, expected a finite number"):
        PcmDecoder("pcm_f32le").feed(chunk)


def test_huge_floats_are_clipped() -> None:
    """The sum of two channels must not become infinite."""
    chunk = np.array([3e38, 3e38], "<f4").tobytes()
    np.testing.assert_array_equal(PcmDecoder("pcm_f32le", channels=2).feed(chunk), np.array([1.0], np.float32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("opus",), "encoding is 'opus', expected one of pcm_s16le, pcm_f32le, mulaw, alaw"),
        (("pcm_s16le", 200), "sample_rate is 200, expected 8000 to 192000"),
        (("pcm_s16le", 16_000, 6), "channels is 6, expected 1 or 2"),
    ],
)
def test_unsupported_formats_say_what_is_supported(arguments: tuple[str, int, int], message: str) -> None:
    """The message gives what was found, then what is supported."""
    with pytest.raises(UnsupportedFormat, match=message):
        PcmDecoder(*arguments)


@pytest.mark.parametrize("rate", [16_000, 8_000])
def test_channels_kept_apart_are_the_mono_streams(rate: int) -> None:
    """Each row is what a decoder of that channel alone gives, and all rows are equally long."""
    both = np.random.default_rng(3).integers(-9_000, 9_000, (2_400, 2)).astype("<i2")
    split = PcmDecoder(sample_rate=rate, channels=2, split=True)
    rows = np.concatenate(
        [split.feed(both[:1_000].tobytes()), split.feed(both[1_000:].tobytes()), split.flush()], axis=1
    )
    for channel in (0, 1):
        alone = PcmDecoder(sample_rate=rate)
        mono = np.concatenate([alone.feed(both[:, channel].tobytes()), alone.flush()])
        np.testing.assert_allclose(rows[channel], mono, atol=1e-6)
    assert split.frame_bytes == 4


def test_no_audio_has_both_channels_too() -> None:
    """An empty chunk gives two rows without samples."""
    assert PcmDecoder(channels=2, split=True).feed(b"").shape == (2, 0)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_head_makes_a_file_of_raw_audio(encoding: Encoding, channels: int) -> None:
    """As a WAV file it gives what the decoder of streams gives."""
    sound = (8_000 * np.sin(np.arange(16_000) / 20)).astype("<i2")
    raw = (sound / 32_768).astype("<f4").tobytes() if encoding == "pcm_f32le" else sound.tobytes()
    decoder = PcmDecoder(encoding, 8_000, channels)
    expected = np.concatenate([decoder.feed(raw), decoder.flush()])
    found = np.concatenate(list(decode(wav_head(encoding, 8_000, channels) + raw)))
    np.testing.assert_allclose(found, expected, atol=1e-3)
