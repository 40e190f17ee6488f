"""A server that stops or reloads under clients that cannot resume: it waits for a pause, and no word is lost."""

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soxr
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from benchmarks.g711 import mulaw_encode
from benchmarks.serving import Server, running_server
from tests.speech import assert_says, clip

pytestmark = [pytest.mark.model, pytest.mark.slow]

PHRASE = clip("phrase_3s")
RATE = 8_000
FRAME = RATE // 5


class Caller(threading.Thread):
    """Says the phrase into a socket and is silent afterwards, as long as the connection lasts."""

    def __init__(self, url: str, *, aeap: bool) -> None:
        super().__init__()
        self._aeap = aeap
        self._url = url
        self.texts: list[str] = []
        self.speaking = threading.Event()
        """A second of the phrase was said."""
        self.said_s = 0.0
        """When the phrase was over."""
        self.closed_s = 0.0
        self.close_code: int | None = None

    def run(self) -> None:
        samples = soxr.resample(PHRASE.samples, 16_000, RATE)
        audio = np.pad(samples, (0, 60 * RATE))
        names = [Subprotocol("speech_to_text")] if self._aeap else None
        with connect(self._url, compression=None, subprotocols=names) as client:
            if self._aeap:
                client.send('{"request":"setup","id":"1","version":"0.1.0","codecs":[{"name":"ulaw"}]}')
            began_s = time.monotonic()
            try:
                for begin in range(0, len(audio), FRAME):
                    time.sleep(max(0.0, began_s + begin / RATE - time.monotonic()))
                    frame = audio[begin : begin + FRAME]
                    pcm = (frame * 32_767).clip(-32_768, 32_767).astype("<i2")
                    client.send(mulaw_encode(frame).tobytes() if self._aeap else pcm.tobytes())
                    if begin >= RATE:
                        self.speaking.set()
                    if begin >= len(samples) and not self.said_s:
                        self.said_s = time.monotonic()
                    self._read(client, 0)
            except ConnectionClosed:
                pass
            try:
                while True:
                    self._read(client, 5)
            except ConnectionClosed:
                self.closed_s = time.monotonic()
                self.close_code = client.close_code

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


def _ended(server: Server) -> bool:
    try:
        return bool(psutil.Process(server.pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGHUP], ids=["stopped", "reloaded"])
def test_no_word_is_lost(base_model: Path, stop: signal.Signals) -> None:
    """In the middle of a phrase: the callers say it to its end and get its text, and only then is the connection
    closed, with 1012.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        vosk_port = free.getsockname()[1]
    with running_server(1, WLK_MAX_SESSIONS="8", WLK_VOSK_PORT=str(vosk_port)) as server:
        [worker] = server.workers()
        aeap = server.ws_url.removesuffix("/ws") + "/aeap"
        callers = [Caller(f"ws://127.0.0.1:{vosk_port}", aeap=False), Caller(aeap, aeap=True)]
        for caller in callers:
            caller.start()
        for caller in callers:
            assert caller.speaking.wait(10)
        os.kill(server.pid, stop)
        for caller in callers:
            caller.join(60)
            assert not caller.is_alive()
        for caller in callers:
            assert caller.close_code == 1012
            assert caller.closed_s > caller.said_s > 0, "the connection ended while somebody spoke"
            assert_says(" ".join(caller.texts), PHRASE.text)
        if stop is signal.SIGTERM:
            deadline = time.monotonic() + 20
            while not _ended(server):
                assert time.monotonic() < deadline, "the server does not stop"
                time.sleep(0.1)
        else:
            assert worker.pid not in {process.pid for process in server.workers()}
        assert "SIGKILL" not in server.log_text()
