"""Random and mutated messages to every adapter, together with the real core: only clear errors, and no growth.

``FUZZ_INPUTS=100000 pytest tests/fuzz/test_adapters.py`` tries that many messages for each adapter.

A new adapter is one entry in ``ADAPTERS``.
"""

import gc
import json
import os
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import pytest

from tests.wire import conversations, realtime_conversations, telephony_conversations
from whisperlivekit.core.commands import Audio, Command, Configure, Flush, Start, Stop
from whisperlivekit.core.events import Done, Draining, Event, OfChannel, Ready
from whisperlivekit.core.hypothesis import DecodeRequest, Hypothesis, Word
from whisperlivekit.core.session import Session, SessionConfig
from whisperlivekit.core.units import WINDOW
from whisperlivekit.errors import ClientError, DecodeFailed, ShuttingDown
from whisperlivekit.wire.adapter import Adapter, Message, Reply
from whisperlivekit.wire.audio_fork import AudioForkAdapter
from whisperlivekit.wire.jambonz import JambonzAdapter
from whisperlivekit.wire.native import NativeAdapter
from whisperlivekit.wire.openai_realtime import OpenAIRealtimeAdapter

INPUTS = int(os.environ.get("FUZZ_INPUTS", "3000"))
"""Messages to each adapter."""

LONGEST = 60
"""Messages of one connection."""

MOST_BYTES = 300_000
"""What an adapter may hold after so many messages of at most some kilobytes, with the resampler."""

SESSION = "7f3a9c21d0e84b56"


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """An adapter to try."""

    make: Callable[[random.Random], Adapter]
    """A new one; it may choose its options."""
    examples: Sequence[Message]
    """Messages of a client that follows the protocol."""


def _client_messages(found: dict[str, list[Any]]) -> list[Message]:
    """The client's messages of recorded conversations."""
    turns = [turn for conversation in found.values() for turn in conversation]
    return [json.dumps(turn) if isinstance(turn, dict) else turn for turn in turns if isinstance(turn, dict | bytes)]


ADAPTERS: dict[str, Fuzzed] = {
    "native": Fuzzed(lambda _: NativeAdapter(), _client_messages(conversations.CONVERSATIONS)),
    "jambonz": Fuzzed(lambda _: JambonzAdapter(), telephony_conversations.client_messages("jambonz")),
    "audio_fork": Fuzzed(
        lambda rng: AudioForkAdapter({"channels": rng.choice("12"), "interim": rng.choice(["true", "false"])}),
        telephony_conversations.client_messages("audio_fork"),
    ),
    "openai_realtime": Fuzzed(
        lambda _: OpenAIRealtimeAdapter(model="base", silence_s=0.5, expires_at=0),
        _client_messages(realtime_conversations.CONVERSATIONS),
    ),
}

# --------------------------------------------------------------------------------------------------------- messages

_VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**70), 1e308, 0.5, -0.0, "", "x", "ru", "auto", "8000", "null",
    "а" * 3_000, "\x00", "\U0001f600", [], {}, [[]], [None] * 200, {"type": "start"}, {"": {"": {"": 1}}},
]  # fmt: skip


def _mutated(found: Any, rng: random.Random) -> Any:
    """JSON with one value replaced, removed or added, at any depth."""
    if isinstance(found, dict) and found and rng.random() < 0.9:
        name = rng.choice(list(found))
        match rng.randrange(5):
            case 0:
                return {key: value for key, value in found.items() if key != name}
            case 1:
                return {**found, rng.choice(["", "type", "session", "x" * 300]): rng.choice(_VALUES)}
            case _:
                return {**found, name: _mutated(found[name], rng)}
    if isinstance(found, list) and found and rng.random() < 0.8:
        at = rng.randrange(len(found))
        return [*found[:at], _mutated(found[at], rng), *found[at + rng.randrange(2) :]]
    return rng.choice(_VALUES)


