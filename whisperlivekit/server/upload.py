"""Receives the body of a file's request, before the file is admitted and takes a place.

Bounds: MAX_AT_ONCE uploads at the same time, each at most MAX_BYTES long and kept on disk. A client must keep sending:
an upload ends after IDLE_S without a byte, at less than MIN_BYTES_PER_S on average, and after LONGEST_S in total.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, TypeVar, cast

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from whisperlivekit.errors import BadMessage, MessageTooBig, NoCapacity, ShuttingDown, TimedOut

MAX_AT_ONCE = 8
"""Uploads that one worker receives at the same time. With MAX_BYTES it bounds the disk they take: 4 GiB."""

MAX_BYTES = 512 * 1024 * 1024
"""Some hours of compressed audio. What is longer than a megabyte waits on disk, not in memory."""

IN_MEMORY_BYTES = 1024 * 1024
"""A body that is not longer stays in memory, as Starlette has it for the files of a form."""

MAX_FIELDS = 200
"""Fields that are not the file: a list of hotwords has up to 100 entries."""

MAX_FIELD_BYTES = 16 * 1024
"""The longest of them: a prompt. They are kept in memory, 3.2 MB for each upload at most."""

IDLE_S = 20.0
"""How long a client may send nothing at all."""

GRACE_S = 30.0
"""How long a client may be slower than MIN_BYTES_PER_S in the beginning."""

MIN_BYTES_PER_S = 16_000
"""The mean rate after that: at 128 kbit/s, speech compressed as MP3 arrives about as fast as it was spoken."""

LONGEST_S = 3600.0
"""How long an upload may take in total: a file of MAX_BYTES at 1.2 Mbit/s."""


Received = TypeVar("Received")


class Uploads:
    """The uploads that a worker is receiving."""

    def __init__(self) -> None:
        self._open: set[_Upload] = set()
        self._draining = False

    def __len__(self) -> int:
        return len(self._open)

    def drain(self) -> None:
        """End every upload now: the worker is shutting down."""
        self._draining = True
        for upload in self._open:
            upload.end()

    async def receive_form(self, request: Request) -> Request:
        """Receive a form. ``form()`` of the returned request has been called and returns at once.

        Raises:
            BadMessage: the body is not a multipart form.
            WhisperLiveKitError, ClientDisconnect: see ``_receive``.
        """
        try:
            return await self._receive(request, _Upload.receive_form)
        except HTTPException as error:
            raise BadMessage(f"the body is not a multipart form: {error.detail}") from None

    async def receive_file(self, request: Request, head: bytes = b"") -> BinaryIO:
        """Receive a body that is the file itself. ``head``: bytes to put in front of it. The caller closes the file.

        Raises:
            WhisperLiveKitError, ClientDisconnect: see ``_receive``.
        """
        return await self._receive(request, lambda upload: upload.receive_file(head))

    async def _receive(self, request: Request, receive: Callable[["_Upload"], Awaitable[Received]]) -> Received:
        """Receive a body within the limits.

        Raises:
            NoCapacity: as many uploads as allowed are being received.
            MessageTooBig: the body is longer than allowed.
            TimedOut: the client is too slow.
            ShuttingDown: the worker is shutting down.
            ClientDisconnect: the client is gone.
        """
        if len(self._open) >= MAX_AT_ONCE:
            raise NoCapacity(f"{len(self._open)} of {MAX_AT_ONCE} uploads are in use; try again later", "uploads")
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > MAX_BYTES:
            raise _too_big(int(declared))
        upload = _Upload(request)
        self._open.add(upload)
        try:
            return await receive(upload)
        except TimeoutError:
            if self._draining:
                raise ShuttingDown("this worker is shutting down; send the file again") from None
            raise upload.too_slow() from None
        finally:
            self._open.discard(upload)


class _Upload:
    """The body of one request, while it is received."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._timeout = asyncio.timeout(IDLE_S)
        self._ended = False
        """The time limit stands: nothing that arrives moves it."""
        self._received = 0
        self._began_s = self._last_s = time.monotonic()

    async def receive_form(self) -> Request:
        request = Request(self._request.scope, self._receive)
        async with self._timeout:
            await request.form(max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES)
            self._ended = True
        return request

    async def receive_file(self, head: bytes) -> BinaryIO:
        spooled = SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115  (the caller closes it)
        file = UploadFile(cast(BinaryIO, spooled))
        try:
            async with self._timeout:
                await file.write(head)
                async for piece in Request(self._request.scope, self._receive).stream():
                    await file.write(piece)
                self._ended = True
            await file.seek(0)
        except BaseException:
            await file.close()
            raise
        return file.file

    def end(self) -> None:
        """Let the time limit pass now."""
        if not self._ended and not self._timeout.expired():
            self._ended = True
            self._timeout.reschedule(0.0)

    async def _receive(self) -> Message:
        message = await self._request.receive()
        self._received += len(message.get("body", b""))
        if self._received > MAX_BYTES:
            raise _too_big(self._received)
        if not self._ended:
            self._last_s = time.monotonic()
            self._timeout.reschedule(asyncio.get_running_loop().time() + self._remaining_s())
        return message

    def _remaining_s(self) -> float:
        """How long the next piece of the body may take."""
        elapsed_s = time.monotonic() - self._began_s
        rate_limit_s = GRACE_S + self._received / MIN_BYTES_PER_S - elapsed_s
        return max(0.0, min(IDLE_S, rate_limit_s, LONGEST_S - elapsed_s))

    def too_slow(self) -> TimedOut:
        """The error that says which limit the client exceeded."""
        now_s = time.monotonic()
        elapsed_s = now_s - self._began_s
        if now_s - self._last_s >= IDLE_S:
            return TimedOut(f"no data for {IDLE_S:g} s, expected the rest of the file")
        found = f"received {self._received} bytes in {elapsed_s:.0f} s"
        if elapsed_s >= LONGEST_S:
            return TimedOut(f"{found}, expected the whole file within {LONGEST_S:g} s")
        return TimedOut(f"{found}, expected at least {MIN_BYTES_PER_S} bytes a second")


def _too_big(size: int) -> MessageTooBig:
    return MessageTooBig(f"the body has {size} bytes or more, expected up to {MAX_BYTES}")
