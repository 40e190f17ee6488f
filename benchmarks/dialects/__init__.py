"""The protocols that ``--protocol`` of the benchmarks knows: the native one, WhisperLiveKit's, and a module each here.

A module has ``dialect(rate, **start)``, which makes the ``Dialect`` of one stream: ``start`` are the native protocol's
language, commit and refine. It may have the path of its WebSocket as ``PATH``, otherwise its own name, and as ``RATE``
the rate of the audio that it sends in Hz, otherwise the recording's own.
"""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import soxr

from benchmarks.client import Dialect, Native, Sound, WhisperLiveKit


@dataclass(frozen=True, slots=True)
class SpokenProtocol:
    """A protocol, for any number of streams."""

    path: str
    """Of the WebSocket on this server."""
    rate: int | None
    """Of the audio that is sent, in Hz; None: any."""
    dialect: Callable[..., Dialect]
    """Makes the dialect of one stream of the rate's audio and the native ``start``'s fields."""

    def sound(self, sound: Sound) -> Sound:
        """The sound at the protocol's rate."""
        if self.rate is None or sound.rate == self.rate:
            return sound
        resampled = soxr.resample(sound.samples.astype(np.float32), sound.rate, self.rate)
        return Sound(np.clip(np.rint(resampled), -32_768, 32_767).astype(np.int16), self.rate)


def protocol_names() -> list[str]:
    """What ``protocol`` knows."""
    return ["native", "whisperlivekit", *sorted(module.name for module in pkgutil.iter_modules(__path__))]


def protocol(name: str) -> SpokenProtocol:
    """The protocol of this name, which is one of ``protocol_names()``."""
    if name == "native":
        return SpokenProtocol("/ws", None, Native)
    if name == "whisperlivekit":
        return SpokenProtocol("/asr", 16_000, lambda _, **__: WhisperLiveKit())
    module = import_module(f"{__name__}.{name}")
    return SpokenProtocol(getattr(module, "PATH", f"/{name}"), getattr(module, "RATE", None), module.dialect)
