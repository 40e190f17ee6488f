"""A streaming client that records what a user would have seen, and when.

What differs between servers is a `Dialect`, which does no IO; `play` drives any of them in real time or as fast as
the server takes the audio. Our own dialect also continues a stream whose connection was lost.
"""

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from benchmarks.g711 import mulaw_encode
from benchmarks.scoring import Snapshot

Message = str | bytes

SERVER_RATE = 16_000
"""Samples a second in which our server counts positions."""
MILLISECOND = SERVER_RATE // 1000
CONTEXT = 500
"""Characters of earlier text that go with a resumed stream. Source: docs/protocol.md."""
BACKLOG_S = 600.0
"""Audio that a client keeps for a connection that may come back; an older part of a longer outage is lost."""
RETRIED = frozenset({"shutting_down", "server_full", "model_unavailable", "decode_failed", "internal_error"})
"""Errors after which the same stream may go on elsewhere. Source: docs/protocol.md."""


class StreamFailed(Exception):
    """The server refused or gave up the stream; ``code`` is the protocol's error code or the close code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Sound:
    """What is played: one channel of 16-bit samples."""

    samples: NDArray[np.int16]
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


def read_sound(path: Path) -> Sound:
    """Any file that libsndfile reads, mixed down to one channel."""
    samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    mono: NDArray[np.int16] = samples.mean(axis=1).astype(np.int16)
    return Sound(mono, int(rate))


@dataclass(slots=True)
class Recording:
    """What one session saw; times in seconds since the first audio byte was sent."""

    snapshots: list[Snapshot] = field(default_factory=list)
    """One for each change of the text."""
    events: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    """Every JSON message of the server, on all connections."""
    finished_s: float = 0.0
    """When the server said that everything was done."""
    losses: list[tuple[float, str]] = field(default_factory=list)
    """When a connection was lost, and the close code or error code it was lost with."""
    began: float = 0.0
    """When the first audio was sent, on the event loop's clock."""

    @property
    def committed(self) -> str:
        return self.snapshots[-1].committed if self.snapshots else ""

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [event for _, event in self.events if event.get("type") == kind]


class Dialect(Protocol):
    """One server's way of speaking, for one stream."""

    committed: str
    partial: str
    ready: bool
    """Audio may be sent on this connection."""
    over: bool
    """Everything was received."""

    def opening(self) -> Sequence[Message]:
        """What to send when a connection opens, the first one or a later one."""
        ...

    def position_s(self) -> float | None:
        """From where in the stream audio goes on after a lost connection; None: this server cannot."""
        ...

    def skip_to(self, position_s: float) -> dict[str, Any] | None:
        """The audio before it is not there any more; the gap this makes, as an event. Only where it can resume."""
        ...

    def audio(self, samples: NDArray[np.int16]) -> Message: ...

    def closing(self) -> Sequence[Message]:
        """What to send after the last audio."""
        ...

    def receive(self, message: dict[str, Any]) -> None:
        """Takes a message of the server.

        Raises:
            StreamFailed: it is an error.
        """
        ...


