"""Transcribes a recording with the transcriber of the package vosk (vosk-transcriber --server): ADDRESS RECORDING.

Prints its two output formats. The program itself knows no address but ws://localhost:2700, and loads a model of its own
although a server does the work. So its class is used here, without the model.
"""

# mypy: ignore-errors

import json
import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from queue import Queue

from vosk.transcriber.transcriber import Transcriber


class ServerTranscriber(Transcriber):
    def __init__(self, args: Namespace) -> None:
        self.args = args
        self.queue = Queue()


address, recording = sys.argv[1:]
printed = {}
for kind in ("txt", "srt"):
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        ServerTranscriber(Namespace(server=address, output_type=kind, tasks=1)).process_task_list([(recording, output)])
        printed[kind] = output.read_text(encoding="utf-8")
print(json.dumps(printed))
