"""Random and damaged forms for OpenAI's HTTP API, in one process without sockets: no fault, no hang, no growth.

The tests send a few hundred; to send more: ``venv/bin/python -m tests.fuzz.forms 100000``.
"""

import asyncio
import gc
import io
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import numpy as np
import psutil
import soundfile

from whisperlivekit.engine.scripted import ScriptedEngine
from whisperlivekit.server.app import create_app
from whisperlivekit.server.service import Service
from whisperlivekit.settings.declarations import Settings

GROWTH = 60e6
"""Bytes that a run may leave in caches of libraries, however many forms it sends."""

WARM = 100
"""Forms after which those caches are filled."""

AT_ONCE = 4
WITHIN_S = 20.0
PATHS = ("/v1/audio/transcriptions", "/v1/audio/translations", "/v1/models", "/v1/models/base")
NAMES = (
    "file", "model", "language", "languages[]", "prompt", "response_format", "temperature", "stream", "keywords[]",
    "keywords", "hotwords", "timestamp_granularities[]", "include[]", "chunking_strategy", "chunking_strategy[type]",
    "known_speaker_names[]", "\r\n", "", "file[]",
)  # fmt: skip
VALUES = (
    "", "ru", "auto", "true", "false", "json", "text", "srt", "vtt", "verbose_json", "word", "segment", "0.2", "-1",
    "null", "{}", "я" * 2_000, "a," * 300, "\x00", "\u2028", "<|endoftext|>", "999999999999999999999", "x" * 20_000,
)  # fmt: skip


def sound() -> bytes:
    """A WAV file of half a second that the scripted engine takes for speech."""
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.3 * np.sin(np.arange(8_000) / 3), 16_000, format="WAV")
    return buffer.getvalue()


SOUND = sound()


class Form(NamedTuple):
    """A request."""

    method: str
    path: str
    headers: dict[str, str]
    content: bytes


def forms(seed: int) -> Iterator[Form]:
    """One request after the other: half of them whole forms, half damaged."""
    chance = random.Random(seed)
    while True:
        boundary = chance.choice(["x", "boundary", "--", "a b"])
        parts = [_part(chance, chance.choice(NAMES)) for _ in range(chance.choice([0, 1, 2, 4, 8, 40, 250]))]
        if chance.random() < 0.7:
            parts.insert(chance.randrange(len(parts) + 1), _part(chance, "file"))
        body = b"".join(b"--" + boundary.encode() + b"\r\n" + part for part in parts)
        body += b"--" + boundary.encode() + b"--\r\n"
        if chance.random() < 0.5:
            body = _damaged(chance, body)
        whole = f"multipart/form-data; boundary={boundary}"
        kind = chance.choice([*[whole] * 8, "multipart/form-data", "text/plain", ""])
        path = chance.choice([*PATHS[:2] * 5, *PATHS, f"/v1/models/{chance.randbytes(3).hex()}"])
        method = chance.choice(["POST"] * 9 + ["GET"]) if "audio" in path else "GET"
        yield Form(method, path, {"content-type": kind} if kind else {}, body)


def _part(chance: random.Random, name: str) -> bytes:
    if name == "file" and chance.random() < 0.8:
        head, content = f'name="{name}"; filename="a.wav"', SOUND
        if chance.random() < 0.4:
            content = _damaged(chance, content)
    else:
        head, content = f'name="{name}"', chance.choice(VALUES).encode()
        if chance.random() < 0.2:
            content = chance.randbytes(chance.randrange(50))
    return f"Content-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n"


def _damaged(chance: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.randrange(1, 9)):
        if changed:
            changed[chance.randrange(min(len(changed), 400))] = chance.randrange(256)
    return bytes(changed[: chance.randrange(len(changed) + 1)] if chance.random() < 0.3 else changed)


async def send(count: int, seed: int = 0) -> Counter[int]:
    """Send so many forms; how often each status came.

    Raises:
        AssertionError: an answer is not what it must be, or something is left when all are answered.
        TimeoutError: an answer does not come.
    """
    engine = ScriptedEngine()
    app = create_app(Settings(model="base", max_sessions=AT_ONCE), lambda _: engine, page=None)
    service: Service = app.state.service
    await service.load()
    source = forms(seed)
    statuses: Counter[int] = Counter()
    process = psutil.Process()
    before = 0
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        done = 0
        while done < count:
            batch = [next(source) for _ in range(min(AT_ONCE, count - done))]
            async with asyncio.timeout(WITHIN_S):
                answers = await asyncio.gather(
                    *(
                        client.request(form.method, form.path, headers=form.headers, content=form.content)
                        for form in batch
                    )
                )
            for one, answer in zip(batch, answers, strict=True):
                _check(one, answer)
                statuses[answer.status_code] += 1
            done += len(batch)
            engine.requests.clear()
            if done <= WARM < done + AT_ONCE:
                gc.collect()
                before = process.memory_info().rss
    assert service.streams == service.admission.open_streams == len(service.uploads) == 0
    gc.collect()
    grown = process.memory_info().rss - before
    assert count <= WARM or grown < GROWTH, f"grew by {grown / 1e6:.0f} MB in {count} forms"
    return statuses


def _check(one: Form, answer: httpx.Response) -> None:
    status = answer.status_code
    assert status == 200 or 400 <= status < 500, f"{status} for {one}: {answer.text}"
    assert "Traceback" not in answer.text
    if status >= 400 and status != 405 and answer.headers["content-type"] == "application/json":
        body = json.loads(answer.text)
        assert body.get("error", body)["message"], f"no message for {one}: {body}"


def main() -> None:
    """Send as many forms as the first argument says; the second is the seed."""
    count, seed = (*map(int, sys.argv[1:]), 0, 0)[:2]
    began_s = time.monotonic()
    statuses = asyncio.run(send(count, seed))
    print(f"{count} forms in {time.monotonic() - began_s:.0f} s: {dict(sorted(statuses.items()))}")


if __name__ == "__main__":
    main()
