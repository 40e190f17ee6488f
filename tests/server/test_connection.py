"""Connections of any protocol, over the real application on real sockets.

The protocol is the tests' own: what no client's protocol does yet must work too. A client's text is a list of words,
each a command or something to be answered; the server's text is the name of an event and its text.

Long because each thing that a protocol can ask of a connection is a test.
"""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.server.scripted import LOUD, QUIET, Server, limits, scripted_server
from whisperlivekit.core import commands
from whisperlivekit.core.commands import Command
from whisperlivekit.core.events import Committed, Event, Partial, Progress
from whisperlivekit.engine.scripted import LoudnessDetector, ScriptedEngine
from whisperlivekit.errors import BadMessage, WhisperLiveKitError
from whisperlivekit.server.socket import serve_socket
from whisperlivekit.wire.adapter import Message, Reply


@dataclass
class SpokenAdapter:
    """The tests' protocol."""

    resumes: bool = False
    may_be_silent: bool = False
    continues: bool = False
    begins: bool = False
    """The stream begins with the connection."""
    lockstep: bool = False
    """Committed text waits for the next audio."""
    held: list[str] = field(default_factory=list)

    @property
    def holds_text(self) -> bool:
        return bool(self.held)

    def open(self, session: str) -> list[Command | Reply]:
        return [Reply(f"hello {session}"), *([commands.Start(commit="utterance")] if self.begins else [])]

    def receive(self, message: Message) -> list[Command | Reply]:
        if isinstance(message, bytes):
            held, self.held = self.held, []
            audio = commands.Audio(np.frombuffer(message, "<i2").astype(np.float32) / np.float32(32_768))
            return [*map(Reply, held), audio]
        return [self._item(word) for word in message.split()]

    def _item(self, word: str) -> Command | Reply:
        match word.split(":"):
            case ["start"]:
                return commands.Start(commit="utterance")
            case ["stop"]:
                return commands.Stop()
            case ["flush"]:
                return commands.Flush()
            case ["configure", language, hotword, silence_s]:
                return commands.Configure(language, hotwords=(hotword,), silence_s=float(silence_s))
            case ["last"]:
                self.continues = False
                return Reply("last")
            case ["wrong"]:
                raise BadMessage("found wrong, expected right")
            case _:
                return Reply(word)

    def send(self, event: Event) -> list[Message]:
        match event:
            case Partial() | Progress():
                return []
            case Committed() if self.lockstep:
                self.held.append(_shown(event))
                return []
            case _:
                return [_shown(event)]

    def fail(self, error: WhisperLiveKitError, session: str) -> list[Message]:
        return [*self.held, f"error {error.code}"]


def _shown(event: Event) -> str:
    text = event.text.strip() if isinstance(event, Committed) else getattr(event, "received", "")
    return f"{type(event).__name__} {text}".strip()


@contextmanager
def serving(engine: ScriptedEngine | None = None, **of_the_adapter: Any) -> Iterator[Server]:
    """The application with the tests' protocol at /spoken."""
    with scripted_server(engine) as server:

        async def serve(websocket: WebSocket) -> None:
            await serve_socket(websocket, lambda: SpokenAdapter(**of_the_adapter), "spoken", ("spoken", "speech"))

        app: Any = server.uvicorn.config.app
        app.router.routes.insert(0, WebSocketRoute("/spoken", serve))
        yield server


def open_socket(server: Server, **options: Any) -> ClientConnection:
    """A connection after the server's first message."""
    socket: ClientConnection = connect(f"ws://127.0.0.1:{server.port}/spoken", compression=None, **options)
    assert str(socket.recv(timeout=5)).startswith("hello ")
    return socket


def receive_to(socket: ClientConnection, last: str) -> list[str]:
    """The messages up to one that begins with ``last``."""
    found: list[str] = []
    while not found or not found[-1].startswith(last):
        found.append(str(socket.recv(timeout=10)))
    return found


