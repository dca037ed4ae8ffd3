"""Objects of a repository, read and written without a process: loose ones whole, packed ones by name only.

A process of git costs more than all of this for the handful of objects of a usual change. `None` means "ask git", never "absent".
"""

from __future__ import annotations

import os
import zlib

from vermas.errors import GitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

_LARGE_BYTES = 64 << 20
_IDX_MAGIC = b"\xfftOc\0\0\0\x02"
_IDX_HEADER_BYTES = 8 + 256 * 4


def has_object(objects: Path | str, name: str) -> bool:
    """Whether the object is here, loose or in a pack."""
    if os.path.exists(os.path.join(objects, name[:2], name[2:])):
        return True
    binary = bytes.fromhex(name)
    return any(_index_has(path, binary) for path in _pack_indexes(objects))


def read_object(objects: Path | str, name: str) -> tuple[str, bytes] | None:
    """The type and the content of a loose object; None when it is not loose here. Raises GitError when its content is not its name's."""
    try:
        with open(os.path.join(objects, name[:2], name[2:]), "rb") as file:
            packed = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    decoder = zlib.decompressobj()
    try:
        data = decoder.decompress(packed, _LARGE_BYTES)
    except zlib.error as error:
        raise GitError(f"object {name} in {objects} is corrupt: {error}") from error
    if decoder.unconsumed_tail:
        return None
    if _digest(data, name) != name:
        raise GitError(f"object {name} in {objects} is corrupt: its content has another name")
    header, _, content = data.partition(b"\0")
    return header.split(b" ")[0].decode(), content


def write_object(objects: Path | str, kind: str, content: bytes, *, like: str, durable: bool = True) -> str:
    """Store a loose object, whole, and with `durable` on disk, before it has its name. `like` is any object name of the same repository."""
    data = b"%s %d\0%s" % (kind.encode(), len(content), content)
    name = _digest(data, like)
    directory = os.path.join(objects, name[:2])
    path = os.path.join(directory, name[2:])
    if os.path.exists(path):
        return name
    os.makedirs(directory, exist_ok=True)
    temporary = os.path.join(directory, f"tmp_obj_{os.urandom(6).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o444)
    with open(descriptor, "wb") as file:
        file.write(zlib.compress(data, 1))
        file.flush()
        if durable:
            os.fsync(descriptor)
    os.rename(temporary, path)
    return name


class CommitObject:
    """What a commit says: its tree, its parents, and the committer's time in seconds since the epoch."""

    __slots__ = ("at", "parents", "tree")  # no dataclass: see `vermas.git.process.Result`

    def __init__(self, tree: str, parents: tuple[str, ...], at: int) -> None:
        self.tree = tree
        self.parents = parents
        self.at = at


def read_commit(objects: Path | str, name: str) -> CommitObject | None:
    """A commit that is a loose object; None when it is not loose here."""
    found = read_object(objects, name)
    return parse_commit(found[1]) if found and found[0] == "commit" else None


def parse_commit(content: bytes) -> CommitObject:
    """Take a commit's content apart. Raises GitError when it is malformed."""
    lines = [line.partition(b" ") for line in content.split(b"\n\n", 1)[0].split(b"\n")]
    try:
        tree = next(value for key, _, value in lines if key == b"tree").decode()
        at = int(next(value for key, _, value in lines if key == b"committer").rsplit(b" ", 2)[1])
    except (StopIteration, ValueError, IndexError) as error:
        raise GitError(f"malformed commit: {content[:200]!r}") from error
    return CommitObject(tree, tuple(value.decode() for key, _, value in lines if key == b"parent"), at)


def commits_since(objects: Path | str, base: str, head: str, limit: int = 200) -> int | None:
    """How many commits lead from `base` to `head` when they are a straight line of loose commits; None when git has to tell."""
    name = head
    for count in range(limit):
        if name == base:
            return count
        commit = read_commit(objects, name)
        if commit is None or len(commit.parents) != 1:
            return None
        name = commit.parents[0]
    return None


def _pack_indexes(objects: Path | str) -> Iterator[str]:
    try:
        names = os.listdir(os.path.join(objects, "pack"))
    except FileNotFoundError:
        return
    yield from (os.path.join(objects, "pack", name) for name in names if name.endswith(".idx"))


def _index_has(path: str, name: bytes) -> bool:
    """Look a name up in a pack's index, version 2 (gitformat-pack(5)): a fan-out table, then the sorted names."""
    import mmap

    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as index:
            if index[:8] != _IDX_MAGIC:
                raise GitError(f"{path} is no index of a pack that VerMAS can read")
            fan = 8 + name[0] * 4
            low = int.from_bytes(index[fan - 4 : fan], "big") if name[0] else 0
            high = int.from_bytes(index[fan : fan + 4], "big")
            while low < high:
                middle = (low + high) // 2
                start = _IDX_HEADER_BYTES + middle * len(name)
                found = index[start : start + len(name)]
                if found == name:
                    return True
                low, high = (middle + 1, high) if found < name else (low, middle)
    except FileNotFoundError:
        pass
    return False


def _digest(data: bytes, like: str) -> str:
    if len(like) == 64:
        import hashlib

        return hashlib.sha256(data).hexdigest()
    return str(_sha1()(data, usedforsecurity=False).hexdigest())


def _sha1() -> Callable[..., Any]:
    """Python's own SHA-1: `hashlib` loads OpenSSL, which takes longer than hashing a usual change."""
    try:
        from _sha1 import sha1  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import sha1
    found: Callable[..., Any] = sha1
    return found
