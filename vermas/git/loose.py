"""Copying the few objects of a usual change from one repository to another without a process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from vermas.errors import GitError
from vermas.git.objects import has_object, parse_commit, read_object, write_object

_FORBIDDEN = {b"", b".", b"..", b".git"}


def copy_commit(vault: Path | str, sources: list[str], commit: str, limit: int = 2000) -> bool:
    """Copy `commit` and all it needs into the objects directory `vault`; False when git has to do it (packs, large files, many objects).

    An object is stored only after everything that it points to, and under the name that its content has. So an object that is in the vault is
    complete there, which is also where the walk ends. Raises GitError when an object is corrupt, forged or malformed.
    """
    waiting: list[tuple[str, str, bytes | None]] = [(commit, "commit", None)]
    done: set[str] = set()
    while waiting:
        name, kind, content = waiting.pop()
        if content is not None:
            write_object(vault, kind, content, like=name)
            continue
        if name in done or has_object(vault, name):
            continue
        done.add(name)
        found = next((found for found in (read_object(source, name) for source in sources) if found), None)
        if found is None or len(done) > limit:
            return False
        if found[0] != kind:
            raise GitError(f"object {name} is a {found[0]} where a {kind} is expected")
        waiting.append((name, *found))
        waiting += [(child, child_kind, None) for child, child_kind in _children(name, *found)]
    return True


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