def rest(socket: ClientConnection) -> tuple[list[str], int | None]:
    """The messages up to the end, and the close code."""
    found: list[str] = []
    try:
        while True:
            found.append(str(socket.recv(timeout=15)))
    except ConnectionClosed:
        return found, socket.close_code


def drain(server: Server, limit_s: float) -> "Future[None]":
    loop = next(iter(server.uvicorn.servers)).get_loop()
    return asyncio.run_coroutine_threadsafe(server.service.drain(limit_s), loop)


# ------------------------------------------------------------------------------------------------ who speaks when


def test_an_adapter_speaks_first() -> None:
    """Before the client has sent anything, with the id that the log has; it may begin the stream too."""
    with serving(begins=True) as server, open_socket(server) as socket:
        assert receive_to(socket, "Ready") == ["Ready"]
        socket.send(LOUD + QUIET)
        assert "Committed раз два три" in receive_to(socket, "UtteranceEnded")
        socket.send("stop")
        events, code = rest(socket)
    assert events == ["Done 32000"]
    assert code == 1000


def test_replies_come_in_their_place_between_commands() -> None:
    """At once, after the commands before them and before the commands after them."""
    with serving() as server, open_socket(server) as socket:
        socket.send("one two start three flush four stop five")
        events, code = rest(socket)
    told = [event for event in events if event[0].islower()]
    assert told == ["one", "two", "three", "four", "five"]
    assert events.index("two") < events.index("Ready") < events.index("three")
    assert events.index("three") < events.index("Flushed") < events.index("Done 0")
    assert code == 1000


def test_replies_do_not_wait_for_the_model() -> None:
    """A decode takes a second; what is asked meanwhile is answered meanwhile."""
    with serving(ScriptedEngine(delay_s=1.0)) as server, open_socket(server) as socket:
        socket.send("start")
        socket.send(LOUD * 2)
        receive_to(socket, "SpeechStarted")
        asked_s = time.monotonic()
        socket.send("ping")
        assert receive_to(socket, "ping") == ["ping"]
        assert time.monotonic() - asked_s < 0.5


# --------------------------------------------------------------------------------------------- several streams


def test_one_stream_after_another() -> None:
    """Each has its own clock, words and Done. The second begins when everything of the first was told, although its
    audio came long before that. The last one ends the connection.
    """
    with serving(ScriptedEngine(delay_s=0.3), continues=True) as server, open_socket(server) as socket:
        socket.send("start")
        socket.send(LOUD)
        socket.send("stop")
        socket.send("start")
        socket.send(LOUD * 2)
        socket.send("last stop")
        events, code = rest(socket)
        assert server.service.streams == 0
    assert [event.split()[0] for event in events if event != "last"] == [
        *("Ready", "SpeechStarted", "SpeechStopped", "Committed", "UtteranceEnded", "Done"),
        *("Ready", "SpeechStarted", "SpeechStopped", "Committed", "UtteranceEnded", "Done"),
    ]
    assert [event for event in events if event[:4] in {"Comm", "Done"}] == [
        "Committed раз два",
        "Done 16000",
        "Committed раз два три четыре пять",
        "Done 32000",
    ]
    assert code == 1000


def test_without_a_next_stream_the_connection_ends() -> None:
    """Done, then close 1000; where another stream may follow, the connection stays open."""
    with serving(continues=True) as server, open_socket(server) as socket:
        socket.send("start stop")
        receive_to(socket, "Done")
        socket.send("there?")
        assert receive_to(socket, "there?") == ["there?"]
        socket.send("last start stop")
        assert rest(socket) == (["last", "Ready", "Done 0"], 1000)


def test_a_mistake_in_the_second_stream_loses_no_word_of_it() -> None:
    """What was received before is told, then the error; close 1007."""
    with serving(ScriptedEngine(delay_s=0.2), continues=True) as server, open_socket(server) as socket:
        socket.send("start stop start")
        socket.send(LOUD)
        socket.send("wrong")
        events, code = rest(socket)
    assert events[-3:] == ["Committed раз два", "UtteranceEnded", "error bad_message"]
    assert code == 1007


