"""What every wire protocol is: a sans-IO translator between messages and the session's commands and events."""

from typing import Protocol

from whisperlivekit.core.commands import Command
from whisperlivekit.core.events import Event
from whisperlivekit.errors import WhisperLiveKitError

Message = str | bytes

MAX_MESSAGE_BYTES = 1024 * 1024
"""The longest message of a client, in any protocol: 32 s of 16-bit audio at 16 kHz."""


class Adapter(Protocol):
    """One connection's translator. It holds only the state of its own stream."""

    def receive(self, message: Message) -> list[Command]:
        """The commands in a client's message; the first command of a connection is always ``Start``.

        Raises:
            ClientError: the message is not of this protocol's form; the connection ends with it.
        """
        ...

    def send(self, event: Event) -> list[Message]:
        """The messages that tell a client of an event."""
        ...

    def fail(self, error: WhisperLiveKitError, session: str) -> list[Message]:
        """The messages that tell a client why its connection ends; ``session`` is the id to quote in a report."""
        ...
