"""OpenAI's Realtime API on real sockets, with a scripted engine."""

import asyncio
import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.server.scripted import Server, limits, scripted_server

RATE = 24_000
LOUD = (np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE) * 8_000).astype("<i2").tobytes()
"""A second of what the scripted engine takes for speech."""
QUIET = bytes(2 * RATE)
TRANSCRIPTION = "conversation.item.input_audio_transcription."
KEY = "0123456789abcdef"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with scripted_server() as running:
        yield running


class Client:
    """A session."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.told: list[dict[str, Any]] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def append(self, audio: bytes) -> None:
        """In messages of 0.1 s."""
        for at in range(0, len(audio), 4_800):
            self.send("input_audio_buffer.append", audio=base64.b64encode(audio[at : at + 4_800]).decode())

    def until(self, kind: str) -> dict[str, Any]:
        """The next message of this kind."""
        while True:
            self.told.append(json.loads(self.socket.recv(timeout=10)))
            if self.told[-1]["type"].endswith(kind):
                return self.told[-1]

    def to_the_end(self) -> int | None:
        """Everything that comes before the close frame; returns its code."""
        with suppress(ConnectionClosed):
            self.until("a kind that there is not")
        return self.socket.close_code

    @property
    def kinds(self) -> list[str]:
        return [message["type"] for message in self.told]

    def texts(self, kind: str) -> list[str]:
        field = "transcript" if kind == "completed" else "delta"
        return [message[field] for message in self.told if message["type"] == TRANSCRIPTION + kind]


def connected(server: Server, query: str = "?intent=transcription", **options: Any) -> ClientConnection:
    url = f"{server.url.replace('http', 'ws')}/v1/realtime{query}"
    socket: ClientConnection = connect(url, compression=None, max_size=None, **options)
    return socket


def update(client: Client, **audio_input: Any) -> dict[str, Any]:
    client.send("session.update", session={"type": "transcription", "audio": {"input": audio_input}})
    answer: dict[str, Any] = client.until("session.updated")["session"]
    return answer


@pytest.mark.parametrize("query", ["", "?intent=transcription", "?intent=transcription&model=gpt-4o-transcribe"])
def test_the_server_speaks_first(server: Server, query: str) -> None:
    """``session.created`` comes before the client says anything, with the model that the client named."""
    with connected(server, query) as socket:
        client = Client(socket)
        session = client.until("session.created")["session"]
        assert session["audio"]["input"]["transcription"]["model"] == (
            "gpt-4o-transcribe" if "model" in query else "base"
        )
        assert session["expires_at"] > time.time() + 60
        assert update(client)["id"] == session["id"]


def test_utterances_are_items(server: Server) -> None:
    """Each gets its events in order, and the text of its deltas."""
    with connected(server) as socket:
        client = Client(socket)
        update(
            client, transcription={"language": "ru"}, turn_detection={"type": "server_vad", "silence_duration_ms": 300}
        )
        client.append(LOUD + QUIET + LOUD + QUIET)
        first, second = client.until("completed"), client.until("completed")
    assert "".join(client.texts("delta")) == first["transcript"] + second["transcript"] != ""
    assert second["usage"]["seconds"] == pytest.approx(1.3, abs=0.4)
    of_first = [
        message["type"].removeprefix("input_audio_buffer.").removeprefix("conversation.item.")
        for message in client.told
        if message.get("item_id", message.get("item", {}).get("id")) == first["item_id"]
    ]
    in_order = [kind for kind in of_first if not kind.endswith("delta")]
    assert in_order == [
        "speech_started", "speech_stopped", "committed", "added", "done", "input_audio_transcription.completed",
    ]  # fmt: skip
    stopped = next(message for message in client.told if message["type"].endswith("speech_stopped"))
    assert stopped["audio_end_ms"] == pytest.approx(1_000, abs=100)


def test_a_client_commits(server: Server) -> None:
    """Without speech detection the words come while they are spoken, and one item holds all, over pauses too."""
    with connected(server) as socket:
        client = Client(socket)
        update(client, turn_detection=None)
        client.append(LOUD + QUIET + LOUD + QUIET)
        while len(client.texts("delta")) < 2:
            client.until("delta")
        assert not client.texts("completed")
        client.send("input_audio_buffer.commit")
        item = client.until("committed")["item_id"]
        completed = client.until("completed")
        client.send("input_audio_buffer.commit")
        empty = client.until("completed")
    assert completed["item_id"] == item
    assert completed["transcript"] == "".join(client.texts("delta"))
    assert completed["usage"] == {"type": "duration", "seconds": 4.0}
    assert (empty["transcript"], empty["usage"]["seconds"]) == ("", 0)
    assert not [kind for kind in client.kinds if "speech" in kind or kind == "error"]


def test_a_session_changes_while_it_runs(server: Server) -> None:
    """Who commits, and the format: everything before is told before ``session.updated``, and times go on."""
    with connected(server) as socket:
        client = Client(socket)
        update(client, turn_detection=None)
        client.append(LOUD)
        update(client, turn_detection={"type": "server_vad"}, format={"type": "audio/pcmu"})
        assert client.kinds[-2].endswith("completed")
        assert client.texts("completed") == ["раз два"]
        loud = b"\x00\x00\x80\x80" * 2_000
        client.send("input_audio_buffer.append", audio=base64.b64encode(loud + b"\xff" * 8_000).decode())
        assert client.until("speech_started")["audio_start_ms"] == pytest.approx(1_000, abs=100)
        assert client.until("completed")["transcript"]


def test_mistakes_leave_the_session_open(server: Server) -> None:
    """An error event with the id of the client's message, as OpenAI has it."""
    with connected(server) as socket:
        client = Client(socket)
        client.send("response.create", event_id="mine")
        assert client.until("error")["error"]["event_id"] == "mine"
        client.send("input_audio_buffer.append", audio="?")
        assert "base64" in client.until("error")["error"]["message"]
        socket.send(b"\x00\x00")
        client.until("error")
        client.append(LOUD)
        client.send("input_audio_buffer.commit")
        assert client.until("completed")["transcript"]


