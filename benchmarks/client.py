"""A streaming client that records which text a user would have seen, and when.

A ``Dialect`` is the protocol of one server; it does no IO. ``play`` runs a stream with any dialect, at a multiple of
real time or as fast as the server accepts the audio. Where the dialect can resume a stream, ``play`` reconnects after a
lost connection. All times are in seconds.

Long because reconnecting, pacing and what a dialect has received depend on each other.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidMessage, InvalidStatus

from benchmarks.frames import SCHEME, open_frames
from benchmarks.g711 import mulaw_encode
from benchmarks.scoring import Snapshot

Message = str | bytes

SERVER_RATE = 16_000
"""Our server counts positions in samples at this rate, whatever the rate of the audio."""
MILLISECOND = SERVER_RATE // 1000
BACKLOG_S = 600.0
"""Length of the audio that a client keeps during an outage, as the page does. Older audio is lost."""
RETRIED = frozenset({"shutting_down", "server_full", "model_unavailable", "decode_failed", "internal_error"})
"""Error codes after which a client may resume the stream on a new connection. Source: docs/protocol.md."""


class StreamFailed(Exception):
    """The server refused or ended the stream. ``code`` is the protocol's error code, the WebSocket's close code or the
    HTTP status.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Sound:
    """The audio to play: one channel of 16-bit samples."""

    samples: NDArray[np.int16]
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


def read_sound(path: Path) -> Sound:
    """Read any file that libsndfile reads, mixed down to one channel, at the file's own rate."""
    samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    mono: NDArray[np.int16] = samples.mean(axis=1).astype(np.int16)
    return Sound(mono, int(rate))


@dataclass(slots=True)
class Recording:
    """What one session received. Times are in seconds since the first audio byte was sent."""

    snapshots: list[Snapshot] = field(default_factory=list)
    """One for each change of the text."""
    events: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    """Every JSON message of the server, on all connections."""
    finished_s: float = 0.0
    """When the server reported the end of the stream."""
    losses: list[tuple[float, str]] = field(default_factory=list)
    """The time of each lost connection, with its close code or error code."""
    began: float = 0.0
    """When the first audio byte was sent, on the event loop's clock."""

    @property
    def committed(self) -> str:
        return self.snapshots[-1].committed if self.snapshots else ""

    @property
    def refined(self) -> str:
        """The committed text, with what was refined in place of it."""
        if not self.of_type("refined"):
            return self.committed
        refined, waiting = "", []
        for _, event in self.events:
            match event:
                case {"type": "committed", "text": text, "words": words}:
                    waiting += _with_spaces(text, words)
                case {"type": "refined", "text": text, "replaces": count}:
                    refined += text
                    del waiting[:count]
        return refined + "".join(word["text"] for word in waiting)

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [event for _, event in self.events if event.get("type") == kind]


class Dialect(Protocol):
    """The protocol of one server, for one stream."""

    committed: str
    partial: str
    ready: bool
    """The server accepts audio on this connection."""
    over: bool
    """The stream has ended and everything was received."""

    def opening(self) -> Sequence[Message]:
        """The messages to send when a connection has opened, the first one or a later one."""
        ...

    def position_s(self) -> float | None:
        """The position in the stream from which to send audio after a lost connection; None: streams cannot resume."""
        ...

    def skip_to(self, position_s: float) -> dict[str, Any] | None:
        """Drop the audio before ``position_s``, which the client no longer has.

        Returns:
            The gap in the transcript as an event, or None where nothing is missing.
        """
        ...

    def audio(self, samples: NDArray[np.int16]) -> Message: ...

    def closing(self) -> Sequence[Message]:
        """The messages to send after the last audio."""
        ...

    def receive(self, message: dict[str, Any]) -> None:
        """Process a message from the server. ``{"type": "closed"}`` is the server's close frame, with code 1000, after
        everything was sent: in some protocols nothing else ends a stream.

        Raises:
            StreamFailed: the message reports an error, or breaks the protocol.
        """
        ...


class Socket(Protocol):
    """What a stream needs of a connection."""

    @property
    def local_address(self) -> Any:
        """Host and port of this end."""
        ...

    async def send(self, message: Message) -> None: ...

    async def recv(self) -> Message: ...


