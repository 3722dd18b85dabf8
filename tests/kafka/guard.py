"""Ends a process group when another process is gone, however it went: ``python guard.py WATCHED GROUP FOLDER``.

FOLDER is removed then. If the group is gone first, there is nothing left to guard. It has a session of its own, so that
what ends the watched process (Ctrl-C, SIGKILL, a time limit on the run) does not end the guard. Run as a file.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import time

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 3.0
"""From SIGTERM, which the client of a container passes on, to SIGKILL."""


def ended(pid: int) -> bool:
    """A zombie has ended, where the system can tell (Linux)."""
    try:
        if not hasattr(os, "pidfd_open"):
            os.kill(pid, 0)
            return False
        opened = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([opened], [], [], 0)[0])
    finally:
        os.close(opened)


def main(watched: int, group: int, folder: str) -> None:
    while not ended(watched):
        if ended(group):
            return
        time.sleep(POLL_SECONDS)
    try:
        os.killpg(group, signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not ended(group) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