def test_between_streams_the_idle_limit_holds() -> None:
    """A client whose protocol has no use for silence may not keep its place for ever."""
    with serving(continues=True) as server, limits(server, idle_s=0.3), open_socket(server) as socket:
        socket.send("start stop")
        events, code = rest(socket)
    assert events[-1] == "error timed_out"
    assert code == 1008


# --------------------------------------------------------------------------------------------------- options


def test_options_change_in_a_running_stream() -> None:
    """Language, hotwords and the silence that ends an utterance, from the next decode on."""
    engine = ScriptedEngine()
    with serving(engine) as server, open_socket(server) as socket:
        socket.send("start")
        socket.send(LOUD + QUIET)
        receive_to(socket, "UtteranceEnded")
        before = len(engine.requests)
        socket.send("configure:en:склад:2.0")
        socket.send(LOUD + QUIET)
        socket.send("asked")
        assert not any("SpeechStopped" in event for event in receive_to(socket, "asked"))
        socket.send(QUIET + QUIET)
        receive_to(socket, "UtteranceEnded")
    assert {(request.language, request.hotwords) for request in engine.requests[:before]} == {("ru", ())}
    assert {(request.language, request.hotwords) for request in engine.requests[before:]} == {("en", ("склад",))}


# ---------------------------------------------------------------------------------------------------- silence


def test_a_client_that_may_be_silent_is_not_cut() -> None:
    """Neither before its first message nor without audio."""
    with (
        serving(may_be_silent=True) as server,
        limits(server, first_message_s=0.2, idle_s=0.2),
        open_socket(server) as socket,
    ):
        time.sleep(0.5)
        socket.send("start")
        assert receive_to(socket, "Ready") == ["Ready"]
        time.sleep(0.5)
        socket.send("stop")
        assert rest(socket) == (["Done 0"], 1000)


def test_any_other_client_is_cut() -> None:
    """Without a stream after the time for the first message, whatever else it has sent; without audio later."""
    with serving() as server, limits(server, first_message_s=1.0, idle_s=1.0):
        with open_socket(server) as socket:
            socket.send("ping")
            assert rest(socket) == (["ping", "error timed_out"], 1008)
        with open_socket(server) as socket:
            socket.send("start")
            time.sleep(0.2)
            socket.send("ping")
            assert rest(socket) == (["Ready", "ping", "error timed_out"], 1008)


# ------------------------------------------------------------------------------------------------------- drain


def test_a_stream_that_cannot_resume_ends_at_its_next_pause() -> None:
    """It is served on while somebody speaks. After the last word was told it is closed with 1012."""
    with serving() as server, open_socket(server) as socket:
        socket.send("start")
        socket.send(LOUD)
        receive_to(socket, "SpeechStarted")
        drained = drain(server, 30.0)
        assert receive_to(socket, "Draining") == ["Draining"]
        socket.send(LOUD)
        time.sleep(0.3)
        socket.send("ping")
        assert receive_to(socket, "ping") == ["ping"], "the connection ended while somebody spoke"
        socket.send(QUIET)
        events, code = rest(socket)
        drained.result(5)
    assert events == ["SpeechStopped", "Committed раз два три четыре пять", "UtteranceEnded", "error shutting_down"]
    assert code == 1012


def test_text_that_waits_for_a_message_is_told_first() -> None:
    """A client in lockstep gets the last text on its next audio; the connection ends after that."""
    with serving(lockstep=True) as server, open_socket(server) as socket:
        socket.send("start")
        socket.send(LOUD + QUIET)
        receive_to(socket, "UtteranceEnded")
        drained = drain(server, 30.0)
        assert receive_to(socket, "Draining") == ["Draining"]
        time.sleep(0.3)
        socket.send(QUIET[:640])
        assert rest(socket) == (["Committed раз два три", "error shutting_down"], 1012)
        drained.result(5)


