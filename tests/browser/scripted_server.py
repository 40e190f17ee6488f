"""A server without a model for the page's tests: it speaks docs/protocol.md and "recognises" a script.

The real server has browser tests of its own. This one produces what is hard to produce there: a full server, a
connection that is lost in the middle of a sentence, a draining worker, a model that is still loading.
"""

import asyncio
import json
import mimetypes
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

WEB = Path(__file__).parents[2] / "whisperlivekit" / "web"
RATE = 16_000
PARTIAL_DELAY_S = 0.3
COMMIT_DELAY_S = 1.0
SECURITY_POLICY = (
    "default-src 'self'; connect-src 'self' ws: wss:; style-src 'self'; script-src 'self'; worker-src 'self'"
)


@dataclass(frozen=True, slots=True)
class Visit:
    """How the server treats one connection."""

    error: tuple[str, int] | None = None
    """An error code and a close code, sent instead of ``ready``."""
    lose_at_s: float | None = None
    """Position in the stream at which the connection is cut, without a close frame."""
    drain_at_s: float | None = None
    """Position in the stream at which the worker drains: it commits what it has, then closes with 1012."""


@dataclass(slots=True)
class Record:
    """What one connection sent."""

    start: dict[str, Any] = field(default_factory=dict)
    received: int = 0
    """Samples."""
    stopped: bool = False


class ScriptedServer:
    """Serves the page and streams on 127.0.0.1, in a thread of its own; use it as a context.

    ``words`` is what every stream "hears": texts, and when each ends. The n-th connection gets the n-th of ``visits``,
    later connections the last one. A test may replace ``visits`` while the server runs.
    """

    def __init__(self, words: Sequence[tuple[str, float]], visits: Sequence[Visit] = (Visit(),), *, port: int = 0):
        self.words = [(text if index == 0 else f" {text}", end_s) for index, (text, end_s) in enumerate(words)]
        self.visits = list(visits)
        self.port = port
        self.records: list[Record] = []
        self.loading = False
        """The model is not loaded yet: no WebSocket is accepted, and ``/ready`` says why."""
        self.key = ""
        """Required of every WebSocket, as subprotocol after "token", and of a GET of its address. Empty: none."""
        self._started = threading.Event()
        self._transports: list[asyncio.WriteTransport] = []
        """Of all connections, from their first byte on."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._stopping: asyncio.Event

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10), "the scripted server did not start"
        return self

    def __exit__(self, *exception: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.run_until_complete(self._abandon())
        self._loop.close()

    async def _abandon(self) -> None:
        """End what is left: a browser opens connections ahead of use, which may be in their handshake now."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for transport in self._transports:
            transport.abort()
        await asyncio.sleep(0)  # a transport closes its socket in the next turn of the loop

    def _connection_class(self) -> type[ServerConnection]:
        transports = self._transports

        class Connection(ServerConnection):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                assert isinstance(transport, asyncio.WriteTransport)
                transports.append(transport)
                super().connection_made(transport)

        return Connection

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        server: Server
        async with serve(
            self._converse,
            "127.0.0.1",
            self.port,
            process_request=self._answer,
            select_subprotocol=lambda _, offered: next(iter(offered), None),
            compression=None,
            close_timeout=0.2,
            create_connection=self._connection_class(),
        ) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            self._started.set()
            await self._stopping.wait()
            for connection in server.connections:
                connection.transport.abort()

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        if path == "/ws":
            if self.loading:
                return _response(HTTPStatus.SERVICE_UNAVAILABLE, b'{"code": "model_unavailable"}', "application/json")
            if self.key and not self._has_key(request):
                return _response(HTTPStatus.UNAUTHORIZED, b'{"code": "unauthorized"}', "application/json")
            return None
        if path == "/ready":
            if self.loading:
                return _response(HTTPStatus.SERVICE_UNAVAILABLE, b'{"status": "loading"}', "application/json")
            return _response(HTTPStatus.OK, b'{"status": "ready"}', "application/json")
        file = (WEB / ("index.html" if path == "/" else path.lstrip("/"))).resolve()
        if not file.is_relative_to(WEB) or not file.is_file():
            return _response(HTTPStatus.NOT_FOUND, b"", "text/plain")
        return _response(HTTPStatus.OK, file.read_bytes(), mimetypes.guess_type(file.name)[0] or "text/plain")

    def _has_key(self, request: Request) -> bool:
        protocols = request.headers.get("Sec-WebSocket-Protocol", "").split(", ")
        return request.headers.get("Authorization") == f"Bearer {self.key}" or protocols == ["token", self.key]

    async def _converse(self, connection: ServerConnection) -> None:
        visit = self.visits[min(len(self.records), len(self.visits) - 1)]
        record = Record()
        self.records.append(record)
        with suppress(ConnectionClosed):
            await _Stream(connection, visit, record, self.words).run()


