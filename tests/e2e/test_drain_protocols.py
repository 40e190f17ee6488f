"""SIGTERM under streams of protocols that cannot resume: each goes on to its next pause, and no word is lost.

Those that answer in lockstep, or are silent for long, have a test of their own: test_drain.py.
"""

import asyncio
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from benchmarks.client import Sound, read_sound
from benchmarks.dialects import protocol
from benchmarks.serving import Server, running_server
from tests.speech import DATA, clip, says

pytestmark = [pytest.mark.anyio, pytest.mark.model, pytest.mark.slow]

PROTOCOLS = ("realtime", "deepgram", "whisperlivekit", "jambonz", "audio_fork")

CHUNK_S = 0.1

TERMINATED_AFTER_S = 2.0
"""In the middle of the first prompt."""

SILENCE_S = 20

NOTICED_S = 3.0
"""The client may notice so late that the connection was closed: audio that it sent meanwhile was not heard."""


def recording() -> Sound:
    """Prompts with pauses, and then silence: a slow machine may be busy until then."""
    prompts = read_sound(DATA / "prompts_24s.flac")
    return Sound(np.append(prompts.samples, np.zeros(SILENCE_S * prompts.rate, np.int16)), prompts.rate)


async def play_until_closed(server: Server, spoken: str, terminated: asyncio.Event) -> tuple[str, float, int | None]:
    """Play the recording in real time, and let the server be terminated meanwhile.

    Returns:
        The committed text, the seconds of audio that were sent, and the close code.
    """
    speaking = protocol(spoken)
    sound = speaking.sound(recording())
    dialect = speaking.dialect(sound.rate, language="ru")
    sent = 0
    async with connect(server.url.replace("http", "ws") + speaking.path, compression=None, max_size=None) as socket:
        for message in dialect.opening():
            await socket.send(message)

        async def receive() -> None:
            async for message in socket:
                dialect.receive(json.loads(message))

        receiving = asyncio.create_task(receive())
        chunk = round(CHUNK_S * sound.rate)
        try:
            while sent < len(sound.samples):
                await socket.send(dialect.audio(sound.samples[sent : sent + chunk]))
                sent += chunk
                if sent >= TERMINATED_AFTER_S * sound.rate:
                    terminated.set()
                await asyncio.sleep(CHUNK_S)
        except ConnectionClosed:
            pass
        await asyncio.gather(receiving, return_exceptions=True)
        return dialect.committed, sent / sound.rate, socket.close_code


async def test_streams_end_at_a_pause(base_model: Path) -> None:
    """Each connection is closed with 1012 before the recording ends, and every word up to there has come."""
    with running_server(WLK_MAX_SESSIONS="8", WLK_GUNICORN_GRACEFUL_TIMEOUT="70") as server:
        terminated = asyncio.Event()
        playing = [asyncio.create_task(play_until_closed(server, spoken, terminated)) for spoken in PROTOCOLS]
        await terminated.wait()
        os.kill(server.pid, signal.SIGTERM)
        ended = await asyncio.gather(*playing)
    for spoken, (committed, sent_s, code) in zip(PROTOCOLS, ended, strict=True):
        assert code == 1012, spoken
        assert TERMINATED_AFTER_S < sent_s < recording().seconds, spoken
        words = clip("prompts_24s").words
        sent = [word.text for word in words if word.end_s < sent_s]
        heard = [word.text for word in words if word.end_s < sent_s - NOTICED_S]
        assert len(sent) > 3, spoken
        possible = [" ".join(sent[:count]) for count in range(max(1, len(heard)), len(sent) + 1)]
        assert any(says(committed, text) for text in possible), f"{spoken}: {committed!r} of {possible[-1]!r}"