def test_a_stream_without_a_pause_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not later than the worker waits, with all text of what it has received; so does one whose client sends nothing
    on which its text could ride.
    """
    monkeypatch.setattr("whisperlivekit.server.connection.DRAIN_FINISH_S", 1.0)
    with (
        serving(ScriptedEngine(delay_s=0.1), lockstep=True) as server,
        open_socket(server) as speaking,
        open_socket(server) as silent,
    ):
        for socket in (speaking, silent):
            socket.send("start")
            socket.send(LOUD)
        silent.send(QUIET)
        receive_to(silent, "UtteranceEnded")
        began_s = time.monotonic()
        drained = drain(server, 2.0)
        for socket, text in ((speaking, "раз два"), (silent, "раз два три")):
            events, code = rest(socket)
            assert events[-2:] == [f"Committed {text}", "error shutting_down"]
            assert code == 1012
        assert 0.9 < time.monotonic() - began_s < 2.0
        drained.result(5)


def test_a_stream_whose_last_words_take_too_long_is_closed_in_time() -> None:
    """Before the worker stops waiting: the error can still be sent, with code 1012."""
    with serving(ScriptedEngine(delay_s=5.0)) as server, open_socket(server) as socket:
        socket.send("start")
        socket.send(LOUD)
        receive_to(socket, "SpeechStarted")
        began_s = time.monotonic()
        drained = drain(server, 2.0)
        events, code = rest(socket)
        assert time.monotonic() - began_s < 2.0
        drained.result(5)
    assert events[-1] == "error shutting_down"
    assert code == 1012


class _SlowDetector(LoudnessDetector):
    async def feed(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        await asyncio.sleep(0.3)
        return await super().feed(samples)


class _Busy(ScriptedEngine):
    """Its speech detector takes a third of a second for a second."""

    def detector(self) -> LoudnessDetector:
        return _SlowDetector()


def test_audio_that_was_received_is_not_lost() -> None:
    """A pause inside of a message that the session has not taken yet is none: somebody speaks after it."""
    with serving(_Busy()) as server, open_socket(server) as socket:
        socket.send("start")
        socket.send(QUIET * 3 + LOUD + QUIET)
        receive_to(socket, "Ready")
        drained = drain(server, 30.0)
        events, code = rest(socket)
        drained.result(5)
    assert [event for event in events if event.startswith("Committed")] != []
    assert code == 1012


def test_a_connection_between_streams_ends_at_once() -> None:
    """Nobody speaks. A new stream is not begun any more."""
    with serving(continues=True) as server, open_socket(server) as socket, open_socket(server) as unused:
        socket.send("start stop")
        receive_to(socket, "Done")
        drained = drain(server, 30.0)
        for idle in (socket, unused):
            assert rest(idle) == (["Draining", "error shutting_down"], 1012)
        drained.result(5)


def test_a_stream_that_has_all_its_audio_ends_normally() -> None:
    """With its Done and close 1000, although the worker shuts down."""
    with serving(ScriptedEngine(delay_s=0.5)) as server, open_socket(server) as socket:
        socket.send("start")
        socket.send(LOUD)
        socket.send("stop said")
        receive_to(socket, "said")
        drained = drain(server, 30.0)
        events, code = rest(socket)
        drained.result(5)
    assert events[-1] == "Done 16000"
    assert "Committed раз два" in events
    assert code == 1000


# ------------------------------------------------------------------------------------------------- subprotocols


@pytest.mark.parametrize(
    ("offered", "answered"),
    [(["speech"], "speech"), (["other", "spoken"], "spoken"), (["other"], None), ([], None)],
)
def test_a_subprotocol_is_answered_if_the_protocol_knows_it(offered: list[str], answered: str | None) -> None:
    """Asterisk ends a connection that answers with another one than it offered, and accepts none."""
    with serving() as server:
        names = [Subprotocol(name) for name in offered] or None
        with open_socket(server, subprotocols=names) as socket:
            assert socket.subprotocol == answered
            assert "Sec-WebSocket-Extensions" not in (socket.response.headers if socket.response else {})
