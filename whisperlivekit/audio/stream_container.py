"""A media file that arrives piece by piece, as a browser's MediaRecorder sends it -> float32 mono 16 kHz, meanwhile.

FFmpeg's libraries ask for bytes and do not return until they have them. So each stream has a thread, in which ``read``
waits. The thread and the event loop take turns, and what one feeds is decoded completely before more is taken: no lock
is needed, nothing waits in a queue, and the same bytes always give the same audio, however they are cut.

Bounds: what FFmpeg holds without giving audio, at most SILENT_BYTES, and PIECE_S of decoded audio.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from whisperlivekit.audio.container import BROKEN, PIECE_S, frames, open_container, resampled
from whisperlivekit.core.units import to_samples
from whisperlivekit.errors import BadAudio

FRAME_S = 0.02
"""Audio is told in steps of this length: a frame of Opus, which browsers and telephones use."""

PROBE_BYTES = "32"
"""FFmpeg's smallest. By default it collects 400 kB of a WAV stream, 13 s at 16 kHz, to see whether DTS is inside."""

HEAD_BYTES = 12
"""So many bytes tell the format."""

SILENT_BYTES = 16 * 1024 * 1024
"""Bytes that may follow each other without audio: the pictures of a music file. An element of a container may claim to
be any size, and FFmpeg collects it."""

TRAILER_BYTES = 65_536
"""Bytes after the end of a file that are ignored: tags. With more, the file was damaged, or another one follows."""


class StreamContainer:
    """Decodes one stream: ``feed``, then ``read`` until it returns None, and so on; at last ``end`` and the same again.

    ``close`` must be called, whatever happened.
    """

    def __init__(self, channels: int = 1) -> None:
        """channels: see ``decode``."""
        self._channels = channels
        self._fed = b""
        """What FFmpeg has not taken yet."""
        self._ended = self._closed = False
        self._thread: threading.Thread | None = None
        self._format = ""
        self._go = threading.Semaphore(0)
        """Gives the turn to the thread."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn: asyncio.Future[None] | None = None
        """Done when the thread gives the turn back. None: it never had the turn."""
        self._pieces: list[NDArray[np.float32]] = []
        """Decoded and not yet read."""
        self._hungry = True
        """All that was fed is decoded."""
        self._finished = False
        """The file has ended, or is damaged."""
        self._failure: Exception | None = None
        self._silent = 0
        """Bytes since the last audio."""

    def feed(self, data: bytes) -> None:
        """The next bytes, any number of them. Only when ``read`` has returned None.

        Raises:
            BadAudio: the bytes are of no known format, or too many of them hold no audio.
        """
        if not self._hungry and not self._finished:
            raise RuntimeError("fed before all was read")
        self._silent += len(data)
        if self._silent > (TRAILER_BYTES if self._finished else SILENT_BYTES):
            found = "the audio file in the stream ended or is damaged" if self._finished else "the stream has no audio"
            raise BadAudio(f"{found}: {self._silent} bytes without any, expected audio")
        if self._finished:
            return
        self._fed += data
        if not self._format and len(self._fed) >= HEAD_BYTES:
            self._format = _format(self._fed)
        self._hungry = not self._format

    def end(self) -> None:
        """No more bytes follow. Only when ``read`` has returned None.

        Raises:
            BadAudio: the stream is too short to be a file.
        """
        if self._fed and not self._format:
            raise BadAudio(f"the stream has {len(self._fed)} bytes, expected an audio file")
        self._ended = True
        self._hungry = not self._format

    async def read(self) -> NDArray[np.float32] | None:
        """The next piece of the audio of what was fed: float32[n] in [-1, 1], up to about PIECE_S; None: that was all.
        With more than one channel float32[channels, n].

        Raises:
            BadAudio: the stream cannot be decoded.
        """
        if self._turn is not None and not self._turn.done():
            await self._wait_for_thread()
        while not self._pieces:
            if self._failure:
                raise self._failure
            if self._hungry or self._finished:
                return None
            await self._wait_for_thread()
        pieces, self._pieces = self._pieces, []
        self._silent = 0
        return np.concatenate(pieces, axis=-1)

    def close(self) -> None:
        """End the thread, which may still decode for a moment. Calling it twice has no effect."""
        self._closed = True
        self._go.release()

    async def _wait_for_thread(self) -> None:
        """Give the turn to the thread, and wait until it is given back. If this is cancelled, the next call goes on."""
        if self._turn is None or self._turn.done():
            self._loop = asyncio.get_running_loop()
            self._turn = self._loop.create_future()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="stream-container", daemon=True)
                self._thread.start()
            else:
                self._go.release()
        await asyncio.shield(self._turn)

    # ---- in the thread

    def _run(self) -> None:
        try:
            self._decode()
        except Exception as error:  # noqa: BLE001  (the thread's edge: the reader raises it)
            self._failure = error
        self._finished = True
        self._give_back()

    def _decode(self) -> None:
        import av

        try:
            with open_container(_Source(self._read), self._format, probesize=PROBE_BYTES) as container:
                for piece in resampled(frames(container), self._channels, FRAME_S):
                    if self._closed:
                        return
                    if piece.size:
                        self._pieces.append(piece)
                    if sum(piece.shape[-1] for piece in self._pieces) >= to_samples(PIECE_S):
                        self._wait_for_turn()
        except (av.FFmpegError, *BROKEN) as error:
            raise BadAudio("the audio file in the stream is damaged, expected audio that can be decoded") from error

    def _read(self, size: int) -> bytes:
        while not self._fed and not self._ended and not self._closed:
            self._hungry = True
            self._wait_for_turn()
        if self._closed:
            return b""
        taken, self._fed = self._fed[:size], self._fed[size:]
        return taken

    def _wait_for_turn(self) -> None:
        self._give_back()
        self._go.acquire()

    def _give_back(self) -> None:
        assert self._loop is not None
        assert self._turn is not None
        with suppress(RuntimeError):  # the event loop has ended
            self._loop.call_soon_threadsafe(_complete, self._turn)


class _Source:
    """What FFmpeg reads from."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.read = read


def _complete(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


def signed_format(head: bytes) -> str | None:
    """FFmpeg's name of the format that begins with ``head``, if its first bytes are a signature, which raw audio does
    not have by chance.
    """
    return next((name for at, magic, name in _FORMATS if head[at : at + len(magic)] == magic), None)


def _format(head: bytes) -> str:
    """FFmpeg's name of the format that begins with ``head``, HEAD_BYTES or more."""
    if (name := signed_format(head)) is not None:
        return name
    if head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        # The two bits of the layer, which no AAC has.
        return "mp3" if head[1] & 0x06 else "aac"
    raise BadAudio(
        f"the stream begins with {head[:4].hex(' ')}, expected WebM, Ogg, WAV, FLAC, MP3, AAC, MP4, AMR, AU, AIFF or "
        "CAF; raw audio needs its encoding and its sample rate"
    )


_FORMATS = (
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (0, b"OggS", "ogg"),
    (0, b"RIFF", "wav"),
    (0, b"RF64", "wav"),
    (0, b"fLaC", "flac"),
    (0, b"ID3", "mp3"),
    (4, b"ftyp", "mov"),
    (0, b"#!AMR", "amr"),
    (0, b".snd", "au"),
    (0, b"FORM", "aiff"),
    (0, b"caff", "caf"),
)
"""Where a format has which bytes, and FFmpeg's name of it."""