def test_a_session_may_be_silent(server: Server) -> None:
    """Clients keep sockets for the next speaker: neither the first message nor audio has a time limit."""
    with limits(server, first_message_s=0.1, idle_s=0.1), connected(server) as socket:
        client = Client(socket)
        time.sleep(0.3)
        update(client)
        client.append(LOUD)
        time.sleep(0.3)
        client.send("input_audio_buffer.commit")
        assert client.until("completed")["transcript"]


def test_a_longest_session(server: Server) -> None:
    """It ends with its text and an error event."""
    with limits(server, session_s=0.5), connected(server) as socket:
        client = Client(socket)
        update(client, turn_detection=None)
        client.append(LOUD)
        assert client.to_the_end() == 1008
        assert client.texts("completed") == ["раз два"]
        assert client.told[-1]["error"]["code"] == "timed_out"


@pytest.mark.parametrize("turn_detection", [None, {"type": "server_vad"}])
def test_a_session_ends_at_a_pause_when_the_worker_shuts_down(turn_detection: dict[str, str] | None) -> None:
    """Whoever speaks can finish. All text is completed, then the close frame has 1012; no error event comes, after
    which LiveKit would not connect again.
    """
    with scripted_server() as server, connected(server) as socket:
        client = Client(socket)
        update(client, turn_detection=turn_detection)
        client.append(LOUD)
        client.until("delta")
        loop = next(iter(server.uvicorn.servers)).get_loop()
        drained = asyncio.run_coroutine_threadsafe(server.service.drain(10.0), loop)
        client.append(LOUD)
        threading.Timer(0.3, client.append, [QUIET]).start()
        assert client.to_the_end() == 1012
        drained.result(5)
    assert len(client.texts("completed")) == 1
    assert client.texts("completed") == ["".join(client.texts("delta"))]
    assert client.texts("completed")[0].startswith("раз два три четыре пять")
    assert "error" not in client.kinds


def test_a_silent_session_ends_at_once_when_the_worker_shuts_down() -> None:
    """With 1012: 1001 would end the loop of OpenAI's client as if all were well."""
    with scripted_server() as server, connected(server) as socket:
        client = Client(socket)
        client.until("session.created")
        loop = next(iter(server.uvicorn.servers)).get_loop()
        asyncio.run_coroutine_threadsafe(server.service.drain(10.0), loop).result(5)
        assert client.to_the_end() == 1012
        assert "error" not in client.kinds


def test_a_key_comes_as_openai_s_clients_send_it() -> None:
    """As Bearer; from a browser in a subprotocol, where the other one is answered."""
    with scripted_server(api_keys=KEY) as server:
        with pytest.raises(InvalidStatus) as refused:
            connected(server)
        assert refused.value.response.status_code == 401
        with connected(server, additional_headers={"Authorization": f"Bearer {KEY}"}) as socket:
            Client(socket).until("session.created")
        with connected(server, subprotocols=["realtime", f"openai-insecure-api-key.{KEY}"]) as socket:
            assert socket.subprotocol == "realtime"
            Client(socket).until("session.created")


def test_a_full_server_refuses_the_upgrade() -> None:
    """503 with Retry-After: the clients try again."""
    with scripted_server(max_sessions=1) as server, connected(server), pytest.raises(InvalidStatus) as refused:
        connected(server)
    assert refused.value.response.status_code == 503
    assert "retry-after" in refused.value.response.headers