class Native:
    """Our protocol, see docs/protocol.md."""

    def __init__(self, rate: int, **options: Any) -> None:
        """``options``: further fields of ``start``; ``encoding`` may be "mulaw"."""
        self.committed = ""
        self.partial = ""
        self.ready = False
        self.over = False
        self.kept_from = 0
        self.draining = False
        self._options = {"encoding": "pcm_s16le", "sample_rate": rate, **options}
        self._session: str | None = None
        self._words: list[dict[str, Any]] = []
        self._context = ""

    def opening(self) -> Sequence[Message]:
        self.ready = False
        start: dict[str, Any] = {"type": "start", **self._options}
        if self._session is not None:
            self.partial = ""
            start["resume"] = {
                "session": self._session,
                "position": self.kept_from,
                "words": self._words,
                "context": self._context,
            }
        return [json.dumps(start, ensure_ascii=False)]

    def position_s(self) -> float | None:
        return self.kept_from / SERVER_RATE

    def skip_to(self, position_s: float) -> dict[str, Any] | None:
        position = round(position_s * SERVER_RATE)
        if position <= self.kept_from:
            return None
        start = max(self.kept_from / SERVER_RATE, self._words[-1]["end"] if self._words else 0.0)
        self._session = self._session or "unknown"
        self._forget_before(position)
        gap = {"type": "gap", "start": start, "end": position_s, "reason": "resume_lost", "kept_from": position}
        return gap if start < position_s else None

    def audio(self, samples: NDArray[np.int16]) -> Message:
        if self._options["encoding"] == "mulaw":
            return mulaw_encode(samples.astype(np.float32) / np.float32(32768)).tobytes()
        return samples.astype("<i2").tobytes()

    def closing(self) -> Sequence[Message]:
        return [json.dumps({"type": "stop"})]

    def receive(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "ready":
                self._session = self._session or message["session"]
                self.ready = True
            case "partial":
                self.partial = message["text"]
            case "committed":
                self.committed += message["text"]
                self.partial = ""
                self._words += _with_spaces(message["text"], message["words"])
            case "draining":
                self.draining = True
            case "error":
                raise StreamFailed(message["code"], message["message"])
            case "done":
                self.partial = ""
                self.over = True
        if "kept_from" in message:
            self._forget_before(message["kept_from"])

    def _forget_before(self, position: int) -> None:
        if position < self.kept_from:
            raise StreamFailed("protocol", f"kept_from went back from {self.kept_from} to {position}")
        self.kept_from = position
        # Times are told in milliseconds: a word that ends there may seem to end half of one later.
        while self._words and round(self._words[0]["end"] * SERVER_RATE) <= position + MILLISECOND // 2:
            self._context = (self._context + self._words.pop(0)["text"])[-CONTEXT:]


def _with_spaces(text: str, words: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The words with the spaces that stand before them in the text."""
    spaced = []
    at = 0
    for word in words:
        end = text.index(word["text"], at) + len(word["text"])
        spaced.append({**word, "text": text[at:end]})
        at = end
    return spaced


class WhisperLiveKit:
    """The ``/asr`` socket of WhisperLiveKit 0.2 with raw PCM input (its option ``--pcm-input``)."""

    def __init__(self) -> None:
        self.committed = ""
        self.partial = ""
        self.ready = False
        self.over = False

    def opening(self) -> Sequence[Message]:
        return []

    def position_s(self) -> float | None:
        return None

    def skip_to(self, position_s: float) -> dict[str, Any] | None:  # noqa: ARG002
        return None

    def audio(self, samples: NDArray[np.int16]) -> Message:
        return samples.astype("<i2").tobytes()

    def closing(self) -> Sequence[Message]:
        return [b""]

    def receive(self, message: dict[str, Any]) -> None:
        match message.get("type"):
            case "config":
                self.ready = True
            case "ready_to_stop":
                self.over = True
            case _:
                if message.get("error"):
                    raise StreamFailed("error", str(message["error"]))
                spoken = [line["text"] or "" for line in message.get("lines", []) if line.get("speaker") != -2]
                self.committed = " ".join(text.strip() for text in spoken)
                buffer = message.get("buffer_transcription") or ""
                self.partial = f" {buffer}" if buffer else ""


async def play(
    url: str,
    dialect: Dialect,
    sound: Sound,
    *,
    pace: float | None = 1.0,
    chunk_s: float = 0.04,
    reconnections: int = 0,
    outage_s: float = 30.0,
    backlog_s: float = BACKLOG_S,
    ping_s: float | None = None,
    patience_s: float = 120.0,
    on_connection: Callable[[int], None] | None = None,
) -> Recording:
    """Plays the sound to the server and records what comes back.

    Each chunk is sent at its own time counted from the first one, so that a late one does not delay the rest.

    ``pace`` is in times real time; None sends as fast as the server takes it. A lost connection is replaced up to
    ``reconnections`` times, where the dialect can resume: attempts go on, with growing and spread waits, until
    ``outage_s`` after the loss. ``ping_s``: ping this often, and give a connection up that does not answer for as long;
    None: never. ``patience_s`` is how long to wait for the server's next message once all audio is sent.
    ``on_connection`` is told the local port of each connection, by which the server's process can be found.

    Raises:
        StreamFailed: refused, given up, or not over in time.
    """
    stream = _Stream(dialect, sound, pace, chunk_s, backlog_s)
    loop = asyncio.get_running_loop()
    losses = attempt = 0
    give_up = loop.time() + outage_s
    while True:
        dialect.ready = False
        try:
            async with connect(
                url,
                max_size=None,
                ping_interval=ping_s or 20,
                ping_timeout=ping_s,
                open_timeout=min(outage_s, 10),
                close_timeout=2,
                compression=None,
            ) as socket:
                if on_connection:
                    on_connection(socket.local_address[1])
                await stream.run(socket, patience_s)
                return stream.recording
        except (ConnectionClosed, InvalidMessage, InvalidStatus, OSError, TimeoutError, StreamFailed) as error:
            failure = _told(error)
            if dialect.ready:
                losses += 1
                attempt = 0
                give_up = loop.time() + outage_s
                stream.recording.losses.append((stream.now(), failure.code))
            hopeless = not _may_pass(error) or dialect.position_s() is None
            if hopeless or not reconnections or losses > reconnections or loop.time() > give_up:
                raise failure from error
        await asyncio.sleep(_delay_s(failure.code, attempt))
        attempt += 1


def _told(error: Exception) -> StreamFailed:
    match error:
        case StreamFailed():
            return error
        case ConnectionClosed(rcvd=close):
            return StreamFailed(str(close.code if close else 1006), "connection lost before the end")
        case InvalidStatus(response=response):
            return StreamFailed(str(response.status_code), "refused")
        case _:
            return StreamFailed("no_server", str(error) or type(error).__name__)


def _may_pass(error: Exception) -> bool:
    """The same stream may go on over another connection."""
    match error:
        case StreamFailed(code=code):
            return code in RETRIED
        case ConnectionClosed(rcvd=close) if close is not None:
            return close.code not in {1003, 1007, 1008, 1009}
        case InvalidStatus(response=response):
            return response.status_code in {502, 503, 504}
        case _:
            return True


def _delay_s(code: str, attempt: int) -> float:
    """As the page waits: growing, and spread, so that the clients of a server that comes back do not come at once."""
    spread = random.random()
    if attempt == 0 and code in {"shutting_down", "1012"}:
        return spread * 0.5
    first, most = (3.0, 20.0) if code == "server_full" else (0.5, 10.0)
    return float(min(most, first * 2 ** min(attempt, 10)) * (0.5 + spread / 2))


class _Stream:
    def __init__(self, dialect: Dialect, sound: Sound, pace: float | None, chunk_s: float, backlog_s: float) -> None:
        self.recording = Recording()
        self._backlog_s = backlog_s
        self._dialect = dialect
        self._sound = sound
        self._pace = pace
        self._chunk = round(chunk_s * sound.rate)
        self._began: float | None = None

    def now(self) -> float:
        """Seconds since the first audio was sent."""
        return 0.0 if self._began is None else asyncio.get_running_loop().time() - self._began

    async def run(self, socket: ClientConnection, patience_s: float) -> None:
        """One connection, from the start or where the last one was lost.

        Raises:
            ConnectionClosed: it is lost too.
            StreamFailed: the server said so, or says nothing.
        """
        if self._pace is not None:
            spoken_s = min(self.now() * self._pace, self._sound.seconds)
            if gap := self._dialect.skip_to(spoken_s - self._backlog_s):
                self.recording.events.append((self.now(), gap))
        for message in self._dialect.opening():
            await socket.send(message)
        while not self._dialect.ready:
            self._take(await asyncio.wait_for(socket.recv(), patience_s))
        sender = asyncio.create_task(self._send(socket))
        try:
            await self._receive(socket, sender, patience_s)
        finally:
            sender.cancel()
            # Its failure is the receiver's too: both see the lost connection, and the receiver tells of it.
            await asyncio.gather(sender, return_exceptions=True)

    async def _receive(self, socket: ClientConnection, sender: asyncio.Task[None], patience_s: float) -> None:
        while not self._dialect.over:
            receiving = asyncio.ensure_future(socket.recv())
            if not sender.done():
                await asyncio.wait({receiving, sender}, return_when=asyncio.FIRST_COMPLETED)
            if sender.done() and not isinstance(sender.exception(), ConnectionClosed | None):
                receiving.cancel()
                sender.result()
            try:
                self._take(await asyncio.wait_for(receiving, patience_s))
            except TimeoutError:
                raise StreamFailed("timed_out", f"nothing came for {patience_s} s after the last audio") from None
        self.recording.finished_s = self.now()

    async def _send(self, socket: ClientConnection) -> None:
        loop = asyncio.get_running_loop()
        if self._began is None:
            self._began = self.recording.began = loop.time()
        first = round((self._dialect.position_s() or 0.0) * self._sound.rate)
        for at in range(first, len(self._sound.samples), self._chunk):
            if self._pace is not None:
                due = self._began + at / self._sound.rate / self._pace
                if (wait_s := due - loop.time()) > 0:
                    await asyncio.sleep(wait_s)
            await socket.send(self._dialect.audio(self._sound.samples[at : at + self._chunk]))
        if self._pace is not None:
            # The last chunk's audio is over only when it has been spoken.
            await asyncio.sleep(max(0.0, self._began + self._sound.seconds / self._pace - loop.time()))
        for message in self._dialect.closing():
            await socket.send(message)

    def _take(self, text: Message) -> None:
        message: dict[str, Any] = json.loads(text)
        now = self.now()
        self.recording.events.append((now, message))
        self._dialect.receive(message)
        snapshot = Snapshot(now, self._dialect.committed, self._dialect.partial)
        last = self.recording.snapshots[-1] if self.recording.snapshots else Snapshot(0.0, "", "")
        if (last.committed, last.partial) != (snapshot.committed, snapshot.partial):
            self.recording.snapshots.append(snapshot)
