"""Silero VAD: speech probability of every 32 ms, one shared model, recurrent state per session."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.core.units import WINDOW

CONTEXT = 64
"""Samples of the previous window that go before each window. Source: Silero VAD 5 and later at 16 kHz."""


class SileroModel:
    """The network with its state outside, so that one copy serves every session of the process."""

    def __init__(self) -> None:
        # Imported here: torch takes seconds and must not be loaded before the fork.
        import torch
        from silero_vad import load_silero_vad

        self._torch = torch
        # The packaged module keeps its state inside; the network within it takes and returns the state.
        self._network: Any = load_silero_vad()._model  # noqa: SLF001
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="vad")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def initial_state(self) -> Any:
        """float32[2, 1, 128]"""
        return self._torch.zeros(2, 1, 128)

    async def run(self, windows: NDArray[np.float32], state: Any) -> tuple[NDArray[np.float32], Any]:
        """Probabilities of consecutive windows, float32[n, 64 + 512] -> float32[n], and the state after them."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, windows, state)

    def _run(self, windows: NDArray[np.float32], state: Any) -> tuple[NDArray[np.float32], Any]:
        probabilities = np.empty(len(windows), np.float32)
        with self._torch.inference_mode():
            for index, window in enumerate(self._torch.from_numpy(windows)):
                output, state = self._network(window[None], state)
                probabilities[index] = output.item()
        return probabilities, state


class SileroDetector:
    """One session's SpeechDetector."""

    def __init__(self, model: SileroModel) -> None:
        self._model = model
        self._state = model.initial_state()
        self._held: NDArray[np.float32] = np.zeros(CONTEXT, np.float32)
        """The context, then samples that do not fill a window yet."""

    async def feed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        held = np.concatenate([self._held, samples])
        count = (len(held) - CONTEXT) // WINDOW
        self._held = held[count * WINDOW :]
        if count == 0:
            return np.zeros(0, np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(held, CONTEXT + WINDOW)[: count * WINDOW : WINDOW].copy()
        probabilities, self._state = await self._model.run(windows, self._state)
        return probabilities