class _Stream:
    """One connection."""

    def __init__(
        self, connection: ServerConnection, visit: Visit, record: Record, words: Sequence[tuple[str, float]]
    ) -> None:
        self._connection = connection
        self._visit = visit
        self._record = record
        self._words = words
        self._seq = 0
        self._position = 0
        """Samples of the stream so far."""
        self._committed = 0
        """Number of committed words."""
        self._partial = ""
        self._progress_s = 0.0
        self._spoke = False

    async def run(self) -> None:
        self._record.start = json.loads(await self._connection.recv())
        if self._visit.error is not None:
            code, close_code = self._visit.error
            await self._send("error", code=code, message="from the script", session="scripted")
            await self._connection.close(close_code)
            return
        resume = self._record.start.get("resume")
        if resume is not None:
            self._position = resume["position"]
            known = [word["end"] for word in resume["words"]]
            settled_s = max([self._position / RATE, *known])
            self._committed = sum(end_s <= settled_s + 0.001 for _, end_s in self._words)
        await self._send(
            "ready",
            session="scripted",
            protocol=1,
            model="script",
            language=self._record.start.get("language"),
            position=self._position,
            max_message_bytes=1 << 20,
        )
        async for message in self._connection:
            if isinstance(message, bytes):
                await self._hear(len(message) // 2)
                if await self._leave():
                    return
            elif json.loads(message)["type"] == "stop":
                await self._finish()
                return

    async def _hear(self, samples: int) -> None:
        self._position += samples
        self._record.received += samples
        now_s = self._position / RATE
        if not self._spoke and self._words and now_s > self._words[0][1] - 0.5:
            self._spoke = True
            await self._send("speech_started", at=max(0.0, self._words[0][1] - 0.5))
        await self._commit([word for word in self._open() if word[1] <= now_s - COMMIT_DELAY_S])
        partial = "".join(text for text, end_s in self._open() if end_s <= now_s - PARTIAL_DELAY_S)
        if partial != self._partial:
            self._partial = partial
            end_s = max((end_s for _, end_s in self._open() if end_s <= now_s), default=now_s)
            await self._send("partial", text=partial, start=self._start_s(self._committed), end=end_s)
        if now_s - self._progress_s >= 1:
            self._progress_s = now_s
            settled_s = min(now_s, self._start_s(self._committed))
            lag_s = round(now_s - settled_s, 3) if self._open() else 0.0
            await self._send(
                "progress", received_s=now_s, settled_s=settled_s, lag_s=lag_s, kept_from=self._kept_from()
            )

    async def _leave(self) -> bool:
        now_s = self._position / RATE
        if self._visit.lose_at_s is not None and now_s >= self._visit.lose_at_s:
            self._connection.transport.abort()
            return True
        if self._visit.drain_at_s is not None and now_s >= self._visit.drain_at_s:
            await self._send("draining")
            await self._commit([word for word in self._open() if word[1] <= now_s])
            await self._send("error", code="shutting_down", message="from the script", session="scripted")
            await self._connection.close(1012)
            return True
        return False

    async def _finish(self) -> None:
        self._record.stopped = True
        now_s = self._position / RATE
        await self._commit([word for word in self._open() if word[1] <= now_s])
        await self._send("done", audio_s=now_s, speech_s=now_s, words=self._committed, utterances=1, gap_s=0.0)
        await self._connection.close(1000)

    async def _commit(self, words: Sequence[tuple[str, float]]) -> None:
        if not words:
            return
        start_s = self._start_s(self._committed)
        timed = []
        for text, end_s in words:
            start = self._start_s(self._committed)
            timed.append({"text": text.strip(), "start": start, "end": end_s, "probability": 0.9})
            self._committed += 1
        self._partial = ""
        await self._send(
            "committed",
            text="".join(text for text, _ in words),
            words=timed,
            start=start_s,
            end=words[-1][1],
            kept_from=self._kept_from(),
        )

    def _open(self) -> Sequence[tuple[str, float]]:
        return self._words[self._committed :]

    def _start_s(self, index: int) -> float:
        """When a word begins: at the end of the word before it, but at most 0.8 s before its own end."""
        if index >= len(self._words):
            return self._position / RATE
        before_s = self._words[index - 1][1] if index > 0 else 0.0
        return round(max(before_s, self._words[index][1] - 0.8), 3)

    def _kept_from(self) -> int:
        """A second before the first word that is not committed, as for a model that needs some context."""
        return max(0, int((min(self._position / RATE, self._start_s(self._committed)) - 1.0) * RATE))

    async def _send(self, kind: str, **fields: object) -> None:
        await self._connection.send(json.dumps({"type": kind, "seq": self._seq, **fields}, ensure_ascii=False))
        self._seq += 1


def _response(status: HTTPStatus, body: bytes, kind: str) -> Response:
    headers = Headers(
        {
            "Content-Type": f"{kind}; charset=utf-8" if kind.startswith("text/") else kind,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": SECURITY_POLICY,
            "Cache-Control": "no-store",
            "Connection": "close",
        }
    )
    return Response(status.value, status.phrase, headers, body)
