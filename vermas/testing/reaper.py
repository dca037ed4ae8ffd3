"""End the processes that a test left behind. Linux (reads `/proc`); elsewhere it finds nothing.

Independent of `vermas.processes` on purpose: it is the safety net of the tests of that module too.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path


def marked(markers: Sequence[bytes]) -> Iterator[int]:
    """The processes, other than this one, with any of `markers` in their environment or their command line."""
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        if pid != os.getpid() and _mentions(entry, markers):
            yield pid


def end_marked(markers: Sequence[bytes]) -> list[int]:
    """Kill until a whole scan finds nobody: a process may fork while it is looked for. Returns the pids killed."""
    killed: list[int] = []
    for _ in range(50):
        found = [pid for pid in marked(markers) if _kill(pid, markers)]
        if not found:
            break
        killed += found
    return killed


def _mentions(entry: Path, markers: Sequence[bytes]) -> bool:
    for name in ("environ", "cmdline"):
        try:
            content = (entry / name).read_bytes()
        except OSError:
            continue
        if any(marker in content for marker in markers):
            return True
    return False


def _kill(pid: int, markers: Sequence[bytes]) -> bool:
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        # The number may have gone to another process since the scan: look again now that it is held.
        if not _mentions(Path(f"/proc/{pid}"), markers):
            return False
        signal.pidfd_send_signal(fd, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
