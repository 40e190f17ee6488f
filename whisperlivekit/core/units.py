"""Units of time: positions are sample indices at 16 kHz, spans are ``[start, end)``."""

SAMPLE_RATE = 16_000
"""Samples per second of all audio inside the server. Source: the rate that Whisper and Silero VAD were trained at."""

WINDOW = 512
"""Samples in one step of the speech detector (32 ms). Source: Silero VAD 5 and later at 16 kHz."""

HOP = 160
"""Samples between two log-mel frames (10 ms). Source: Whisper."""

ENCODER_FRAME = 320
"""Samples in one frame of the Whisper encoder's output (20 ms). Source: Whisper, HOP times a stride of 2."""


def to_seconds(samples: int) -> float:
    """Seconds, rounded to the millisecond, of a position or length in samples."""
    return round(samples / SAMPLE_RATE, 3)


def to_samples(seconds: float) -> int:
    """The sample nearest to a position or length in seconds."""
    return round(seconds * SAMPLE_RATE)
