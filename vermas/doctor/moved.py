"""A town that was moved: its absolute paths are written anew."""

from __future__ import annotations

import glob
import json
import os
from typing import Any

from vermas.errors import Conflict, NotFound
from vermas.processes import atomic_write, lock_held
from vermas.store import Store, events
from vermas.town import Town

# Relative to a rig's directory: where git and the sandbox plugins keep absolute paths.
_LINKS = (
    "yard.git/worktrees/*/gitdir",
    "yard.git/objects/info/alternates",
    "polecats/*/*/.git",
    "polecats/*/*/.git/objects/info/alternates",
)


def is_copy(town: Town, old: str) -> bool:
    """Whether the town still exists at its old place too."""
    try:
        return Town(old).id == town.id
    except NotFound:
        return False


def relocate(town: Town, store: Store, old: str) -> str:
    """Make the links and handles of a moved town lead to its new place; repeated after an interruption it completes that.

    :raises Conflict: a session is running: it holds the old paths in its memory.
    """
    running = [name for name in sorted(os.listdir(town.sessions)) if lock_held(os.path.join(town.sessions, name))]
    if running:
        raise Conflict(f"sessions are running: {', '.join(running)}; end their processes, or move the town back and stop them")
    changed = sum(_rewrite(path, old, town.root) for path in _links(town))
    with store.write() as db:
        for table, column in (("polecats", "sandbox"), ("sessions", "handle")):
            for row in db.execute(f"SELECT rowid, {column} FROM {table} WHERE {column} != ''").fetchall():
                moved = json.dumps(_moved(json.loads(row[1]), old, town.root))
                db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (moved, row[0]))
        db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('root', ?)", (town.root,))
        events.append(db, rig="", kind="town-moved", old=old, new=town.root)
    return f"{changed} link(s) lead to {town.root} now"


def _links(town: Town) -> list[str]:
    """Agents can write here: what is reached through a symbolic link is not touched."""
    found = (path for pattern in _LINKS for path in glob.glob(os.path.join(glob.escape(town.root), "*", pattern)))
    return [path for path in found if os.path.realpath(path) == path and os.path.isfile(path)]


def _rewrite(path: str, old: str, new: str) -> bool:
    with open(path, "rb") as file:
        lines = file.read(1 << 16).split(b"\n")
    prefix = os.fsencode(old) + b"/"
    moved = []
    for line in lines:
        label, target = (line[:8], line[8:]) if line.startswith(b"gitdir: ") else (b"", line)
        moved.append(label + os.fsencode(new) + b"/" + target[len(prefix) :] if target.startswith(prefix) else line)
    if moved == lines:
        return False
    atomic_write(path, b"\n".join(moved), os.stat(path).st_mode & 0o777)
    return True


def _moved(value: Any, old: str, new: str) -> Any:
    """A JSON value with every path at or below `old` put below `new`."""
    if isinstance(value, str):
        return new + value[len(old) :] if value == old or value.startswith(old + "/") else value
    if isinstance(value, dict):
        return {key: _moved(item, old, new) for key, item in value.items()}
    return [_moved(item, old, new) for item in value] if isinstance(value, list) else value
