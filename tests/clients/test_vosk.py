"""Programs that speak to Vosk's server work with this one: real speech, the real server.

The package vosk has a program for files. FreeSWITCH's mod_vosk, Asterisk's res_speech_vosk, Jigasi and BigBlueButton
cannot be installed here: what their sources do with the socket is done again below.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from benchmarks.client import Native, play
from benchmarks.dialects.vosk import dialect
from benchmarks.scoring import count_errors
from benchmarks.serving import Server
from benchmarks.speech import read_speech
from tests.clients.conftest import RunClient
from tests.speech import DATA, assert_says, clip

pytestmark = [pytest.mark.model, pytest.mark.slow]

PHRASE, TELEPHONE = clip("phrase_3s"), clip("telephone_8k")

SPEED = 4
"""How much faster than speech the replayed clients send."""

AS_NATIVE = 0.1
"""How far the share of wrong words may be from the native protocol's: one or two words of these recordings."""


def address(server: Server, path: str = "/vosk") -> str:
    return server.ws_url.removesuffix("/ws") + path


def pcm(name: str, rate: int) -> bytes:
    """A recording with a second of silence behind it."""
    samples = soxr.resample(clip(name).samples, 16_000, rate)
    return (np.pad(samples, (0, rate)) * 32_767).clip(-32_768, 32_767).astype("<i2").tobytes()


def frames(audio: bytes, size: int, rate: int) -> Iterator[bytes]:
    """The audio in frames, at SPEED times real time."""
    began_s = time.monotonic()
    for begin in range(0, len(audio), size):
        time.sleep(max(0.0, began_s + begin / 2 / rate / SPEED - time.monotonic()))
        yield audio[begin : begin + size]


def call(name: str) -> Iterator[bytes]:
    """A caller on a telephone: 20 ms at a time, the recording at SPEED, then up to 20 s of silence in real time."""
    yield from (frame.ljust(320, b"\0") for frame in frames(pcm(name, 8_000), 320, 8_000))
    for _ in range(1_000):
        time.sleep(0.02)
        yield bytes(320)


# ------------------------------------------------------------------------------------------------ vosk-transcriber


def test_vosk_transcriber(server: Server, run_client: RunClient, tmp_path: Path) -> None:
    """Vosk's own code transcribes a file: its text, and subtitles with the times of the words."""
    recording = tmp_path / "phrase.wav"
    soundfile.write(recording, PHRASE.samples, 16_000, subtype="PCM_16")
    found = run_client("vosk", "vosk_transcriber", address(server, "/?language=ru"), str(recording))
    assert_says(found["txt"], PHRASE.text)
    assert found["txt"] == found["txt"].lower()
    times, *said = found["srt"].strip().splitlines()[1:]
    assert_says(" ".join(line for line in said if "-->" not in line and not line.isdigit()), PHRASE.text)
    begin, end = (
        60 * float(part.split(":")[1]) + float(part.split(":")[2].replace(",", ".")) for part in times.split(" --> ")
    )
    assert 0 <= begin < end <= len(PHRASE.samples) / 16_000 + 0.1


# --------------------------------------------------------------------------------------------------- the samples


@pytest.mark.anyio
async def test_text_is_as_good_as_the_native_protocols(server: Server) -> None:
    """A telephone recording at its own rate: as many wrong words, within one or two."""
    sound, words = read_speech(DATA / "telephone_8k.wav", 60)
    reference = [word.text for word in words]
    native = await play(server.ws_url, Native(sound.rate, language="ru", commit="utterance"), sound, pace=SPEED)
    vosk = await play(address(server), dialect(sound.rate), sound, pace=SPEED, chunk_s=0.2)
    assert_says(vosk.committed, TELEPHONE.text)
    errors = [count_errors(reference, recording.committed).wer for recording in (native, vosk)]
    assert abs(errors[0] - errors[1]) <= AS_NATIVE, (native.committed, vosk.committed)


# ------------------------------------------------------------------------------------------------------ FreeSWITCH


@dataclass
class ModVosk:
    """signalwire/freeswitch, mod_vosk.c: 20 ms come in, 200 ms are sent, and at most one frame is read each time."""

    socket: ClientConnection
    buffer: bytes = b""
    result: str | None = None
    empty: int = 0
    unread: int = 0

    def feed(self, data: bytes) -> None:
        self.buffer += data
        if len(self.buffer) > 3_200:
            self.socket.send(self.buffer[:3_200])
            self.buffer = self.buffer[3_200:]
        try:
            found = str(self.socket.recv(timeout=0))
        except TimeoutError:
            return
        if '""' in found:
            self.empty += 1
        elif '"partial"' not in found:
            self.result = json.loads(found)["text"]


