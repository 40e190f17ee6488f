"""A real Asterisk of Debian recognises a caller's speech with its own module, res_speech_aeap: nothing is compiled.

It runs from where install.sh has unpacked it, with a configuration of its own and without a network.
"""

import os
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

pytestmark = [
    pytest.mark.model,
    pytest.mark.slow,
    pytest.mark.skipif(not ASTERISK.exists(), reason="Asterisk is not unpacked: bash install.sh test"),
]

FIRST, SECOND = sorted(sentences(), key=lambda clip: len(clip.samples))[1:3]

MODULES = (
    "res_timing_timerfd", "res_http_websocket", "res_sorcery_config", "res_speech", "res_aeap", "res_speech_aeap",
    "pbx_config", "app_playback", "app_speech_utils", "app_verbose", "codec_ulaw", "codec_alaw", "format_wav",
)  # fmt: skip

DIALPLAN = """
[call]
exten => {codec},1,Answer()
 same => n,SpeechCreate({codec})
 same => n,GotoIf($["${{ERROR}}" = "1"]?failed,1)
 same => n,SpeechStart()
 same => n,SpeechBackground(beep,30)
 same => n,Log(NOTICE,first of {codec}: ${{SPEECH_SCORE(0)}} ${{SPEECH_TEXT(0)}})
 same => n,SpeechBackground(beep,30)
 same => n,Log(NOTICE,second of {codec}: ${{SPEECH_SCORE(0)}} ${{SPEECH_TEXT(0)}})
 same => n,Set(SPEECH_ENGINE(hotwords)=Максим)
 same => n,Log(NOTICE,hotwords of {codec}: ${{SPEECH_ENGINE(hotwords)}})
 same => n,SpeechDestroy()
 same => n,Log(NOTICE,end of {codec})
 same => n,Hangup()
exten => failed,1,Log(NOTICE,end of SpeechCreate)
 same => n,Hangup()
"""


class Pbx:
    """A running Asterisk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.command = [str(ASTERISK), "-C", str(folder / "asterisk.conf")]
        self.environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, library_folders()))}

    @property
    def log(self) -> str:
        file = self.folder / "log" / "messages"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def ask(self, command: str) -> str:
        done = subprocess.run(
            [*self.command, "-rx", command],
            env=self.environment,
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


def library_folders() -> list[Path]:
    return [
        folder
        for folder in (UNPACKED / "usr/lib/x86_64-linux-gnu", UNPACKED / "lib/x86_64-linux-gnu")
        if folder.exists()
    ]


@contextmanager
def pbx(folder: Path, server: Server) -> Iterator[Pbx]:
    """Asterisk with an engine for each codec, and the recording that a caller plays."""
    modules = next(UNPACKED.glob("usr/lib/**/asterisk/modules"))
    for name in ("log", "run", "spool", "db"):
        (folder / name).mkdir(parents=True)
    (folder / "asterisk.conf").write_text(
        f"[directories]\nastetcdir => {folder}\nastmoddir => {modules}\n"
        f"astdatadir => {UNPACKED}/usr/share/asterisk\nastvarlibdir => {folder}\nastdbdir => {folder}/db\n"
        f"astkeydir => {folder}\nastagidir => {folder}\nastspooldir => {folder}/spool\nastrundir => {folder}/run\n"
        f"astlogdir => {folder}/log\nastsbindir => {folder}\n[options]\ndefaultlanguage = ru\n"
    )
    (folder / "modules.conf").write_text("[modules]\nautoload=no\n" + "".join(f"load={name}.so\n" for name in MODULES))
    (folder / "logger.conf").write_text("[general]\n[logfiles]\nmessages => notice,warning,error\n")
    url = server.ws_url.removesuffix("/ws") + "/aeap"
    (folder / "aeap.conf").write_text(
        "".join(
            f"[{codec}]\ntype=client\ncodecs=!all,{codec}\nurl={url}\nprotocol=speech_to_text\n@language=ru\n{more}\n"
            for codec, more in {"ulaw": "", "alaw": "", "slin16": "@sample_rate=16000\n"}.items()
        )
    )
    (folder / "extensions.conf").write_text(
        "".join(DIALPLAN.format(codec=codec) for codec in ("ulaw", "alaw", "slin16")), encoding="utf-8"
    )
    pause = np.zeros(24_000, np.float32)
    call = np.concatenate([pause, FIRST.samples, pause, pause, SECOND.samples, pause, pause])
    for name, samples in {"call": call, "beep": np.zeros(1_600, np.float32)}.items():
        soundfile.write(folder / f"{name}.wav", soxr.resample(samples, 16_000, 8_000), 8_000, subtype="PCM_16")
    running = Pbx(folder)
    process = subprocess.Popen(
        [*running.command, "-f"], env=running.environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    )
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


@pytest.mark.parametrize("codec", ["ulaw"])
def test_a_caller_is_understood(server: Server, tmp_path: Path, codec: str) -> None:
    """Two turns of a call: SpeechBackground ends with the caller's text and a score, as an IVR script compares it."""
    with pbx(tmp_path, server) as asterisk:
        asterisk.ask(f"channel originate Local/{codec}@call application Playback {tmp_path}/call")
        for turn, expected in {"first": FIRST, "second": SECOND}.items():
            score, _, text = asterisk.wait_for(f"{turn} of {codec}: ", 40).partition(" ")
            assert_says(text, expected.text)
            assert text == text.lower()
            assert 30 < int(score) <= 100
        assert asterisk.wait_for(f"hotwords of {codec}: ", 10) == "Максим"
        asterisk.wait_for(f"end of {codec}", 10)
        assert "ERROR" not in asterisk.log
