"""What Chromium's fake microphone plays."""

import shutil
import subprocess
from pathlib import Path

from tests.speech import DATA


def write_microphone_file(path: Path, clip: str, lead_s: float) -> Path:
    """The clip of this name in the format of Chromium's fake microphone, with silence before and after it."""
    ffmpeg = shutil.which("ffmpeg")
    assert ffmpeg is not None, "ffmpeg is not installed: bash install.sh test installs it"
    delay = f"adelay={int(lead_s * 1000)},apad=pad_dur=30"
    source = str(DATA / f"{clip}.flac")
    subprocess.run(
        [ffmpeg, "-v", "error", "-i", source, "-af", delay, "-ar", "48000", "-c:a", "pcm_s16le", str(path)], check=True
    )
    return path
