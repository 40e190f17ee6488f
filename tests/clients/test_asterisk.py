"""A real Asterisk of Debian recognises a caller's speech with its own module, res_speech_aeap: nothing is compiled.

It runs from where install.sh has unpacked it, with a configuration of its own and without a network.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from benchmarks.serving import ROOT, Server
from tests.speech import assert_says, sentences

UNPACKED = ROOT / "venv" / "proxies" / "asterisk"
ASTERISK = UNPACKED / "usr" / "sbin" / "asterisk"
MODULE_FOLDER = UNPACKED / "usr/lib/x86_64-linux-gnu/asterisk/modules"
LINKER = (
    str(UNPACKED / "usr/lib64/ld-linux-x86-64.so.2"),
    "--library-path",
    str(UNPACKED / "usr/lib/x86_64-linux-gnu"),
)
"""Starts a program with the libraries of its own Debian."""

pytestmark = [
    pytest.mark.model,
    pytest.mark.slow,
    pytest.mark.skipif(not ASTERISK.exists(), reason="Asterisk is not unpacked: bash install.sh test"),
]

FIRST, SECOND = sorted(sentences(), key=lambda clip: len(clip.samples))[1:3]

MODULES = (
    "res_timing_timerfd", "res_clioriginate", "res_http_websocket", "res_sorcery_config", "res_speech", "res_aeap",
    "res_speech_aeap", "pbx_config", "app_playback", "app_speech_utils", "app_verbose", "codec_ulaw", "codec_alaw",
    "codec_resample", "format_wav",
)  # fmt: skip

CODECS = {"ulaw": "", "alaw": "", "slin16": "@sample_rate=16000\n"}
"""Name, and what aeap.conf must say about it: Asterisk calls signed linear audio "slin" at every rate."""

DIALPLAN = """
exten => {codec},1,Answer()
 same => n,SpeechCreate({codec})
 same => n,GotoIf($["${{ERROR}}" = "1"]?failed)
 same => n,SpeechStart()
 same => n,SpeechBackground({folder}/beep,30)
 same => n,Log(NOTICE,first of {codec}: ${{SPEECH_SCORE(0)}} ${{SPEECH_TEXT(0)}})
 same => n,SpeechBackground({folder}/beep,30)
 same => n,Log(NOTICE,second of {codec}: ${{SPEECH_SCORE(0)}} ${{SPEECH_TEXT(0)}})
 same => n,Set(SPEECH_ENGINE(hotwords)=Максим)
 same => n,Log(NOTICE,hotwords of {codec}: ${{SPEECH_ENGINE(hotwords)}})
 same => n,SpeechDestroy()
 same => n(failed),Log(NOTICE,end of {codec})
 same => n,Hangup()
"""


class Pbx:
    """A running Asterisk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = [*LINKER, str(ASTERISK), "-C", str(folder / "asterisk.conf")]

    @property
    def log(self) -> str:
        file = self.folder / "log" / "messages"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def ask(self, command: str) -> str:
        done = subprocess.run(
            [*self.command, "-rx", command],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        return done.stdout + done.stderr

    def wait_for(self, text: str, within_s: float) -> str:
        """The log's line with the text, from there."""
        deadline = time.monotonic() + within_s
        while text not in self.log:
            assert time.monotonic() < deadline, f"not in Asterisk's log: {text}\n{self.log[-4000:]}"
            time.sleep(0.1)
        return self.log.split(text, 1)[1].splitlines()[0]


@contextmanager
def pbx(folder: Path, server: Server) -> Iterator[Pbx]:
    """Asterisk with an engine for each codec, and the recording that a caller plays."""
    for name in ("log", "run", "spool", "db"):
        (folder / name).mkdir(parents=True)
    (folder / "asterisk.conf").write_text(
        f"[directories]\nastetcdir => {folder}\nastmoddir => {MODULE_FOLDER}\n"
        f"astdatadir => {UNPACKED}/usr/share/asterisk\nastvarlibdir => {folder}\nastdbdir => {folder}/db\n"
        f"astkeydir => {folder}\nastagidir => {folder}\nastspooldir => {folder}/spool\nastrundir => {folder}/run\n"
        f"astlogdir => {folder}/log\nastsbindir => {folder}\n[options]\ndefaultlanguage = ru\n"
    )
    # Asterisk logs an error for each of these that is missing.
    for name in ("acl", "cdr", "cel", "features", "udptl"):
        (folder / f"{name}.conf").touch()
    (folder / "modules.conf").write_text("[modules]\nautoload=no\n" + "".join(f"load={name}.so\n" for name in MODULES))
    (folder / "logger.conf").write_text("[general]\n[logfiles]\nmessages => notice,warning,error\n")
    url = server.ws_url.removesuffix("/ws") + "/aeap"
    (folder / "aeap.conf").write_text(
        "".join(
            f"[{codec}]\ntype=client\ncodecs=!all,{codec}\nurl={url}\nprotocol=speech_to_text\n@language=ru\n{more}"
            for codec, more in CODECS.items()
        )
    )
    calls = "".join(DIALPLAN.format(codec=codec, folder=folder) for codec in CODECS)
    (folder / "extensions.conf").write_text(f"[call]{calls}", encoding="utf-8")
    pause = np.zeros(48_000, np.float32)
    # The dialplan ends the call when it has both texts.
    call = np.concatenate([FIRST.samples, pause, SECOND.samples, np.zeros(30 * 16_000, np.float32)])
    for name, samples in {"call": call, "beep": np.zeros(1_600, np.float32)}.items():
        soundfile.write(folder / f"{name}.wav", soxr.resample(samples, 16_000, 8_000), 8_000, subtype="PCM_16")
    running = Pbx(folder)
    process = subprocess.Popen([*running.command, "-f"], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 20
        while "fully booted" not in running.ask("core waitfullybooted"):
            assert process.poll() is None, running.log
            assert time.monotonic() < deadline, running.log
            time.sleep(0.2)
        yield running
    finally:
        process.terminate()
        process.wait(10)


def test_callers_are_understood(server: Server, tmp_path: Path) -> None:
    """Two turns of a call in each codec: SpeechBackground ends with the caller's text, in the form that scripts
    compare, and a score. A setting can be made and asked for.
    """
    with pbx(tmp_path, server) as asterisk:
        for codec in CODECS:
            asterisk.ask(f"channel originate Local/{codec}@call application Playback {tmp_path}/call")
        for codec in CODECS:
            for turn, expected in {"first": FIRST, "second": SECOND}.items():
                score, _, text = asterisk.wait_for(f"{turn} of {codec}: ", 40).partition(" ")
                assert_says(text, expected.text)
                assert text == text.lower()
                assert 30 < int(score) <= 100
            assert asterisk.wait_for(f"hotwords of {codec}: ", 10) == "Максим"
            asterisk.wait_for(f"end of {codec}", 10)
        assert "ERROR" not in asterisk.log, asterisk.log
