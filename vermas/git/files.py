"""What git keeps in plain files, read without a process: where a repository is, its refs, its loose objects.

The formats are those of gitrepository-layout(5). Whatever is not found here may still exist (packed refs, packs): `None` means
"ask git", never "absent".
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import zlib
from dataclasses import dataclass
from pathlib import Path

from vermas.errors import GitError

_NAME = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_SMALL_BYTES = 64 << 20


def is_object_name(text: str) -> bool:
    """Whether `text` is a full object name."""
    return _NAME.match(text) is not None


def git_dir(place: Path | str) -> str | None:
    """The git directory of a checkout, a worktree or a bare repository; None when `place` is none of these."""
    inner = os.path.join(place, ".git")
    try:
        with open(inner, "rb") as file:
            line = file.read(4096 * 2)
    except IsADirectoryError:
        return inner if _is_git_dir(inner) else None
    except (FileNotFoundError, NotADirectoryError):
        return os.fspath(place) if _is_git_dir(place) else None
    if not line.startswith(b"gitdir: "):
        return None
    target = os.path.normpath(os.path.join(place, os.fsdecode(line[8:].rstrip(b"\n"))))
    return target if os.path.isdir(target) else None


def common_dir(git_dir: Path | str) -> str:
    """The directory that a git directory shares with its other worktrees; itself when it has none."""
    line = _line(os.path.join(git_dir, "commondir"))
    return os.path.normpath(os.path.join(git_dir, line)) if line else os.fspath(git_dir)


def object_directories(place: Path | str) -> str:
    """Where the objects of the repository at `place` are. Raises GitError when there is no repository."""
    found = git_dir(place)
    objects = os.path.join(common_dir(found), "objects") if found else ""
    if not os.path.isdir(objects):
        raise GitError(f"{place} is not a git repository")
    return objects


def read_ref(git_dir: Path | str, ref: str) -> str | None:
    """The object name in the loose file of `ref`; None when there is none (it may be packed) or it is symbolic."""
    line = _line(os.path.join(git_dir, ref))
    return line if line is not None and is_object_name(line) else None


def read_object(objects: Path | str, name: str) -> tuple[str, bytes] | None:
    """The type and the content of a loose object; None when it is not loose here. Raises GitError when its content is not its name's."""
    try:
        with open(os.path.join(objects, name[:2], name[2:]), "rb") as file:
            packed = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    decoder = zlib.decompressobj()
    try:
        data = decoder.decompress(packed, _SMALL_BYTES)
    except zlib.error as error:
        raise GitError(f"object {name} in {objects} is corrupt: {error}") from error
    if decoder.unconsumed_tail:
        return None
    if _digest(data, name) != name:
        raise GitError(f"object {name} in {objects} is corrupt: its content has another name")
    header, _, content = data.partition(b"\0")
    return header.split(b" ")[0].decode(), content


def write_object(objects: Path | str, kind: str, content: bytes, *, like: str) -> str:
    """Store a loose object, whole and on disk before it has its name. `like` is any object name of the same repository."""
    data = b"%s %d\0%s" % (kind.encode(), len(content), content)
    name = _digest(data, like)
    directory = os.path.join(objects, name[:2])
    path = os.path.join(directory, name[2:])
    if os.path.exists(path):
        return name
    os.makedirs(directory, exist_ok=True)
    temporary = os.path.join(directory, f"tmp_obj_{secrets.token_hex(6)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o444)
    with open(descriptor, "wb") as file:
        file.write(zlib.compress(data, 1))
        file.flush()
        os.fsync(descriptor)
    os.rename(temporary, path)
    return name


def borrow_objects(objects: Path | str, lender: Path | str) -> None:
    """Let the repository whose objects are in `objects` use those in `lender` too, as `git clone --shared` does; once is enough."""
    path = os.path.join(objects, "info", "alternates")
    line = os.path.relpath(os.path.realpath(lender), os.path.realpath(objects))
    try:
        with open(path, "rb") as file:
            known = file.read()
    except FileNotFoundError:
        known = b""
    if os.fsencode(line) in known.split(b"\n"):
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{secrets.token_hex(6)}"
    with open(temporary, "xb") as file:
        file.write(os.fsencode(line) + b"\n" + known)
    os.rename(temporary, path)


def make_git_dir(git_dir: Path | str, lender: Path | str, head: str, *, like: str) -> None:
    """Lay out the git directory of a checkout that borrows its objects from `lender` (an objects directory), as `git clone --shared` would.

    `head` is the content of HEAD: a commit, or `ref: refs/heads/…`. `like` is any object name of the lender.
    """
    objects = os.path.join(git_dir, "objects")
    for directory in (os.path.join(objects, "info"), os.path.join(objects, "pack"), os.path.join(git_dir, "refs", "heads")):
        os.makedirs(directory)
    sha256 = len(like) == 64
    config = f"[core]\n\trepositoryformatversion = {int(sha256)}\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n"
    config += "[gc]\n\tauto = 0\n" + ("[extensions]\n\tobjectformat = sha256\n" if sha256 else "")
    for name, text in (("config", config), ("HEAD", f"{head}\n"), ("objects/info/alternates", f"{os.path.realpath(lender)}\n")):
        with open(os.path.join(git_dir, name), "xb") as file:
            file.write(os.fsencode(text))


@dataclass(frozen=True, slots=True)
class CommitObject:
    """What a commit says: its tree, its parents, and the committer's time in seconds since the epoch."""

    tree: str
    parents: tuple[str, ...]
    at: int


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


def _digest(data: bytes, like: str) -> str:
    return hashlib.sha256(data).hexdigest() if len(like) == 64 else hashlib.sha1(data, usedforsecurity=False).hexdigest()


def _is_git_dir(path: Path | str) -> bool:
    return all(os.path.exists(os.path.join(path, name)) for name in ("HEAD", "objects", "refs"))


def _line(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.read(8192).rstrip(b"\n"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
