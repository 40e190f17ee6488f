"""The benchmarks' clients for telephone switches, against a server with a scripted engine."""

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from benchmarks.client import Sound, StreamFailed, play
from benchmarks.dialects import protocol
from benchmarks.dialects.audio_fork import PATH, AudioFork
from tests.server.scripted import Server, scripted_server

RATE = 16_000
SPEECH = (np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE) * 8_000).astype(np.int16)
SOUND = Sound(np.concatenate([SPEECH, np.zeros(RATE, np.int16), SPEECH]), RATE)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with scripted_server() as running:
        yield running


@pytest.mark.parametrize("name", ["jambonz", "audio_fork"])
def test_a_call_from_start_to_end(server: Server, name: str) -> None:
    """Both utterances arrive, with interim text before them, and the server's close frame ends the stream."""
    spoken = protocol(name)
    sound = spoken.sound(SOUND)
    url = f"ws://127.0.0.1:{server.port}{spoken.path}"
    recording = asyncio.run(play(url, spoken.dialect(sound.rate, language="ru"), sound, pace=4))
    assert recording.committed.startswith(" раз два")
    assert len(recording.committed.split()) >= 4
    finals = [event for _, event in recording.events if (event.get("data") or event).get("is_final")]
    assert len(finals) == 2
    assert len(recording.events) > 2
    assert recording.finished_s > 0


def test_an_error_ends_the_stream(server: Server) -> None:
    """With the server's code."""
    with pytest.raises(StreamFailed, match="language") as caught:
        asyncio.run(
            play(f"ws://127.0.0.1:{server.port}/jambonz", protocol("jambonz").dialect(RATE, language="xx"), SOUND)
        )
    assert caught.value.code == "unsupported_format"


class WithEnd(AudioFork):
    """As if the protocol had a last message."""

    def receive(self, message: dict[str, Any]) -> None:
        if message["type"] != "closed":
            super().receive(message)


def test_a_close_frame_is_no_end_where_a_last_message_is_missing(server: Server) -> None:
    """Such a stream has failed, as before."""
    with pytest.raises(StreamFailed) as caught:
        asyncio.run(play(f"ws://127.0.0.1:{server.port}{PATH}", WithEnd(), SOUND, pace=None))
    assert caught.value.code == "1000"
