"""Copying the few objects of a usual change from one repository to another without a process."""

from __future__ import annotations

import os

from vermas.errors import GitError
from vermas.git.objects import has_object, parse_commit, read_object, write_object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Each object costs an fsync; beyond these figures one pack is cheaper than many files.
_FEW = 64
_SMALL_BYTES = 8 << 20
_FORBIDDEN = {b"", b".", b"..", b".git"}


def copy_commit(vault: Path | str, sources: list[str], commit: str) -> bool:
    """Copy `commit` and all it needs into the objects directory `vault`;
    False, with nothing copied, when it is more than a few small objects.

    An object is stored only after everything that it points to, and under the name that its content has. So an object that is in the vault
    is complete there, which is also where the walk ends. Raises GitError when an object is corrupt, forged or malformed.
    """
    found = _collect(vault, sources, commit)
    for name, (kind, content) in (found or {}).items():
        write_object(vault, kind, content, like=name)
    return found is not None


def _collect(vault: Path | str, sources: list[str], commit: str) -> dict[str, tuple[str, bytes]] | None:
    """The missing objects, each after those that it points to; None when they are too many, too large or not loose."""
    found: dict[str, tuple[str, bytes]] = {}
    waiting: list[tuple[str, str, bytes | None]] = [(commit, "commit", None)]
    seen: set[str] = set()
    size = 0
    while waiting:
        name, kind, content = waiting.pop()
        if content is not None:
            found[name] = (kind, content)
            continue
        if name in seen or has_object(vault, name):
            continue
        seen.add(name)
        read = next((read for read in (read_object(source, name) for source in sources) if read), None)
        size += len(read[1]) if read else 0
        if read is None or len(seen) > _FEW or size > _SMALL_BYTES:
            return None
        if read[0] != kind:
            raise GitError(f"object {name} is a {read[0]} where a {kind} is expected")
        waiting.append((name, *read))
        waiting += [(child, child_kind, None) for child, child_kind in _children(name, *read)]
    return found


def _children(name: str, kind: str, content: bytes) -> Iterator[tuple[str, str]]:
    if kind == "commit":
        commit = parse_commit(content)
        yield commit.tree, "tree"
        yield from ((parent, "commit") for parent in commit.parents)
    elif kind == "tree":
        size = len(name) // 2
        position = 0
        while position < len(content):
            end = content.index(b"\0", position)
            mode, _, entry = content[position:end].partition(b" ")
            if entry.lower() in _FORBIDDEN or b"/" in entry:
                raise GitError(f"tree {name} holds the forbidden name {os.fsdecode(entry)!r}")
            child = content[end + 1 : end + 1 + size].hex()
            position = end + 1 + size
            if mode != b"160000":
                yield child, "tree" if mode == b"40000" else "blob"
