"""Shows the progress of downloads and transcriptions on standard error."""

import shutil
import sys
import time


class ProgressBar:
    """The progress of one file at a time: a bar on a terminal, otherwise a line every ten seconds."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown_s = time.monotonic()
        self._open = False

    def report(self, name: str, done: int, total: int | None) -> None:
        """Show that ``done`` of ``total`` bytes of the file ``name`` are there. ``total`` None: unknown."""
        now = time.monotonic()
        if now - self._shown_s < (0.1 if self._terminal else 10.0) and done != total:
            return
        self._shown_s = now
        size = f"{done / 1e6:.1f} MB" + (f" of {total / 1e6:.1f} MB" if total else "")
        if not self._terminal:
            print(f"  {name}: {size}", file=sys.stderr)
            return
        width = max(10, min(40, shutil.get_terminal_size().columns - len(name) - 30))
        full = width * done // total if total else 0
        print(f"\r\033[K  {name} [{'#' * full}{'.' * (width - full)}] {size}", end="", file=sys.stderr, flush=True)
        self._open = True

    def say(self, line: str) -> None:
        """Print a line of its own."""
        self.end()
        print(line, file=sys.stderr, flush=True)

    def end(self) -> None:
        """End the line of the bar."""
        if self._open:
            print(file=sys.stderr)
        self._open = False
