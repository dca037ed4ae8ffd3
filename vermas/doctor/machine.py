"""What VerMAS needs of the machine."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator

from vermas import git
from vermas.doctor.diagnosis import Diagnosis, error, fine, warning
from vermas.errors import GitError
from vermas.town import Town

_GIT = (2, 38)
_PYTHON = (3, 11)
_FREE_BYTES = 200 << 20
_FULL_BYTES = 2 << 20
# SQLite's locks and shared memory cannot be trusted there.
_REMOTE = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph", "glusterfs")


def checks() -> Iterator[Diagnosis]:
    version = platform.python_version()
    if sys.version_info < _PYTHON:
        yield error("python", f"Python {version} is too old", "use Python 3.11 or newer")
    else:
        yield fine("python", f"Python {version} at {sys.executable}")
    yield _git()


def _git() -> Diagnosis:
    try:
        said = git.run(None, "version").text
    except GitError as wrong:
        return error("git", str(wrong), "install git 2.38 or newer")
    found = re.search(r"(\d+)\.(\d+)", said)
    if found is None or (int(found[1]), int(found[2])) < _GIT:
        return error("git", f"{said} is too old", "install git 2.38 or newer: VerMAS merges with `git merge-tree`")
    return fine("git", said)


def disk(town: Town) -> Iterator[Diagnosis]:
    """Space, and a file system that can hold a database."""
    there = os.statvfs(town.root)
    free = there.f_bavail * there.f_frsize
    if free < _FREE_BYTES:
        rate = error if free < _FULL_BYTES else warning
        yield rate("disk", f"{free >> 20} MB free at {town.root}", "make room: a full disk stops every polecat")
    else:
        yield fine("disk", f"{free >> 30} GB free")
    kind = _file_system(town.state)
    if kind in _REMOTE:
        yield error("file system", f"{town.state} is on {kind}", "move the town to a local disk: its database must not be on a network")


def _file_system(path: str) -> str:
    """The type of the file system that holds `path`; "" where `/proc` does not tell (not Linux)."""
    best, kind = "", ""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
            mounts = [line.split(" ") for line in file]
    except OSError:
        return ""
    for fields in mounts:
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[1])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind
