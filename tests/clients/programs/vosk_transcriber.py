"""Transcribes a recording with vosk-transcriber, the program of the package vosk, on a server: ADDRESS RECORDING.

Prints its two output formats.
"""

# mypy: ignore-errors

import json
import sys
import tempfile
from pathlib import Path

from vosk.transcriber.cli import main

address, recording = sys.argv[1:]
printed = {}
for kind in ("txt", "srt"):
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        sys.argv = ["vosk-transcriber", "--server", address, "-i", recording, "-o", str(output), "-t", kind]
        main()
        printed[kind] = output.read_text(encoding="utf-8")
print(json.dumps(printed))