class Native:
    """Our own protocol, described in docs/protocol.md."""

    def __init__(self, rate: int, **options: Any) -> None:
        """``rate``: of the audio, in Hz. ``options``: further fields of ``start``; ``encoding`` may be "mulaw"."""
        self.committed = ""
        self.partial = ""
        self.ready = False
        self.over = False
        self.kept_from = 0
        self.live_from: int | None = None
        """Only if the stream is refined."""
        self.draining = False
        self._options = {"encoding": "pcm_s16le", "sample_rate": rate, **options}
        self._session: str | None = None
        self._words: list[dict[str, Any]] = []
        """What to bring when the stream resumes: the words after ``kept_from`` or, if it is refined, those that were
        not."""

    def opening(self) -> Sequence[Message]:
        self.ready = False
        start: dict[str, Any] = {"type": "start", **self._options}
        if self._session is not None or self.kept_from:
            self.partial = ""
            start["resume"] = {"position": self.kept_from, "words": self._words}
            if self._session is not None:
                start["resume"]["session"] = self._session
            if self.live_from is not None:
                start["resume"]["live_from"] = self.live_from
        return [json.dumps(start, ensure_ascii=False)]

    def position_s(self) -> float | None:
        return self.kept_from / SERVER_RATE

    def skip_to(self, position_s: float) -> dict[str, Any] | None:
        position = round(position_s * SERVER_RATE)
        if position <= self.kept_from:
            return None
        start = max(self.kept_from / SERVER_RATE, self._words[-1]["end"] if self._words else 0.0)
        self._forget_before(position)
        self._drop_words(position)
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
            case "refined":
                if message["replaces"] > len(self._words):
                    raise StreamFailed("protocol", f"{message['replaces']} words refined, expected {len(self._words)}")
                del self._words[: message["replaces"]]
            case "draining":
                self.draining = True
            case "error":
                raise StreamFailed(message["code"], message["message"])
            case "done":
                self.partial = ""
                self.over = True
        if "kept_from" in message:
            self._forget_before(message["kept_from"])
            self.live_from = message.get("live_from")
            if self.live_from is None:
                self._drop_words(self.kept_from)

    def _forget_before(self, position: int) -> None:
        if position < self.kept_from:
            raise StreamFailed("protocol", f"kept_from is {position}, expected at least {self.kept_from} as before")
        self.kept_from = position

    def _drop_words(self, position: int) -> None:
        # Word times are rounded to milliseconds: a word that ends at the position may seem to end 0.5 ms after it.
        while self._words and round(self._words[0]["end"] * SERVER_RATE) <= position + MILLISECOND // 2:
            self._words.pop(0)


