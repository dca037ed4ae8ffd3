"""The processes of sessions, from outside: start arguments, records, liveness, and ending exactly what belongs to a session.

Liveness is the kernel lock that a session's shim holds (`lock_held`), never a pid. A pid is only signalled through a pidfd, after its
start time and boot (`open_pidfd`) or its tag (`sweep`) proved whose it is. Tags and pidfds need Linux; elsewhere `tagged` finds nothing.

Every process of a session carries `VERMAS_SESSION=<town_id>/<polecat_id>/<session_no>` in its environment.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import struct
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from vermas import shim
from vermas.errors import Locked

TAG = b"VERMAS_SESSION="
KILL_DEADLINE_S = 5.0
SHIM_FINISH_S = 2.0  # after its tree is dead, what a shim needs to write its record
_PYC_HEADER = struct.Struct("<4sIII")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShimRecord:
    """Who supervises a session: `start_ticks` and `boot_id` make `pid` unmistakable; `agent_pid` leads the agent's process group."""

    id: str
    pid: int
    start_ticks: int
    boot_id: str
    agent_pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitRecord:
    """How a session ended. `code` or `signal` is the agent's; `stopped_by` is the signal that told the shim to end it; `error` says why the
    agent could not be executed; `survivors` are processes that outlived KILL."""

    id: str
    code: int | None
    signal: int | None
    stopped_by: str
    timed_out: bool
    error: str
    survivors: tuple[int, ...]
    duration_s: float
    cpu_s: float


def shim_argv(spec_path: str) -> list[str]:
    """The command that runs the session of a spec file."""
    return [sys.executable, "-I", "-S", quick_start(shim.__file__), spec_path]


def quick_start(source: str) -> str:
    """The compiled form of a Python file when it is up to date (compiling costs some ms at each start), else the file itself."""
    from importlib.util import MAGIC_NUMBER, cache_from_source

    try:
        compiled = cache_from_source(source)
        with open(compiled, "rb") as file:
            magic, flags, modified_at, size = _PYC_HEADER.unpack(file.read(_PYC_HEADER.size))
        now = os.stat(source)
    except (OSError, NotImplementedError, struct.error):
        return source
    fresh = (magic, flags, modified_at, size) == (MAGIC_NUMBER, 0, int(now.st_mtime) & 0xFFFFFFFF, now.st_size & 0xFFFFFFFF)
    return compiled if fresh else source


def write_spec(path: str | os.PathLike[str], spec: Mapping[str, Any]) -> None:
    """Write the shim's argument, readable by this user only: it may hold secrets, and the shim removes it."""
    atomic_write(path, json.dumps(dict(spec)).encode(), durable=False)


