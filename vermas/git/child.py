"""A child process with its output, within a deadline.

`subprocess` does the same and more, but importing it takes longer than the git that `vermas done` runs, and each start three times as long
in this process.
"""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence
    from typing import IO
else:
    import _signal as signal  # without the enumerations that `signal` makes of its numbers

_CHUNK_BYTES = 1 << 16
#: What Python ignores and a program must not.
_RESET = (signal.SIGPIPE, signal.SIGXFSZ)


class Expired(Exception):
    """The child took too long and was ended, with its process group."""


def run_child(
    argv: tuple[str, ...],
    env: Mapping[str, str],
    *,
    input: bytes | IO[bytes] | None,
    stdout: IO[bytes] | None,
    timeout_s: float,
    keep: Sequence[int],
) -> tuple[bytes, bytes, int]:
    """Run `argv` (a path first) to its end: its output (unless it goes to the file `stdout`), its stderr, and its exit code, negative for a
    signal.

    It leads a session of its own, so that nothing of it can ask a terminal, and inherits nothing but the descriptors of `keep`.
    """
    deadline = time.monotonic() + timeout_s
    out_read, out_write = (-1, stdout.fileno()) if stdout else os.pipe()
    err_read, err_write = os.pipe()
    in_read, in_write = os.pipe() if isinstance(input, bytes) else (-1 if input is None else input.fileno(), -1)
    source = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0) if in_read < 0 else (os.POSIX_SPAWN_DUP2, in_read, 0)
    actions = [source, (os.POSIX_SPAWN_DUP2, out_write, 1), (os.POSIX_SPAWN_DUP2, err_write, 2)]
    actions += [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in keep]  # onto itself: the child's copy outlives exec
    reading: dict[int, list[bytes]] = {fd: [] for fd in (out_read, err_read) if fd >= 0}
    try:
        pid = os.posix_spawn(argv[0], argv, env, file_actions=actions, setsid=True, setsigdef=_RESET)
    except BaseException:
        _close(*reading, in_write)
        raise
    finally:
        _close(err_write, *([] if stdout else [out_write]), *([in_read] if isinstance(input, bytes) else []))
    try:
        _exchange(reading, in_write, memoryview(input) if isinstance(input, bytes) else None, deadline)
        code = _wait(pid, deadline)
    except BaseException:
        _end(pid)
        raise
    finally:
        _close(*reading)
    return b"".join(reading.get(out_read, ())), b"".join(reading[err_read]), code


def _exchange(reading: Mapping[int, list[bytes]], writing: int, data: memoryview | None, deadline: float) -> None:
    """Read everything until end of file, and write `data` as it is taken; closes `writing`."""
    poll = select.poll()
    for fd in reading:
        poll.register(fd, select.POLLIN)
    left = len(reading)
    if data is not None:
        os.set_blocking(writing, False)
        poll.register(writing, select.POLLOUT)
    try:
        while left or data is not None:
            ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not ready:
                raise Expired
            for fd, _ in ready:
                if fd != writing or data is None:
                    piece = os.read(fd, _CHUNK_BYTES)
                    reading[fd].append(piece)
                    if not piece:
                        poll.unregister(fd)
                        left -= 1
                elif not (data := _write(fd, data)):
                    poll.unregister(fd)
                    os.close(fd)
                    writing, data = -1, None
    finally:
        _close(writing)


def _write(fd: int, data: memoryview) -> memoryview | None:
    """What is left to write; None when that was all, or nobody reads any more."""
    try:
        return data[os.write(fd, data[:_CHUNK_BYTES]) :] or None
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return None


def _wait(pid: int, deadline: float) -> int:
    """The exit code of a child that has closed its output, which may still not have ended."""
    pause_s = 0.0
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            raise Expired
        time.sleep(pause_s)
        pause_s = min(pause_s + 0.0002, 0.02)


def _end(pid: int) -> None:
    """End a child and what it started: they are one process group."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass


def _close(*descriptors: int) -> None:
    for fd in descriptors:
        if fd >= 0:
            os.close(fd)
