"""A server that stops or reloads under clients that cannot resume: it waits for a pause, and no word is lost."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from benchmarks.g711 import mulaw_encode
from benchmarks.serving import running_server
from tests.speech import assert_says, sentences

pytestmark = [pytest.mark.model, pytest.mark.slow]

RATE = 8_000
FRAME = RATE // 5


def said_at_once(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The speech without the silence around it: sentences in a row have no pause between them."""
    loud = np.flatnonzero(np.abs(samples) > 0.02)
    return samples[loud[0] : loud[-1] + RATE // 10]


class Caller(threading.Thread):
    """Says one sentence after another, until it is told to be silent; then it is, as long as the connection lasts."""

    def __init__(self, url: str, *, aeap: bool) -> None:
        super().__init__()
        self._aeap = aeap
        self._url = url
        self.said: list[str] = []
        self.texts: list[str] = []
        self.speaking = threading.Event()
        """A second of the first sentence was said."""
        self.enough = threading.Event()
        """This sentence is the last one."""
        self.silent_s = 0.0
        """When the last sentence was over."""
        self.closed_s = 0.0
        self.close_code: int | None = None

    def run(self) -> None:
        names = [Subprotocol("speech_to_text")] if self._aeap else None
        with connect(self._url, compression=None, subprotocols=names) as client:
            if self._aeap:
                client.send('{"request":"setup","id":"1","version":"0.1.0","codecs":[{"name":"ulaw"}]}')
            began_s = time.monotonic()
            try:
                for number, frame in enumerate(self._frames()):
                    time.sleep(max(0.0, began_s + number * FRAME / RATE - time.monotonic()))
                    pcm = (frame * 32_767).clip(-32_768, 32_767).astype("<i2")
                    client.send(mulaw_encode(frame).tobytes() if self._aeap else pcm.tobytes())
                    if number * FRAME > RATE:
                        self.speaking.set()
                    self._read(client, 0)
            except ConnectionClosed:
                pass
            try:
                while True:
                    self._read(client, 5)
            except ConnectionClosed:
                self.closed_s = time.monotonic()
                self.close_code = client.close_code

    def _frames(self) -> Iterator[NDArray[np.float32]]:
        for sentence in sentences():
            samples = said_at_once(soxr.resample(sentence.samples, 16_000, RATE))
            yield from np.array_split(samples, len(samples) // FRAME)
            self.said.append(sentence.text)
            if self.enough.is_set():
                break
        self.silent_s = time.monotonic()
        yield from np.split(np.zeros(60 * RATE, np.float32), 60 * RATE // FRAME)

    def _read(self, client: Any, timeout_s: float) -> None:
        try:
            while True:
                found = json.loads(client.recv(timeout=timeout_s))
                if self._aeap:
                    self.texts += [result["text"] for result in found.get("params", {}).get("results", [])]
                elif found.get("text"):
                    self.texts.append(found["text"])
        except TimeoutError:
            if timeout_s:
                raise


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGHUP], ids=["stopped", "reloaded"])
def test_no_word_is_lost(base_model: Path, stop: signal.Signals) -> None:
    """In the middle of a sentence: the callers say it to its end and get its text, and only then is the connection
    closed, with 1012. A server that reloads lets them speak until another worker is ready.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        vosk_port = free.getsockname()[1]
    with running_server(1, WLK_VOSK_PORT=str(vosk_port), WLK_GUNICORN_GRACEFUL_TIMEOUT="50") as server:
        [worker] = server.workers()
        aeap = server.ws_url.removesuffix("/ws") + "/aeap"
        callers = [Caller(f"ws://127.0.0.1:{vosk_port}", aeap=False), Caller(aeap, aeap=True)]
        for caller in callers:
            caller.start()
        for caller in callers:
            assert caller.speaking.wait(10)
        os.kill(server.pid, stop)
        wait_until("the worker drains", lambda: "draining" in server.log_text(), 25)
        for caller in callers:
            caller.enough.set()
        for caller in callers:
            caller.join(60)
            assert not caller.is_alive()
        for caller in callers:
            assert caller.close_code == 1012
            assert caller.closed_s > caller.silent_s > 0, "the connection ended while somebody spoke"
            assert_says(" ".join(caller.texts), " ".join(caller.said))
            # The tolerance for a long text is wider than the last words.
            assert_says(" ".join(caller.texts).split()[-1], caller.said[-1].split()[-1])
        wait_until("the worker is gone", lambda: worker.pid not in {process.pid for process in server.workers()}, 20)
        assert "SIGKILL" not in server.log_text()


def wait_until(what: str, condition: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