def test_freeswitch(server: Server) -> None:
    """No config, 8000 Hz: what detect_speech returns is the caller's phrase, and no frame is left unread."""
    with connect(address(server, "/"), compression=None) as socket:
        module = ModVosk(socket)
        for frame in call("phrase_3s"):
            module.feed(frame)
            if module.result is not None:
                break
        for _ in range(20):
            time.sleep(0.02)
            module.feed(bytes(320))
        assert module.empty > 3
        while True:  # The answer to the last frame, and no other.
            try:
                socket.recv(timeout=0.3)
            except TimeoutError:
                break
            module.unread += 1
        assert module.unread <= 1
    assert_says(module.result or "", PHRASE.text)


# -------------------------------------------------------------------------------------------------------- Asterisk


def test_asterisk_with_res_speech_vosk(server: Server) -> None:
    """alphacep/vosk-asterisk, res_speech_vosk.c: 20 ms come in, 200 ms are sent, at most one frame is read each time,
    and the first text that is not empty ends SpeechBackground. Then the module goes away without a word.
    """
    result, buffer = "", b""
    with connect(address(server, "/"), compression=None, subprotocols=[Subprotocol("ws")]) as socket:
        assert socket.subprotocol == "ws"
        for frame in call("phrase_3s"):
            buffer += frame
            if len(buffer) == 3_200:
                socket.send(buffer)
                buffer = b""
            try:
                found = json.loads(socket.recv(timeout=0))
            except TimeoutError:
                continue
            if not found.get("partial") and found.get("text"):
                result = found["text"]
                break
    assert_says(result, PHRASE.text)


# ---------------------------------------------------------------------------------------------------------- Jigasi


@dataclass
class Jigasi:
    """jitsi/jigasi, VoskTranscriptionService: what its listeners hear."""

    last: str = ""
    partials: list[str] = field(default_factory=list)
    finals: list[str] = field(default_factory=list)

    def on_message(self, text: str) -> None:
        found: dict[str, Any] = json.loads(text)
        partial = "partial" in found
        result: str = found["partial" if partial else "text"]
        if result and (not partial or result != self.last):
            self.last = result
            (self.partials if partial else self.finals).append(result)


def read_waiting(socket: ClientConnection, on_message: Any) -> None:
    """What has arrived."""
    while True:
        try:
            on_message(str(socket.recv(timeout=0)))
        except TimeoutError:
            return


def read_to_close(socket: ClientConnection, on_message: Any) -> None:
    """What arrives until the server closes the connection."""
    try:
        while True:
            on_message(str(socket.recv(timeout=10)))
    except ConnectionClosed:
        return


def test_jitsi(server: Server) -> None:
    """A participant joins, says nothing for a while, then speaks at 48000 Hz; at the end Jigasi waits for the close."""
    jigasi = Jigasi()
    with connect(address(server, "/?text=written"), compression=None) as socket:
        time.sleep(1.0)
        socket.send('{"config" : {"sample_rate" : 48000.0 }}')
        for frame in frames(pcm("phrase_3s", 48_000), 1_920, 48_000):
            socket.send(frame)
            read_waiting(socket, jigasi.on_message)
        socket.send('{"eof" : 1}')
        read_to_close(socket, jigasi.on_message)
        assert socket.close_code == 1000
    assert_says(" ".join(jigasi.finals), PHRASE.text)
    assert any(letter.isupper() for letter in jigasi.finals[0])


# --------------------------------------------------------------------------------------------------- BigBlueButton


def test_bigbluebutton(server: Server) -> None:
    """bbb-transcription-controller over mod_audio_fork: its subprotocol is not answered, the rate is text; it stops
    when it has a final text after the end.
    """
    transcripts: list[tuple[str, bool]] = []

    def on_message(text: str) -> None:
        body = json.loads(text)
        transcription = body.get("text") or body.get("partial")
        if transcription and (body.get("text") or transcription != (transcripts or [("", False)])[-1][0]):
            transcripts.append((transcription, bool(body.get("text"))))

    names = [Subprotocol("audio.drachtio.org")]
    with connect(address(server, "/vosk?language=ru"), compression=None, subprotocols=names) as socket:
        assert socket.subprotocol is None
        socket.send('{"config":{"sample_rate":"16000"}}')
        for frame in frames(pcm("phrase_3s", 16_000), 640, 16_000):
            socket.send(frame)
            read_waiting(socket, on_message)
        socket.send('{"eof":1}')
        read_to_close(socket, on_message)
    assert_says(" ".join(text for text, final in transcripts if final), PHRASE.text)
