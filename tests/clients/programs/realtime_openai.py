# mypy: ignore-errors
"""openai's Realtime client: streams raw audio of 24 kHz at twice the speed of speech, and prints what came back.

    python realtime_openai.py http://HOST:PORT/v1 AUDIO.s16le server_vad|client

With "client", the client commits once, at the end.
"""

import asyncio
import base64
import json
import sys
from pathlib import Path

from openai import AsyncOpenAI

RATE = 24_000
CHUNK = RATE // 10 * 2
"""Bytes of 0.1 s."""

BUFFER = "input_audio_buffer"
TRANSCRIPTION = "conversation.item.input_audio_transcription"


class Session:
    def __init__(self, audio: bytes, turns: str) -> None:
        self.audio = audio
        self.turns = turns
        self.open = set()
        """The items that are not complete."""
        self.complete = asyncio.Event()
        """None of them is left."""
        self.found = {"kinds": [], "deltas": {}, "transcripts": [], "close_codes": []}

    async def send(self, connection) -> None:
        """The audio, then silence or a commit; when everything is complete, the connection is closed."""
        chunks = [self.audio[at : at + CHUNK] for at in range(0, len(self.audio), CHUNK)]
        for chunk in chunks + [bytes(CHUNK)] * (15 if self.turns == "server_vad" else 0):
            await connection.input_audio_buffer.append(audio=base64.b64encode(chunk).decode())
            await asyncio.sleep(0.05)
        if self.turns == "client":
            await connection.input_audio_buffer.commit()
        await self.complete.wait()
        await connection.close()

    def receive(self, event) -> None:
        self.found["kinds"].append(event.type)
        if event.type in {f"{BUFFER}.speech_started", f"{BUFFER}.committed"}:
            self.open.add(event.item_id)
            self.complete.clear()
        elif event.type == f"{TRANSCRIPTION}.delta":
            self.found["deltas"][event.item_id] = self.found["deltas"].get(event.item_id, "") + event.delta
        elif event.type == f"{TRANSCRIPTION}.completed":
            self.open.discard(event.item_id)
            if not self.open:
                self.complete.set()
            self.found["transcripts"].append(event.transcript)
            self.found["usage"] = event.usage.model_dump()
        elif event.type == "error":
            raise RuntimeError(event.error.message)

    def reconnect(self, event) -> None:
        """The connection is lost: openai's client makes another one, and the session must be configured again."""
        self.found["close_codes"].append(event.close_code)
        self.open.clear()


async def main(url: str, audio: bytes, turns: str) -> None:
    client = AsyncOpenAI(base_url=url, api_key="none")
    session = Session(audio, turns)
    connecting = client.realtime.connect(extra_query={"intent": "transcription"}, on_reconnecting=session.reconnect)
    sending = None
    async with connecting as connection:
        async for event in connection:
            session.receive(event)
            if event.type == "session.created":
                await configure(connection, turns)
            elif event.type == "session.updated":
                session.found["session"] = event.session.model_dump()
                sending = sending or asyncio.create_task(session.send(connection))
        await sending
    session.found["deltas"] = list(session.found["deltas"].values())
    print(json.dumps(session.found, ensure_ascii=False))


async def configure(connection, turns: str) -> None:
    await connection.session.update(
        session={
            "type": "transcription",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": RATE},
                    "transcription": {"model": "gpt-4o-transcribe", "language": "ru"},
                    "turn_detection": {"type": "server_vad"} if turns == "server_vad" else None,
                }
            },
        }
    )


if __name__ == "__main__":
    address, path, mode = sys.argv[1:]
    asyncio.run(main(address, Path(path).read_bytes(), mode))
