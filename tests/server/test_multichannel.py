"""Stereo streams on a real socket, with a scripted engine."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import ClientConnection

from tests.server.scripted import LOUD, QUIET, Server, scripted_server, told

START = {"type": "start", "channels": 2, "multichannel": True}
STOP = '{"type":"stop"}'


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with scripted_server(max_sessions=4, max_sessions_per_address=3) as running:
        yield running


def stereo(first: bytes, second: bytes) -> bytes:
    """Two channels of equal length, interleaved."""
    return np.stack([np.frombuffer(channel, "<i2") for channel in (first, second)], axis=1).tobytes()


def texts(events: list[dict[str, Any]], channel: int) -> str:
    return "".join(event["text"] for event in events if event["type"] == "committed" and event["channel"] == channel)


def test_two_speakers_from_start_to_stop(server: Server) -> None:
    """Each event of the transcript has its channel; ready and done are about the stream."""
    with server.connect() as socket:
        socket.send(json.dumps(START))
        socket.send(stereo(LOUD + QUIET, QUIET + LOUD))
        socket.send(STOP)
        events = told(socket)
    assert socket.close_code == 1000
    assert [event["seq"] for event in events] == list(range(len(events)))
    kinds = [event["type"] for event in events]
    assert (kinds[0], kinds[-1], kinds.count("ready"), kinds.count("done")) == ("ready", "done", 1, 1)
    assert "channel" not in events[0] | events[-1]
    assert {event["channel"] for event in events[1:-1]} == {0, 1}
    assert texts(events, 0).startswith(" раз два")
    assert texts(events, 1)
    assert events[-1]["audio_s"] == 2.0
    assert events[-1]["utterances"] == 2
    assert events[-1]["words"] == len((texts(events, 0) + texts(events, 1)).split())


def test_two_channels_are_mixed_unless_they_are_asked_for(server: Server) -> None:
    """Without ``multichannel`` a stream of two channels is one stream."""
    with server.connect() as socket:
        socket.send('{"type":"start","channels":2}')
        socket.send(stereo(LOUD, LOUD))
        socket.send(STOP)
        events = told(socket)
    assert not [event for event in events if "channel" in event]
    assert events[-1]["audio_s"] == 1.0


def opened(socket: ClientConnection, start: dict[str, Any]) -> dict[str, Any]:
    """The first event."""
    socket.send(json.dumps(start))
    event: dict[str, Any] = json.loads(socket.recv(timeout=5))
    return event


def test_a_stereo_stream_takes_two_places(server: Server) -> None:
    """Of the worker and of the address: one that does not fit is refused when it starts, and leaves no place taken."""
    admission = server.service.admission
    with server.connect() as first, server.connect() as second:
        assert opened(first, START)["type"] == "ready"
        assert admission.open_streams == 3
        refused = opened(second, START)
        assert (refused["type"], refused["code"]) == ("error", "server_full")
        assert "streams of your address are in use" in refused["message"]
        with pytest.raises(ConnectionClosedError):
            second.recv(timeout=5)
        assert second.close_code == 1013
        with server.connect() as third:
            assert opened(third, {"type": "start"})["type"] == "ready"
    server.wait_until("every place is free", lambda: admission.open_streams == 0)
    server.check_alive()


def test_a_stereo_stream_resumes_each_channel(server: Server) -> None:
    """Audio begins at the smaller position; a channel that is further does not hear what it has told already."""
    with server.connect() as socket:
        socket.send(json.dumps(START))
        socket.send(stereo(LOUD + QUIET, QUIET + LOUD))
        events: list[dict[str, Any]] = []
        while not [event for event in events if event["type"] == "utterance_ended"]:
            events.append(json.loads(socket.recv(timeout=5)))
    kept = [0, 0]
    for event in events:
        if "kept_from" in event:
            kept[event["channel"]] = event["kept_from"]
    assert kept[1] < kept[0]
    words = [
        [
            word | {"text": f" {word['text']}"}
            for event in events
            if event["type"] == "committed" and event["channel"] == channel
            for word in event["words"]
            if word["end"] * 16_000 > kept[channel]
        ]
        for channel in (0, 1)
    ]
    known = [{"position": kept[channel], "words": words[channel]} for channel in (0, 1)]
    audio = np.frombuffer(stereo(LOUD + QUIET, QUIET + LOUD), "<i2").reshape(-1, 2)
    with server.connect() as socket:
        ready = opened(
            socket, START | {"resume": {"session": events[0]["session"], "position": kept[1], "channels": known}}
        )
        assert (ready["session"], ready["position"]) == (events[0]["session"], kept[1])
        socket.send(audio[kept[1] :].tobytes())
        socket.send(STOP)
        rest = told(socket)
    assert texts(rest, 0) == ""
    assert texts(events, 1) + texts(rest, 1)
    assert rest[-1]["audio_s"] == round((32_000 - kept[1]) / 16_000, 3)
