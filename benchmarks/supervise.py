"""Runs a command and ends its whole process group when the program that started this one has ended.

``benchmarks.serving`` starts servers with it, as a script and in a new session:

    python -I -S benchmarks/supervise.py COMMAND [ARGUMENT ...]

Standard input is the caller's end of a pipe. The kernel closes it when the caller ends, also by SIGKILL, which a signal
handler or a ``finally`` in the caller could not catch. Then the command gets SIGTERM, and after ``GRACE_S`` everything
that is left in the process group gets SIGKILL. The first line on standard output is the command's process ID. The
command writes to the standard error of this program. The exit code is the command's.

PR_SET_PDEATHSIG is not used: it exists on Linux only, it is sent when the thread that started the command ends, and it
reaches the command alone, not its children.
"""

import os
import signal
import subprocess
import sys
import threading
from types import FrameType

GRACE_S = 5.0
"""How long a server whose benchmark is gone may take to stop after SIGTERM."""


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """A handler and not SIG_IGN, which the command would inherit."""


def _end_with_caller(command: subprocess.Popen[bytes], caller_ended: threading.Event) -> None:
    sys.stdin.buffer.read()  # returns at the end of the pipe
    caller_ended.set()
    command.terminate()
    try:
        command.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(0, signal.SIGKILL)


def main() -> None:
    # Signals to the process group are meant for the command. This program ends after it.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _ignore)
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr)
    print(command.pid, flush=True)
    caller_ended = threading.Event()
    threading.Thread(target=_end_with_caller, args=(command, caller_ended), daemon=True).start()
    code = command.wait()
    if caller_ended.is_set():
        # Nobody else is left to remove children that the command did not stop, nor to read the exit code.
        os.killpg(0, signal.SIGKILL)
    # Not sys.exit: the interpreter would wait for the thread's lock on standard input.
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