def _with_spaces(text: str, words: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The words, each with the spaces that precede it in the text."""
    spaced = []
    at = 0
    for word in words:
        end = text.index(word["text"], at) + len(word["text"])
        spaced.append({**word, "text": text[at:end]})
        at = end
    return spaced


class OneConnection:
    """What the dialects of protocols share that cannot resume a stream: it ends with its connection. Audio is sent as
    16-bit samples.
    """

    def __init__(self) -> None:
        self.committed = ""
        self.partial = ""
        self.ready = False
        self.over = False

    def position_s(self) -> float | None:
        """See ``Dialect``: streams cannot resume."""
        return None

    def skip_to(self, position_s: float) -> dict[str, Any] | None:  # noqa: ARG002  (the interface)
        """See ``Dialect``: nothing is missing."""
        return None

    def audio(self, samples: NDArray[np.int16]) -> Message:
        """See ``Dialect``."""
        return samples.astype("<i2").tobytes()


class WhisperLiveKit(OneConnection):
    """The ``/asr`` socket of WhisperLiveKit 0.2 with raw PCM input (its option ``--pcm-input``)."""

    def opening(self) -> Sequence[Message]:
        return []

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
    """Play the sound to the server and record the answers.

    Each chunk has a time of its own, counted from the first one, so a chunk that is sent late does not delay the rest.

    Args:
        url: of the WebSocket; or tcp://HOST:PORT, for a protocol that has frames of its own.
        dialect: the server's protocol; a new object for each stream.
        sound: the audio.
        pace: 1 is real time; None sends as fast as the server accepts.
        chunk_s: length of the audio in one message.
        reconnections: how many lost connections to replace, where the dialect can resume.
        outage_s: how long to try after each loss, with growing random waits.
        backlog_s: length of the audio that is kept for a resumed stream.
        ping_s: interval of pings, and how long to wait for the answer to one; None: websockets' default interval, and
            no limit.
        patience_s: how long to wait for the next message once all audio is sent.
        on_connection: called with the local port of each connection, by which the server's process can be found.

    Raises:
        StreamFailed: the server refused or ended the stream, the connection was lost for good, or the server sent
            nothing for ``patience_s``.
    """
    stream = _Stream(dialect, sound, pace, chunk_s, backlog_s)
    loop = asyncio.get_running_loop()
    losses = attempt = 0
    give_up = loop.time() + outage_s
    while True:
        dialect.ready = False
        try:
            async with _open(url, ping_s, min(outage_s, 10)) as socket:
                if on_connection:
                    on_connection(socket.local_address[1])
                await stream.run(socket, patience_s)
                return stream.recording
        except (ConnectionClosed, InvalidMessage, InvalidStatus, OSError, TimeoutError, StreamFailed) as error:
            failure = _failure(error)
            if dialect.ready:
                losses += 1
                attempt = 0
                give_up = loop.time() + outage_s
                stream.recording.losses.append((stream.now(), failure.code))
            final = not _is_temporary(error) or dialect.position_s() is None
            if final or not reconnections or losses > reconnections or loop.time() > give_up:
                raise failure from error
        await asyncio.sleep(_delay_s(failure.code, attempt))
        attempt += 1


@asynccontextmanager
async def _open(url: str, ping_s: float | None, open_timeout: float) -> AsyncIterator[Socket]:
    if url.startswith(f"{SCHEME}:"):
        async with open_frames(url, open_timeout) as frames:
            yield frames
        return
    async with connect(
        url,
        max_size=None,
        ping_interval=ping_s or 20,
        ping_timeout=ping_s,
        open_timeout=open_timeout,
        close_timeout=2,
        compression=None,
    ) as socket:
        yield socket


def _failure(error: Exception) -> StreamFailed:
    match error:
        case StreamFailed():
            return error
        case ConnectionClosed(rcvd=close):
            return StreamFailed(str(close.code if close else 1006), "the connection was lost before the end")
        case InvalidStatus(response=response):
            return StreamFailed(str(response.status_code), "refused")
        case _:
            return StreamFailed("no_server", str(error) or type(error).__name__)


def _is_temporary(error: Exception) -> bool:
    """Whether the same stream may succeed on a new connection."""
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
    """The wait before the next attempt, as the page has it.

    It grows, and is random, so that the clients of a restarted server do not all connect at the same moment.
    """
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

    async def run(self, socket: Socket, patience_s: float) -> None:
        """Run one connection, from the beginning or from where the previous one was lost.

        Raises:
            ConnectionClosed: the connection was lost.
            StreamFailed: the server sent an error, or nothing in time.
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
            # A lost connection fails the sender and the receiver alike; the receiver reports it.
            await asyncio.gather(sender, return_exceptions=True)

    async def _receive(self, socket: Socket, sender: asyncio.Task[None], patience_s: float) -> None:
        while not self._dialect.over:
            receiving = asyncio.ensure_future(socket.recv())
            if not sender.done():
                await asyncio.wait({receiving, sender}, return_when=asyncio.FIRST_COMPLETED)
            if sender.done() and not isinstance(sender.exception(), ConnectionClosed | None):
                receiving.cancel()
                sender.result()
            try:
                self._take(await asyncio.wait_for(receiving, patience_s))
            except ConnectionClosedOK:
                if not sender.done():
                    raise
                self._dialect.receive({"type": "closed"})
                if not self._dialect.over:
                    raise
            except TimeoutError:
                raise StreamFailed("timed_out", f"the server sent nothing for {patience_s} s") from None
        self.recording.finished_s = self.now()

    async def _send(self, socket: Socket) -> None:
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
            # A live source knows that the audio has ended only when its last sample has been recorded.
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