def _garbled(message: Message, rng: random.Random) -> Message:
    """A message with some characters or bytes replaced, removed or repeated."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(message) + 1)
        until = at + rng.randrange(6)
        if isinstance(message, str):
            put = rng.choice(["", '"', "{", "}", ",", "\\", "\\ud800", "0", "\x00", "é", message[at:until] * 2])
            message = message[:at] + put + message[until:]
        else:
            message = message[:at] + rng.randbytes(rng.randrange(5)) + message[until:]
    return message


def _message(examples: Sequence[Message], rng: random.Random) -> Message:
    example = rng.choice(examples)
    match rng.randrange(12):
        case 0 | 1 | 2 | 3 | 4:
            return example
        case 5 | 6 | 7:
            try:
                return json.dumps(_mutated(json.loads(example), rng), ensure_ascii=rng.random() < 0.5)
            except ValueError:
                return _garbled(example, rng)
        case 8 | 9:
            return _garbled(example, rng)
        case 10:
            return rng.randbytes(rng.choice([0, 1, 2, 3, 320, 6_400]))
        case _:
            return rng.choice(
                ["", "{", "[" * 5_000, '{"a":' * 3_000, "NaN", "1" * 5_000, json.dumps(rng.choice(_VALUES))]
            )


# ------------------------------------------------------------------------------------------------------- connection


class Connection:
    """What the server does with an adapter, but at once: its commands move a real session, which answers."""

    def __init__(self, adapter: Adapter, rng: random.Random) -> None:
        self._adapter = adapter
        self._rng = rng
        self._sessions: list[Session] = []
        """One for each channel."""
        self._judged: list[int] = []
        self._probability = 0.0
        self._stopped = False
        self.over = False
        self._take_all(adapter.open(SESSION))

    def receive(self, message: Message) -> None:
        """Raises ClientError."""
        self._take_all(self._adapter.receive(message))

    def drain(self) -> None:
        """End as a worker that shuts down does."""
        self._tell(Draining())
        if self._sessions and not self._stopped:
            for session in self._sessions:
                session.receive_stop()
            self._advance(done=False)
        _check_messages(self._adapter.fail(ShuttingDown("this worker is shutting down"), SESSION))

    def _take_all(self, items: Sequence[Command | Reply]) -> None:
        for item in items:
            if isinstance(item, Reply):
                _check_messages([item.message])
            else:
                self._take(item)

    def _take(self, command: Command) -> None:
        if isinstance(command, Start):
            assert not self._sessions or (self._stopped and self._adapter.continues), "a second stream at once"
            self._sessions = [Session(SessionConfig(), start) for start in command.of_each_channel()]
            self._stopped = False
            self._judged = [session.received for session in self._sessions]
            self._tell(Ready(SESSION, "base", command.language, min(self._judged)))
            return
        assert self._sessions, f"{command} before Start"
        assert not self._stopped, f"{command} after Stop"
        if isinstance(command, Audio):
            samples = command.samples
            assert samples.dtype == np.float32
            assert samples.shape == (*self._shape(), command.length)
            assert samples.size == 0 or float(np.abs(samples).max()) <= 1.0, "not a number, or too loud"
        for channel, session in enumerate(self._sessions):
            match command:
                case Audio(samples):
                    self._hear(channel, samples if samples.ndim == 1 else samples[channel])
                case Configure():
                    session.receive_configure(command)
                case Flush():
                    session.receive_flush()
                case Stop():
                    self._stopped = True
                    session.receive_stop()
                case _:
                    pytest.fail(f"{command!r} is no command")
        self._advance()

    def _shape(self) -> tuple[int, ...]:
        return (len(self._sessions),) if len(self._sessions) > 1 else ()

    def _hear(self, channel: int, samples: Any) -> None:
        """Speech and silence in turns, whatever the audio."""
        session = self._sessions[channel]
        session.receive_audio(samples)
        windows = (session.received - self._judged[channel]) // WINDOW
        self._judged[channel] += windows * WINDOW
        if windows:
            self._probability = self._rng.choice([0.0, 1.0, self._probability])
            session.receive_speech(np.full(windows, self._probability, np.float32))

    def _advance(self, *, done: bool = True) -> None:
        several = len(self._sessions) > 1
        for channel, session in enumerate(self._sessions):
            while True:
                for event in session.events():
                    if isinstance(event, OfChannel):
                        self._tell(replace(event, channel=channel if several else None))
                request = session.next_decode()
                if request is None:
                    break
                if self._rng.random() < 0.1:
                    session.receive_failure(request.id)
                else:
                    session.receive_hypothesis(self._decode(request))
        if done and self._stopped:
            self._tell(Done(1, 1, 1, 1, 1))
        self.over = self._stopped and not self._adapter.continues

    def _decode(self, request: DecodeRequest) -> Hypothesis:
        end = request.start + len(request.samples)
        begin = request.start + len(request.prefix.split()) * 4_000
        words = [
            Word(self._rng.choice([" да", " нет,", " Склад."]), at, at + 4_000, 0.5)
            for at in range(begin, end - 4_000, 4_000)
        ]
        return Hypothesis(request.id, tuple(words), language="ru")

    def _tell(self, event: Event) -> None:
        _check_messages(self._adapter.send(event))


def _check_messages(messages: Sequence[Message]) -> None:
    for message in messages:
        assert isinstance(message, str | bytes)
        if isinstance(message, str):
            message.encode()  # No half of a character: a WebSocket could not send it.


def _held_bytes(adapter: Adapter) -> int:
    """The memory of everything that the adapter holds."""
    shared = (type, ModuleType, FunctionType, MethodType, BuiltinFunctionType)
    seen: set[int] = set()
    waiting: list[object] = [adapter]
    total = 0
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, shared):
            continue
        seen.add(id(found))
        total += sys.getsizeof(found)
        waiting += gc.get_referents(found)
    return total


@pytest.mark.parametrize("name", ADAPTERS)
def test_any_messages(name: str) -> None:
    """Only ClientError is raised, its answer can be sent, commands come in order, and the adapter stays small."""
    fuzzed = ADAPTERS[name]
    rng = random.Random(name)  # The same messages on every machine.
    tried = 0
    while tried < INPUTS:
        adapter = fuzzed.make(rng)
        connection = Connection(adapter, rng)
        for _ in range(rng.randint(1, LONGEST)):
            tried += 1
            message = _message(fuzzed.examples, rng)
            try:
                connection.receive(message)
            except ClientError as error:
                _check_messages(adapter.fail(error, SESSION))
                break
            except Exception as error:
                raise AssertionError(f"{name} fails at {message[:300]!r}") from error
            if connection.over:
                break
        else:
            connection.drain()
        assert _held_bytes(adapter) < MOST_BYTES
        _check_messages(adapter.fail(DecodeFailed("the model failed"), SESSION))


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_long_connection_does_not_grow(name: str) -> None:
    """After thousands of messages an adapter holds what it held after hundreds."""
    fuzzed = ADAPTERS[name]
    rng = random.Random(name)
    adapter = fuzzed.make(rng)
    connection = Connection(adapter, rng)
    held = []
    for number in range(2_000):
        try:
            connection.receive(rng.choice(fuzzed.examples))
        except ClientError:
            connection.over = True
        if connection.over:
            adapter = fuzzed.make(rng)
            connection = Connection(adapter, rng)
        if number % 400 == 399:
            held.append(_held_bytes(adapter))
    assert held[-1] < held[0] + 20_000, held
