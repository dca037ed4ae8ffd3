"""Getting rid of directories: one atomic rename out of the way, then deletion that cannot be led astray and may be repeated."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

#: Below this depth a directory is first moved up, so that neither descriptors nor the interpreter's stack run out.
_DEPTH = 64
_FOREIGN = "foreign-"


def discard(path: str, trash: str, label: str, *, keep: bool = False) -> str | None:
    """Move `path` into the directory `trash` under a new name and return that; None when there is nothing at `path`.

    `keep` marks it as not ours: `empty` leaves it alone.
    """
    os.makedirs(trash, mode=0o700, exist_ok=True)
    name = f"{_FOREIGN if keep else ''}{label}-{secrets.token_hex(6)}"
    try:
        os.rename(path, os.path.join(trash, name))
    except FileNotFoundError:
        return None
    return name


def empty(trash: str) -> None:
    """Delete everything in the directory `trash` that nobody else is deleting. What resists is logged and left for the next time."""
    try:
        top = os.open(trash, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        while names := [name for name in os.listdir(top) if not name.startswith(_FOREIGN)]:
            if sum(_destroy_entry(top, name) for name in names) == 0:
                return
    finally:
        os.close(top)


@contextmanager
def scratch(trash: str, label: str) -> Iterator[str]:
    """A directory for passing use among what is deleted anyway: after a crash `empty` deletes it, before that it is left alone."""
    os.makedirs(trash, mode=0o700, exist_ok=True)
    while True:
        path = os.path.join(trash, f"{label}-{secrets.token_hex(6)}")
        os.mkdir(path, 0o700)
        try:
            directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # it was emptied at this very moment
        fcntl.flock(directory, fcntl.LOCK_EX)
        if os.path.isdir(path):
            break
        os.close(directory)
    try:
        yield path
    finally:
        shutil.rmtree(path)
        os.close(directory)


def leftovers(trash: str) -> list[str]:
    """The names in `trash`."""
    try:
        return sorted(os.listdir(trash))
    except FileNotFoundError:
        return []


def _destroy_entry(top: int, name: str) -> bool:
    """Whether something was deleted."""
    try:
        if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=top)
            return True
        directory = _open_directory(top, name)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)  # another thread or process is at it: leave it to them
            _destroy_content(top, directory, 1)
            os.rmdir(name, dir_fd=top)
        finally:
            os.close(directory)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return True
    except OSError as error:
        log.warning("cannot delete %s from the trash: %s", name, error)
        return False
    return True


def _destroy_content(top: int, directory: int, depth: int) -> None:
    with os.scandir(directory) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        if not is_directory:
            os.unlink(name, dir_fd=directory)
        elif depth >= _DEPTH:
            os.close(_open_directory(directory, name))  # a directory can be moved only when it is writable
            os.rename(name, f"deep-{secrets.token_hex(8)}", src_dir_fd=directory, dst_dir_fd=top)
        else:
            inner = _open_directory(directory, name)
            try:
                _destroy_content(top, inner, depth + 1)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=directory)


def _open_directory(parent: int, name: str) -> int:
    """Open a directory, never through a symbolic link, and make it ours to empty."""
    flags = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        directory = os.open(name, os.O_RDONLY | flags, dir_fd=parent)
    except PermissionError:
        _make_readable(parent, name, flags)
        directory = os.open(name, os.O_RDONLY | flags, dir_fd=parent)
    mode = os.fstat(directory).st_mode
    if mode & 0o700 != 0o700:
        os.fchmod(directory, 0o700)
    return directory


def _make_readable(parent: int, name: str, flags: int) -> None:
    """Linux: a descriptor without read permission names the directory for chmod; elsewhere chmod itself does not follow links."""
    if not hasattr(os, "O_PATH"):
        os.chmod(name, 0o700, dir_fd=parent, follow_symlinks=False)
        return
    handle = os.open(name, os.O_PATH | flags, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{handle}", 0o700)
    finally:
        os.close(handle)
