"""A server that is stopped under a stream of Deepgram's protocol, whose clients do not resume."""

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from benchmarks.serving import running_server
from tests.speech import assert_says, clip

pytestmark = [pytest.mark.model, pytest.mark.slow]

CHUNK = 3_200
"""Samples of 0.2 s."""


def test_no_word_is_lost(base_model: Path) -> None:
    """SIGTERM in the middle of a sentence: it is heard to its end, and then the connection is closed with 1012."""
    phrase = clip("phrase_3s")
    audio = (phrase.samples * 32_767).astype("<i2").tobytes() + bytes(2 * 16_000 * 20)
    results: list[dict[str, Any]] = []
    with running_server(1, WLK_GUNICORN_GRACEFUL_TIMEOUT="40") as server:
        url = f"{server.ws_url.removesuffix('/ws')}/v1/listen?encoding=linear16&sample_rate=16000&interim_results=true"
        with connect(url, compression=None) as client:

            def listen() -> None:
                try:
                    while True:
                        results.append(json.loads(client.recv()))
                except ConnectionClosed:
                    pass

            listener = threading.Thread(target=listen)
            listener.start()
            try:
                for number, at in enumerate(range(0, len(audio), 2 * CHUNK)):
                    if number == 10:
                        os.kill(server.pid, signal.SIGTERM)
                    client.send(audio[at : at + 2 * CHUNK])
                    time.sleep(0.2)
            except ConnectionClosed:
                pass
            listener.join(20)
            assert not listener.is_alive()
            assert client.close_code == 1012
    assert {result["type"] for result in results} == {"Results"}
    finals = [result["channel"]["alternatives"][0]["transcript"] for result in results if result["is_final"]]
    assert_says(" ".join(finals), phrase.text)