def lock_held(path: str | os.PathLike[str]) -> bool:
    """Whether a living process holds the lock file; a missing file is not held. Raises OSError when that cannot be told."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(fd, fcntl.LOCK_UN)  # at once, also for a child that was just forked with this descriptor
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def read_record(path: str | os.PathLike[str]) -> ShimRecord | None:
    """The shim's start record; None when it is missing or torn."""
    data = _read_object(path)
    try:
        return ShimRecord(
            id=str(data["id"]),
            pid=int(data["pid"]),
            start_ticks=int(data["start_ticks"]),
            boot_id=str(data["boot_id"]),
            agent_pid=int(data["agent_pid"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def read_exit(path: str | os.PathLike[str]) -> ExitRecord | None:
    """The exit record; None when it is missing or torn."""
    data = _read_object(path)
    try:
        return ExitRecord(
            id=str(data["id"]),
            code=None if data["code"] is None else int(data["code"]),
            signal=None if data["signal"] is None else int(data["signal"]),
            stopped_by=str(data["stopped_by"]),
            timed_out=bool(data["timed_out"]),
            error=str(data["error"]),
            survivors=tuple(int(pid) for pid in data["survivors"]),
            duration_s=float(data["duration_s"]),
            cpu_s=float(data["cpu_s"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _read_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        data = json.loads(shim.read_file(os.fspath(path)))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def open_pidfd(record: ShimRecord) -> int | None:
    """A pidfd of the living shim of `record`, readable when it ends; None when it ended, or without `/proc` (not Linux)."""
    if not record.start_ticks or record.boot_id != shim.boot_id():
        return None
    try:
        fd = os.pidfd_open(record.pid)
    except (ProcessLookupError, AttributeError):
        return None
    if shim.start_ticks(record.pid) == record.start_ticks and shim.state_and_parent(record.pid)[0] not in "ZX":
        return fd
    os.close(fd)
    return None


def terminate(record: ShimRecord, grace_s: float) -> None:
    """End the session of `record`: TERM to its shim, KILL to the tree after `grace_s`, KILL to the shim when even that does not end it.

    An ended shim is success. Raises nothing when the kernel will not let go of a process: `sweep` tells.
    """
    fd = open_pidfd(record)
    if fd is None:
        return
    try:
        send(fd, signal.SIGTERM, signal.SIGCONT)
        if wait_ended([fd], grace_s):
            return
        deadline = time.monotonic() + SHIM_FINISH_S
        while time.monotonic() < deadline:
            for pid in shim.descendants(record.pid):
                _kill_descendant(pid, record.pid)
            if wait_ended([fd], 0.02):
                return
        send(fd, signal.SIGKILL)
        wait_ended([fd], KILL_DEADLINE_S)
    finally:
        os.close(fd)


def send(pidfd: int, *numbers: signal.Signals) -> None:
    """Send signals to the process of a pidfd. One that has ended is success; a set-user-id one refuses, and lives on."""
    for number in numbers:
        try:
            signal.pidfd_send_signal(pidfd, number)
        except (ProcessLookupError, PermissionError):
            return


def _kill_descendant(pid: int, ancestor: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    if ancestor in _ancestors(pid):  # of the process that the descriptor holds: it cannot have been replaced since
        send(fd, signal.SIGKILL)
    os.close(fd)


def wait_ended(pidfds: Collection[int], timeout_s: float) -> bool:
    """Wait until all of the processes have ended; False when `timeout_s` passed first."""
    poll = select.poll()
    for fd in pidfds:
        poll.register(fd, select.POLLIN)
    deadline, left = time.monotonic() + timeout_s, len(pidfds)
    while left:
        ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        if not ready:
            return False
        for fd, _ in ready:
            poll.unregister(fd)
            left -= 1
    return True


def tagged(prefix: str) -> list[int]:
    """The living processes whose tag is `prefix` (`<town_id>`, `<town_id>/<polecat_id>` or a whole tag) or below it;
    this process is left out."""
    wanted = TAG + prefix.rstrip("/").encode()
    me = os.getpid()
    return [int(name) for name in shim.names_in("/proc") if name.isdigit() and int(name) != me and _has_tag(int(name), wanted)]


def _has_tag(pid: int, wanted: bytes) -> bool:
    environment = b"\0" + shim.read_proc(f"/proc/{pid}/environ") + b"\0"
    return b"\0" + wanted + b"\0" in environment or b"\0" + wanted + b"/" in environment


def sweep(tag: str, grace_s: float) -> list[int]:
    """End all processes with a tag (see `tagged`) and their descendants: TERM, KILL after `grace_s`. Returns the survivors of that.

    For sessions whose shim is dead: a living shim ends its own tree, and does it better.
    """
    held: dict[int, int] = {}
    try:
        _sweep_round(tag, held, signal.SIGTERM, signal.SIGCONT)
        _sweep_until_none(tag, held, grace_s)
        if held:
            _sweep_until_none(tag, held, KILL_DEADLINE_S, signal.SIGKILL)
        return sorted(held)
    finally:
        for fd in held.values():
            os.close(fd)


def _sweep_until_none(tag: str, held: dict[int, int], timeout_s: float, *numbers: signal.Signals) -> None:
    deadline, pause_s = time.monotonic() + timeout_s, 0.005
    while held and (left_s := deadline - time.monotonic()) > 0:
        for fd in held.values():
            send(fd, *numbers)
        wait_ended(held.values(), min(pause_s, left_s))
        pause_s = min(pause_s * 2, 0.1)
        _sweep_round(tag, held, *(numbers or (signal.SIGTERM, signal.SIGCONT)))


def _sweep_round(tag: str, held: dict[int, int], *numbers: signal.Signals) -> None:
    """Let go of who ended, take hold of who is new, and signal the new. Whoever is held stays known when the tagged parent is gone."""
    for pid in [pid for pid, fd in held.items() if wait_ended([fd], 0)]:
        os.close(held.pop(pid))
    wanted = TAG + tag.rstrip("/").encode()
    roots = held.keys() | tagged(tag)
    family = roots.union(*(shim.descendants(pid) for pid in roots)) - {os.getpid()}
    news = {}
    for pid in family - held.keys():
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        if (_has_tag(pid, wanted) or not family.isdisjoint(_ancestors(pid))) and not wait_ended([fd], 0):
            news[pid] = fd
        else:
            os.close(fd)
    held |= news
    for fd in news.values():  # only now: the death of a parent takes away the proof of its children
        send(fd, *numbers)


def _ancestors(pid: int) -> set[int]:
    found: set[int] = set()
    while pid > 1 and pid not in found:
        pid = shim.state_and_parent(pid)[1]
        found.add(pid)
    return found


def atomic_write(path: str | os.PathLike[str], data: bytes, mode: int = 0o600, *, durable: bool = True) -> None:
    """Replace a file in one step, with exactly these permission bits; `durable` also survives a power loss."""
    target = os.fspath(path)
    temporary = f"{target}.{os.urandom(4).hex()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with open(fd, "wb") as file:
            os.fchmod(fd, mode)
            file.write(data)
            file.flush()
            if durable:
                os.fsync(fd)
        os.rename(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    if durable:
        sync_folder(os.path.dirname(target) or ".")


def sync_folder(path: str) -> None:
    """Make the names in a folder survive a power loss."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class FileLock:
    """An exclusive lock on a dedicated file that is never removed; the kernel releases it when the last holder dies.

    Used as a context manager, or by `acquire` and `release`. `verb` is written into the file beside the pid, for messages only. A child
    that inherits `fd` (`pass_fds`) keeps the lock alive until it ends, also when this process is killed.
    """

    def __init__(self, path: str | os.PathLike[str], verb: str = "", *, blocking: bool = True) -> None:
        self.path = os.fspath(path)
        self.verb = verb
        self.blocking = blocking
        self._fd: int | None = None

    @property
    def fd(self) -> int:
        """The descriptor that holds the lock; only while it is held."""
        if self._fd is None:
            raise ValueError(f"{self.path} is not locked by this object")
        return self._fd

    def acquire(self, blocking: bool = True) -> None:
        """Take the lock. Raises `Locked`, naming the holder, when it is held and `blocking` is False."""
        if self._fd is not None:
            raise ValueError(f"{self.path} is locked by this object already")
        while self._fd is None:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX if blocking else fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_same_file(fd, self.path):
                    self._sign(fd)
                    self._fd, fd = fd, -1
            except BlockingIOError:
                raise Locked(f"{self.path} is held by {lock_holder(self.path)}") from None
            finally:
                if fd >= 0:
                    os.close(fd)

    def _sign(self, fd: int) -> None:
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps({"pid": os.getpid(), "verb": self.verb}).encode(), 0)
        except OSError:
            pass  # on a full disk the lock holds all the same

    def release(self) -> None:
        """Give the lock back; a child that inherited it still holds it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        self.acquire(self.blocking)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def _is_same_file(fd: int, path: str) -> bool:
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(fd), there)


def lock_holder(path: str | os.PathLike[str]) -> str:
    """Who last took a lock, for messages: `vermas run (pid 123)`."""
    data = _read_object(path)
    if not data.get("pid"):
        return "another process"
    return f"vermas {data['verb']} (pid {data['pid']})" if data.get("verb") else f"pid {data['pid']}"
