"""Lock files in an origin on this machine that a killed git left: until they go, nobody's push arrives, the user's included."""

from __future__ import annotations

import logging
import os
import time

log = logging.getLogger(__name__)

_LIVE_S = 1.0  # git holds them for milliseconds
_LOOK_S = 0.05
_REMOTE = ("nfs", "cifs", "smb", "ceph", "9p", "afs", "gluster", "lustre", "fuse.")


def drop_locks(git_dir: str, branch: str) -> list[str]:
    """Remove the lock files of `branch`, HEAD and the index that nobody can hold; those removed. Linux; elsewhere nothing is ever sure.

    Sure means: made by this user on a disk of this machine, unchanged for a second, and no git of this user works in the repository.
    """
    paths = [os.path.join(git_dir, name) for name in (f"refs/heads/{branch}.lock", "HEAD.lock", "packed-refs.lock", "index.lock")]
    seen = {path: mark for path in paths if (mark := _mark(path)) is not None}
    end = time.monotonic() + _LIVE_S
    while seen and time.monotonic() < end:
        time.sleep(_LOOK_S)
        seen = {path: mark for path, mark in seen.items() if _mark(path) == mark}
    if not seen or _is_remote(git_dir) or _git_works_in(git_dir):
        return []
    dropped = [path for path, mark in seen.items() if _mark(path) == mark]
    for path in dropped:
        log.warning("removing %s, which a killed git left", path)
        os.unlink(path)
    return dropped


def _mark(path: str) -> tuple[int, int, int] | None:
    """What tells one lock file of this user from another one at the same path; None when there is none."""
    try:
        info = os.lstat(path)
    except OSError:
        return None
    return (info.st_dev, info.st_ino, info.st_mtime_ns) if info.st_uid == os.geteuid() else None


def _is_remote(path: str) -> bool:
    """Whether other machines may write there; also when it cannot be told."""
    info = os.stat(path)
    device = f"{os.major(info.st_dev)}:{os.minor(info.st_dev)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            mounts = [line.split() for line in file]
    except FileNotFoundError:
        return True
    kinds = {fields[fields.index("-") + 1] for fields in mounts if fields[2] == device}
    return any(kind.startswith(_REMOTE) for kind in kinds)


def _git_works_in(git_dir: str) -> bool:
    """Whether a process called git… has its working directory or an open file in the repository or its checkout."""
    top = os.path.realpath(git_dir)
    top = os.path.dirname(top) if os.path.basename(top) == ".git" else top
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                if not file.read().startswith("git"):
                    continue
            links = [f"/proc/{pid}/cwd", *(f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd"))]
            places = [os.readlink(link) for link in links]
        except OSError:
            continue  # it ended, or is not this user's
        if any(place == top or place.startswith(top + os.sep) for place in places):
            return True
    return False
