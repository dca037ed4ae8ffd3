"""The output of a session: one append-only file, written by a `cat` that tmux feeds. A cursor is an offset in it.

When the file holds more than it should, its oldest blocks are given back to the file system in place (Linux `fallocate`), so that offsets
stay what they are, the writer goes on undisturbed, and the file itself tells where the kept part begins (`SEEK_DATA`).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from vermas.types import Output

_BLOCK = 4096
_PUNCH_HOLE_KEEP_SIZE = 3
_QUIET_S = 0.5


def log_path(home: str | Path, session_no: int) -> Path:
    """Where the output of a polecat's session lies."""
    return Path(home, f"output-{session_no}.log")


def size(path: Path) -> int | None:
    """How many bytes were printed so far; None without a log."""
    try:
        return path.stat().st_size
    except OSError:
        return None


def trim(path: Path, keep_bytes: int) -> None:
    """Give back the oldest blocks once the file takes a quarter more than `keep_bytes`."""
    try:
        status = path.stat()
    except OSError:
        return
    if status.st_blocks * 512 <= keep_bytes + max(keep_bytes // 4, 16 * _BLOCK):
        return
    fallocate = _fallocate()
    if fallocate is None:
        return
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fallocate(fd, _PUNCH_HOLE_KEEP_SIZE, 0, (status.st_size - keep_bytes) // _BLOCK * _BLOCK)
    finally:
        os.close(fd)


@functools.cache
def _fallocate() -> Callable[[int, int, int, int], int] | None:
    """The C library's `fallocate`, where there is one. A file system without holes refuses it: then the log keeps everything."""
    if sys.platform != "linux":
        return None
    function = ctypes.CDLL(None, use_errno=True).fallocate64
    function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    function.restype = ctypes.c_int
    return function


def read(path: Path, cursor: int, limit_bytes: int, ended: Callable[[], bool]) -> Output:
    """A piece of the output from `cursor` on; `ended` is only asked when all of it was read, and must be true only for ever."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return Output(data=b"", cursor=max(cursor, 0), eof=ended())
    try:
        output = _piece(fd, cursor, limit_bytes)
        if output.cursor < os.fstat(fd).st_size or not ended() or _being_written(fd):
            return output
        return Output(data=output.data, cursor=output.cursor, gap=output.gap, eof=output.cursor >= os.fstat(fd).st_size)
    finally:
        os.close(fd)


def _piece(fd: int, cursor: int, limit_bytes: int) -> Output:
    total = os.fstat(fd).st_size
    wanted = max(total + cursor, 0) if cursor < 0 else cursor
    while True:
        start = max(wanted, min(_first_kept(fd, total), total))
        data = os.pread(fd, max(limit_bytes, 0), start)
        # Blocks that were given back while they were read came out as zeros: look again.
        if min(_first_kept(fd, total), total) <= start:
            return Output(data=data, cursor=start + len(data), gap=start > wanted)


def _first_kept(fd: int, total: int) -> int:
    try:
        return os.lseek(fd, 0, os.SEEK_DATA)
    except OSError as error:
        return total if error.errno == errno.ENXIO else 0


def _being_written(fd: int) -> bool:
    """Whether a process still has the file open for writing: the kernel grants a read lease only when none has (Linux)."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)  # a writer that comes meanwhile sends a signal; this one is ignored by default
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except (OSError, AttributeError):
        return time.time() - os.fstat(fd).st_mtime < _QUIET_S
    return False
