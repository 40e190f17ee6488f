"""A channel whose client sends pieces of a media file."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.audio.test_stream_container import record, wait_for_threads
from whisperlivekit.errors import BadAudio, MessageTooBig
from whisperlivekit.server.connection import Disconnected
from whisperlivekit.server.media import media_channel
from whisperlivekit.wire.adapter import MAX_MESSAGE_BYTES, Message

pytestmark = pytest.mark.anyio

END = "end"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Client:
    """A Channel whose client sends the given messages and disconnects."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = [*messages]
        self.sent: list[Message] = []
        self.closed = (0, "")

    async def receive(self) -> Message:
        if not self._messages:
            raise Disconnected
        return self._messages.pop(0)

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)


async def received(messages: Sequence[Message], channels: int = 1) -> list[Message]:
    """What an adapter gets of these messages."""
    found: list[Message] = []
    with media_channel(Client(messages), lambda message: message == END, channels) as channel:
        try:
            while True:
                found.append(await channel.receive())
        except Disconnected:
            pass
    wait_for_threads()
    return found


def audio(found: Sequence[Message]) -> NDArray[np.float32]:
    """The samples in the binary messages."""
    return np.frombuffer(b"".join(message for message in found if isinstance(message, bytes)), "<f4")


async def test_audio_and_text_come_in_order() -> None:
    """Text between two pieces comes after the audio of the first one; the end comes after the rest of the audio."""
    pieces = record("ogg", 1.0)
    found = await received([*pieces[:4], "text", *pieces[4:], END, "after", b"ignored"])
    assert [message for message in found if isinstance(message, str)] == ["text", END, "after"]
    until, rest = found[: found.index("text")], found[found.index("text") + 1 : found.index(END)]
    before, after = (
        np.frombuffer(b"".join(message for message in part if isinstance(message, bytes)), "<f4")
        for part in (until, rest)
    )
    assert len(before) / 16_000 == pytest.approx(0.4, abs=0.15)
    assert (len(before) + len(after)) / 16_000 == pytest.approx(1.0, abs=0.05)
    assert 0.1 < np.abs(after).max() < 0.4
    assert found[-1] == "after"


async def test_channels_are_interleaved() -> None:
    """As in raw audio of so many channels."""
    wav = record("wav", 0.2)
    head = bytearray(b"".join(wav))
    # The same samples as two channels of half the length.
    head[22:24], head[32:34] = (2).to_bytes(2, "little"), (4).to_bytes(2, "little")
    found = await received([bytes(head), END], channels=2)
    samples = audio(found).reshape(-1, 2)
    assert len(samples) / 16_000 == pytest.approx(0.1, abs=0.01)
    assert np.abs(samples).max() > 0.2
    assert np.abs(samples[:, 0] - samples[:, 1]).max() < 0.05


async def test_sending_and_closing_are_passed_on() -> None:
    client = Client([])
    with media_channel(client, lambda message: message == END) as channel:
        await channel.send("text")
        await channel.close(1000, "bye")
    assert (client.sent, client.closed) == (["text"], (1000, "bye"))


async def test_mistakes() -> None:
    """What is no media file, and a piece that is longer than a message may be."""
    with pytest.raises(BadAudio, match="begins with 78 78 78 78"):
        await received([b"x" * 100])
    with pytest.raises(MessageTooBig, match=f"{MAX_MESSAGE_BYTES + 1} bytes"):
        await received([bytes(MAX_MESSAGE_BYTES + 1)])


async def test_a_cancelled_reader_leaves_no_thread() -> None:
    """A connection may end at any time."""
    with media_channel(Client(record("webm")), lambda message: message == END) as channel:
        reading = asyncio.create_task(channel.receive())
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    wait_for_threads()
