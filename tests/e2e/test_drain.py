"""SIGTERM under a stream of a protocol that cannot resume: it goes on to the next pause, and no word is lost."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from benchmarks.client import read_sound
from benchmarks.dialects import protocol
from benchmarks.serving import Server, running_server
from tests.speech import DATA, assert_says, clip

pytestmark = [pytest.mark.anyio, pytest.mark.model, pytest.mark.slow]

PROTOCOLS = ("realtime", "jambonz", "audio_fork")

CHUNK_S = 0.1

KILLED_AFTER_S = 2.0
"""In the middle of the first prompt."""

PAUSE_S = 0.5
"""Silence that ends an utterance: words that end later before the end of the connection are not expected."""


async def play_until_closed(server: Server, spoken: str) -> tuple[str, float, int | None]:
    """Play the recording in real time and terminate the server meanwhile.

    Returns:
        The committed text, the seconds of audio that were sent, and the close code.
    """
    speaking = protocol(spoken)
    sound = speaking.sound(read_sound(DATA / "prompts_24s.flac"))
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
                if sent < KILLED_AFTER_S * sound.rate <= sent + chunk:
                    os.kill(server.pid, signal.SIGTERM)
                sent += chunk
                await asyncio.sleep(CHUNK_S)
        except ConnectionClosed:
            pass
        await asyncio.gather(receiving, return_exceptions=True)
        return dialect.committed, sent / sound.rate, socket.close_code


@pytest.mark.parametrize("spoken", PROTOCOLS)
async def test_a_stream_ends_at_a_pause(base_model: Path, spoken: str) -> None:
    """The connection is closed with 1012 before the recording ends, and every word up to there has come."""
    with running_server(WLK_MAX_SESSIONS="8", WLK_GUNICORN_GRACEFUL_TIMEOUT="30") as server:
        committed, sent_s, code = await play_until_closed(server, spoken)
    assert code == 1012
    assert KILLED_AFTER_S < sent_s < read_sound(DATA / "prompts_24s.flac").seconds - 2
    words = [word.text for word in clip("prompts_24s").words if word.end_s < sent_s - PAUSE_S]
    assert len(words) > 3
    assert_says(committed, " ".join(words))
