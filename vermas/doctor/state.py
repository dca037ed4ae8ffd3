"""The town's own state: permissions, database, place, locks, processes."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from collections.abc import Iterator

from vermas.config import Config
from vermas.doctor import moved
from vermas.doctor.diagnosis import Diagnosis, error, fine, warning
from vermas.errors import Conflict, StoreError
from vermas.processes import lock_held, lock_holder, sweep, tagged
from vermas.store import Store, polecats
from vermas.town import Town, recorded_root, refuse_moved

_GRACE_S = 5.0


def permissions(town: Town) -> Iterator[Diagnosis]:
    """Nobody else may read or write the state."""
    wrong = []
    for path in [town.state, town.sessions, town.archive, town.cache, town.locks]:
        wrong += _not_exactly(path, 0o700)
    for path in [town.db, town.id_file, town.set_file]:
        wrong += _not_exactly(path, 0o600)
    for path, mode in wrong:

        def mend(path: str = path, mode: int = mode) -> str:
            if not os.path.lexists(path):
                os.mkdir(path, mode)
            os.chmod(path, mode, follow_symlinks=True)
            return f"{path} has mode {mode:04o}"

        missing = not os.path.lexists(path)
        said = f"{path} is missing" if missing else f"{path} has mode {stat.S_IMODE(os.lstat(path).st_mode):04o} instead of {mode:04o}"
        yield error("permissions", said, "vermas doctor --fix", mend)
    if not wrong:
        yield fine("permissions", f"only this user can read {town.state}")


def _not_exactly(path: str, mode: int) -> list[tuple[str, int]]:
    try:
        return [(path, mode)] if stat.S_IMODE(os.stat(path).st_mode) != mode else []
    except FileNotFoundError:
        return [(path, mode)] if mode == 0o700 else []


def database(town: Town) -> Diagnosis:
    """SQLite's own check of the whole file."""
    hint = f"is the disk full or read-only? If not, keep a copy of {town.state}; each rig's .beads/issues.jsonl holds its beads"
    store = Store(town.db)
    try:
        rows = store.read.execute("PRAGMA quick_check(3)").fetchall()
        integrity = "; ".join(str(row[0]) for row in rows)
        town_id = store.read.execute("SELECT value FROM meta WHERE key = 'town_id'").fetchone()
    except (StoreError, sqlite3.DatabaseError) as wrong:
        return error("database", str(wrong), hint)
    finally:
        store.close()
    if integrity != "ok":
        return error("database", f"{town.db} is damaged: {integrity}", hint)
    if town_id is None or town_id[0] != town.id:
        return error("database", f"{town.db} belongs to another town than {town.id_file}", "put the right one of the two back")
    return fine("database", "whole")


def place(town: Town, store: Store) -> Iterator[Diagnosis]:
    """Is the town where its absolute paths say?"""
    try:
        refuse_moved(town, store.read)
    except Conflict as wrong:
        old = recorded_root(store.read)
        if moved.is_copy(town, old):
            yield error("place", str(wrong), "a copy cannot be mended")
        else:
            yield error("place", str(wrong), "vermas doctor --fix", lambda: moved.relocate(town, store, old))


def locks(town: Town, config: Config, store: Store) -> Iterator[Diagnosis]:
    """Lock files that belong to nothing, and who holds the others."""
    living = {row["id"] for row in polecats.living(store.read)}
    for directory, owners, what in ((town.sessions, living, "polecat"), (town.locks, {"config", *config.rigs}, "rig")):
        for name in sorted(os.listdir(directory)):
            path, owner = os.path.join(directory, name), name.removesuffix(".lock")
            if not name.endswith(".lock") or owner in owners:
                continue
            if lock_held(path):
                yield error("locks", f"{path} is held by {lock_holder(path)}, but there is no {what} {owner}", "end that process")
            else:
                yield warning("locks", f"{path} belongs to no {what}", "vermas doctor --fix", lambda path=path: _unlink(path))  # type: ignore[misc]
    for rig in config.rigs:
        if lock_held(town.rig_lock(rig)):
            yield fine("locks", f"rig {rig} is held by {lock_holder(town.rig_lock(rig))}")


def _unlink(path: str) -> str:
    if lock_held(path):
        return f"nothing: {path} is held now"
    os.unlink(path)
    return f"removed {path}"


def processes(town: Town, store: Store) -> Iterator[Diagnosis]:
    """Running processes that carry the tag of a session which is over. Linux; elsewhere none are found."""
    strays: dict[str, list[int]] = {}
    for pid in tagged(town.id):
        tag = _tag(pid, town.id)
        if tag and _over(store, tag):
            strays.setdefault(tag, []).append(pid)
    for tag, pids in strays.items():

        def mend(tag: str = tag) -> str:
            left = sweep(tag, _GRACE_S)
            return f"ended the processes of {tag}" + (f", except {left}" if left else "")

        session = "-".join(tag.split("/")[1:])
        yield error("processes", f"processes {pids} belong to session {session}, which is over", "vermas doctor --fix", mend)


def _tag(pid: int, town_id: str) -> str:
    """The whole tag of a polecat's session; "" for other processes."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            found = re.search(rb"(?:^|\0)VERMAS_SESSION=(%s/p\d+/\d+)\0" % town_id.encode(), file.read())
    except OSError:
        return ""
    return found[1].decode() if found else ""


def _over(store: Store, tag: str) -> bool:
    _, polecat_id, session_no = tag.split("/")
    row = polecats.get(store.read, polecat_id)
    if row is None or row["gone"] or row["session_no"] != int(session_no):
        return True
    session = polecats.session(store.read, polecat_id, int(session_no))
    return session is None or session["state"] == "ended"
