"""Calls from jambonz and FreeSWITCH with real speech, through the whole server.

jambonz, mod_audio_fork and mod_audio_stream cannot be installed here: they are modules of a FreeSWITCH that is built
from source. These tests send what the modules' sources send, in frames of 20 ms, and read the answers as they do.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.asyncio.client import connect

from benchmarks.client import read_sound
from benchmarks.serving import Server
from tests.speech import DATA, assert_says, clip

pytestmark = [pytest.mark.anyio, pytest.mark.model, pytest.mark.slow]

TELEPHONE, PHRASE = clip("telephone_8k"), clip("phrase_3s")
FRAME_S = 0.02


@pytest.fixture
def anyio_backend() -> str:
    """The tests use asyncio directly."""
    return "asyncio"


def frames(samples: NDArray[np.int16], rate: int) -> list[bytes]:
    """[n] or [n, channels] as L16 of the modules: native byte order, interleaved, 20 ms each."""
    size = round(rate * FRAME_S)
    return [samples[at : at + size].astype("<i2").tobytes() for at in range(0, len(samples), size)]


async def call(
    url: str, first: str, audio: Sequence[bytes], last: str | bytes, **options: Any
) -> tuple[list[dict[str, Any]], int | None]:
    """What a module receives in a call that is sent faster than real time, and the close code."""
    async with connect(url, max_size=None, **options) as socket:
        await socket.send(first)

        async def send() -> None:
            for frame in audio:
                await socket.send(frame)
            await socket.send(last)

        sending = asyncio.create_task(send())
        messages = [json.loads(message) async for message in socket]
        await sending
    return messages, socket.close_code


async def test_a_call_of_jambonz(server: Server) -> None:
    """The start message of mod_jambonz_transcribe, 8 kHz audio and stop: final results hold the words of the call, and
    the server closes.
    """
    sound = read_sound(DATA / "telephone_8k.wav")
    start = (
        '{"type":"start","language":"ru-RU","format":"raw","encoding":"LINEAR16","interimResults":true,'
        '"sampleRateHz":8000,"options":{"hints":["Максим"]}}'
    )
    messages, code = await call(
        server.ws_url.replace("/ws", "/jambonz"),
        start,
        frames(sound.samples, sound.rate),
        '{"type": "stop"}',
        compression=None,
        additional_headers={"Authorization": "Bearer none"},
    )
    assert code == 1000
    finals = [message["alternatives"][0] for message in messages if message["is_final"]]
    assert_says(" ".join(final["transcript"] for final in finals), TELEPHONE.text)
    assert all(0 < final["confidence"] <= 1 for final in finals)
    assert len(messages) > len(finals), "no interim result"


async def test_a_call_of_mod_audio_fork(server: Server) -> None:
    """Metadata, 8 kHz audio and the empty frame of graceful-shutdown: each utterance's text becomes an event."""
    sound = read_sound(DATA / "telephone_8k.wav")
    messages, code = await call(
        server.ws_url.replace("/ws", "/audio_fork?language=ru"),
        '{"to":"6173333456","from":"2061236666"}',
        frames(sound.samples, sound.rate),
        b"",
        compression=None,
        subprotocols=["audio.drachtio.org"],
    )
    assert code == 1000
    finals = [message["data"] for message in messages if message["data"]["is_final"]]
    assert_says(" ".join(final["text"] for final in finals), TELEPHONE.text)
    assert all(
        final["start"] <= word["start"] <= word["end"] <= final["end"] for final in finals for word in final["words"]
    )


async def test_a_stereo_call_of_mod_audio_stream(server: Server) -> None:
    """Caller and callee on one channel each at 16 kHz, with compression on offer: two labelled speakers."""
    both = np.zeros((max(len(PHRASE.samples), len(TELEPHONE.samples)), 2), np.float32)
    both[: len(PHRASE.samples), 0], both[: len(TELEPHONE.samples), 1] = PHRASE.samples, TELEPHONE.samples
    messages, code = await call(
        server.ws_url.replace("/ws", "/audio_fork?sample_rate=16000&channels=2&interim=false"),
        "any text",
        frames((both * 32767).astype(np.int16), 16_000),
        '{"type":"stop"}',
        compression="deflate",
    )
    assert code == 1000
    for channel, speaker in ((0, PHRASE), (1, TELEPHONE)):
        texts = [message["data"]["text"] for message in messages if message["data"]["channel"] == channel]
        assert_says(" ".join(texts), speaker.text)
