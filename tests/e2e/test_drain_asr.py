"""A server that stops under a stream of /asr, which cannot resume: it waits for a pause, and no word is lost."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from benchmarks.serving import running_server
from tests.speech import assert_says, clip

pytestmark = [pytest.mark.model, pytest.mark.slow]

FRAME_S = 0.1
PHRASE = clip("phrase_3s")


def test_no_word_is_lost(base_model: Path) -> None:
    """SIGTERM in the middle of a sentence: the sentence is heard and told to its end, then comes close code 1012."""
    spoken = np.concatenate([PHRASE.samples, np.zeros(20 * 16_000, np.float32)])
    frames = np.split((spoken * 32_767).astype("<i2"), range(1_600, len(spoken), 1_600))
    updates: list[dict[str, Any]] = []
    sent_s = 0.0
    with running_server(1, WLK_GUNICORN_GRACEFUL_TIMEOUT="50") as server:
        with connect(server.ws_url.replace("/ws", "/asr?language=ru"), compression=None) as socket:
            began_s = time.monotonic()
            stopped = False
            try:
                for frame in frames:
                    if sent_s > PHRASE.words[1].end_s and not stopped:
                        os.kill(server.pid, signal.SIGTERM)
                        stopped = True
                    socket.send(frame.tobytes())
                    sent_s += FRAME_S
                    read_what_is_there(socket, updates, began_s + sent_s)
                pytest.fail("the stream went on to its end")
            except ConnectionClosed:
                pass
        assert socket.close_code == 1012
        assert sent_s > PHRASE.words[-1].end_s, "the connection ended while somebody spoke"
        assert "SIGKILL" not in server.log_text()
    assert updates[-1]["status"] == "error"
    text = " ".join(line["text"] for line in updates[-1]["lines"]).strip()
    assert_says(text, PHRASE.text)
    # The tolerance for a text is wider than its last word.
    assert_says(text.split()[-1], PHRASE.words[-1].text)


def read_what_is_there(socket: Any, updates: list[dict[str, Any]], until_s: float) -> None:
    """Up to this time of the clock, so that the next frame is sent in time."""
    try:
        while True:
            update = json.loads(socket.recv(timeout=max(0.0, until_s - time.monotonic())))
            if "lines" in update:
                updates.append(update)
    except TimeoutError:
        pass
