"""The interface of every wire protocol: it translates a client's messages into commands, and events into messages.

An adapter does no IO: the server passes it what it received, and sends what it returns.
"""

from typing import Protocol

from whisperlivekit.core.commands import Command
from whisperlivekit.core.events import Event
from whisperlivekit.errors import WhisperLiveKitError

Message = str | bytes

MAX_MESSAGE_BYTES = 1024 * 1024
"""The longest message that a client may send, in any protocol: 32 s of 16-bit audio at 16 kHz."""


class Adapter(Protocol):
    """The translator of one connection; it holds no state but that connection's."""

    def receive(self, message: Message) -> list[Command]:
        """The commands in a client's message. The first command of a connection is always ``Start``.

        Raises:
            ClientError: the message does not follow the protocol; the connection must end with this error.
        """
        ...

    def send(self, event: Event) -> list[Message]:
        """The messages for an event."""
        ...

    def fail(self, error: WhisperLiveKitError, session: str) -> list[Message]:
        """The messages that end a connection with an error; ``session`` is the id to quote in a report."""
        ...
