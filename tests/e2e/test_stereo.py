"""A stereo call to the whole server: Gunicorn, models and speech are real."""

import asyncio
import io
import json
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from websockets.asyncio.client import connect

from benchmarks.serving import Server
from tests.speech import Span, assert_says, assert_times, clip

pytestmark = [pytest.mark.anyio, pytest.mark.model, pytest.mark.slow]

RATE = 16_000
FIRST, SECOND = clip("prompts_24s"), clip("telephone_8k")
BEGINS_S = 2.0
"""When the second speaker begins: both speak at once for most of the call."""


def interleaved(first: NDArray[np.float32], second: NDArray[np.float32]) -> bytes:
    """Two channels of pcm_s16le, as long as the longer one."""
    both = np.zeros((max(len(first), len(second)), 2), np.float32)
    both[: len(first), 0], both[: len(second), 1] = first, second
    return (both.clip(-1, 1) * 32767).astype("<i2").tobytes()


async def call(url: str, audio: bytes) -> list[dict[str, Any]]:
    """All events of a stereo stream that is sent as fast as the server takes it."""
    async with connect(url, compression=None, max_size=None) as socket:
        await socket.send(json.dumps({"type": "start", "language": "ru", "channels": 2, "multichannel": True}))

        async def send() -> None:
            for at in range(0, len(audio), RATE):
                await socket.send(audio[at : at + RATE])
            await socket.send('{"type":"stop"}')

        sending = asyncio.create_task(send())
        events = [json.loads(message) async for message in socket]
        await sending
    return events


async def test_two_speakers_at_once_keep_their_words_apart(server: Server) -> None:
    """Two recordings, one on each channel: each channel's text is that of its own recording, with its own times,
    although both speak at the same time and share one model.
    """
    silence = np.zeros(round(BEGINS_S * RATE), np.float32)
    audio = interleaved(FIRST.samples, np.concatenate([silence, SECOND.samples]))
    events = await call(server.ws_url, audio)
    assert [events[0]["type"], events[-1]["type"]] == ["ready", "done"]
    length_s = len(audio) / 4 / RATE
    for channel, speaker, begins_s in ((0, FIRST, 0.0), (1, SECOND, BEGINS_S)):
        told = [event for event in events if event.get("channel") == channel]
        committed = [event for event in told if event["type"] == "committed"]
        assert_says("".join(event["text"] for event in committed), speaker.text)
        found = [Span(word["text"], word["start"], word["end"]) for event in committed for word in event["words"]]
        assert_times(found, speaker.words, audio_s=(0, length_s), shift_s=begins_s)
        kept = [event["kept_from"] for event in told if "kept_from" in event]
        assert kept == sorted(kept)
    assert events[-1]["audio_s"] == pytest.approx(length_s, abs=0.01)
    assert events[-1]["words"] == sum(len(event["words"]) for event in events if event["type"] == "committed")


async def test_a_stereo_recording_is_a_dialogue(server: Server) -> None:
    """The same call as a file: subtitles with the words of each speaker under his number."""
    buffer = io.BytesIO()
    silence = np.zeros(round(BEGINS_S * RATE), np.float32)
    call = interleaved(FIRST.samples, np.concatenate([silence, SECOND.samples]))
    soundfile.write(buffer, np.frombuffer(call, "<i2").reshape(-1, 2), RATE, format="FLAC")
    async with httpx.AsyncClient(timeout=120) as client:
        answer = await client.post(
            f"{server.url}/v1/audio/transcriptions",
            files={"file": ("call.flac", buffer.getvalue())},
            data={"multichannel": "true", "language": "ru", "response_format": "srt"},
        )
    assert answer.status_code == 200
    cues = [block.split("\n", 2) for block in answer.text.strip().split("\n\n")]
    assert [number for number, _, _ in cues] == [str(number) for number in range(1, len(cues) + 1)]
    assert [times for _, times, _ in cues] == sorted(times for _, times, _ in cues)
    for label, speaker in (("1: ", FIRST), ("2: ", SECOND)):
        assert_says(" ".join(text.removeprefix(label) for _, _, text in cues if text.startswith(label)), speaker.text)
