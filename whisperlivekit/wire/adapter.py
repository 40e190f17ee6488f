"""The interface of every wire protocol: it translates a client's messages into commands, and events into messages.

An adapter does no IO: the server passes it what it received, and sends what it returns.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from whisperlivekit.core.commands import Command
from whisperlivekit.core.events import Event
from whisperlivekit.errors import WhisperLiveKitError

Message = str | bytes

MAX_MESSAGE_BYTES = 1024 * 1024
"""The longest message that a client may send, in any protocol: 32 s of 16-bit audio at 16 kHz."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A message to send at once, between the commands before it and those after it."""

    message: Message


class Adapter(Protocol):
    """The translator of one connection; it holds no state but that connection's.

    A connection serves one stream after another: each begins with ``Start`` and ends with ``Stop``.
    """

    @property
    def resumes(self) -> bool:
        """Clients of this protocol continue a stream on another connection. False: when the worker shuts down, the
        connection ends at a pause of its stream.
        """
        ...

    @property
    def may_be_silent(self) -> bool:
        """The client may send nothing for as long as it likes, before its first stream too: pings show that it is still
        there. False: the server's time limits apply.
        """
        ...

    @property
    def continues(self) -> bool:
        """Another stream may follow the one that has just ended. False: the connection ends with its stream."""
        ...

    @property
    def holds_text(self) -> bool:
        """Text that was told by events waits for a message of the client, because only such a message is answered."""
        ...

    def open(self, session: str) -> Iterable[Command | Reply]:
        """What happens before the client's first message. ``session`` is the id that the log has for the connection."""
        ...

    def receive(self, message: Message) -> Iterable[Command | Reply]:
        """The commands in a client's message, and the answers that do not wait for the session. The first command of a
        stream is always ``Start``.

        Raises:
            ClientError: the message does not follow the protocol; the connection must end with this error. What comes
                before the mistake in the same message may be yielded first.
        """
        ...

    def send(self, event: Event) -> Sequence[Message]:
        """The messages for an event. It has a channel (``OfChannel``) only if the stream's ``Start`` has several."""
        ...

    def fail(self, error: WhisperLiveKitError, session: str) -> Sequence[Message]:
        """The messages that end a connection with an error; ``session`` is the id to quote in a report."""
        ...
