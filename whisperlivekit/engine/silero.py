"""Silero VAD on onnxruntime: the speech probability of every 32 ms. Sessions share the model, not its state."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.core.units import WINDOW
from whisperlivekit.engine.models import SILERO_FILE

CONTEXT = 64
"""Samples of the previous window that go before each window. Source: Silero VAD 5 and later at 16 kHz."""

STATE_SIZE = 128
"""Width of the LSTM. Source: the shapes of the ONNX file's inputs ``h`` and ``c``."""


class SileroModel:
    """The network without its state, so that one copy serves every session of the process."""

    def __init__(self, folder: Path) -> None:
        """Load ``SILERO_FILE`` from the folder.

        Raises:
            Exception: onnxruntime's own errors, for a missing or broken file; they have no common base class.
        """
        # Imported here: an onnxruntime session does not survive a fork, so the master process must not load it.
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # A piece of three windows is too little work to be shared by threads, and waiting threads must not spin.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        path = str(folder / SILERO_FILE)
        self._session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="vad")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def initial_state(self) -> Any:
        """The state before a stream's first window: hidden and cell state of the LSTM, float32[1, 1, 128] each."""
        shape = (1, 1, STATE_SIZE)
        return np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    async def run(self, windows: NDArray[np.float32], state: Any) -> tuple[NDArray[np.float32], Any]:
        """Probabilities of consecutive windows, float32[n, 64 + 512] -> float32[n], and the state after them."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, windows, state)

    def _run(self, windows: NDArray[np.float32], state: Any) -> tuple[NDArray[np.float32], Any]:
        hidden, cell = state
        probabilities, hidden, cell = self._session.run(
            ("speech_probs", "hn", "cn"), {"input": windows, "h": hidden, "c": cell}
        )
        return probabilities, (hidden, cell)


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
