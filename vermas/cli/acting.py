"""How an operator's verb becomes true: by the reconciler that runs, or by a pass of its own when none does."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

from vermas.config import Config
from vermas.errors import Locked, NotFound, VermasError
from vermas.git import HELD
from vermas.lifecycle.opening import open_site
from vermas.lifecycle.reconcile import reconcile
from vermas.lifecycle.site import Site
from vermas.processes import FileLock
from vermas.store import Store, polecats
from vermas.town import Town, poke, refuse_moved

_DEADLINE_S = 30.0
_POLL_S = 0.05


def unmoved(town: Town) -> Store:
    """The store of a town, for a verb that writes what it wants before the reconciler looks: it must be able to begin."""
    store = Store(town.db)
    refuse_moved(town, store.read)
    return store


def find_polecat(store: Store, name: str, *, gone: bool = False) -> sqlite3.Row:
    """A polecat by id (`p7`), address (`api/polecats/slot0`, `api/slot0`) or bead. Raises NotFound."""
    db = store.read
    row = polecats.get(db, name) or polecats.of_bead(db, name)
    if row is None and "/" in name:
        rig, _, slot = name.partition("/")
        row = polecats.in_slot(db, rig, slot.removeprefix("polecats/"))
    if row is None or (row["gone"] and not gone):
        known = [line["id"] for line in polecats.living(db)]
        ended = f"{name} is gone ({row['outcome'] or row['reason']}): see `vermas why {name}`" if row is not None else ""
        if ended:
            raise VermasError(ended)
        raise NotFound("polecat", name, known, "" if known else "no polecat is alive")
    return row


def make_true(town: Town, config: Config, rig: str, polecat_id: str, reached: Callable[[sqlite3.Row], bool]) -> bool:
    """Reconcile one polecat until `reached`, here or in the process that holds the rig; False when that takes longer than 30 s."""
    lock = FileLock(town.rig_lock(rig), "polecat", blocking=False)
    deadline = time.monotonic() + _DEADLINE_S
    try:
        lock.acquire(blocking=False)
    except Locked:
        poke(town, rig)
        answer = _await(town, lock, polecat_id, reached, deadline)
        if answer is not None:
            return answer
    held = HELD.set((lock.fd,))
    try:
        return _reconcile_here(open_site(town, config, rig), polecat_id, reached, deadline)
    finally:
        HELD.reset(held)
        lock.release()


def _reconcile_here(site: Site, polecat_id: str, reached: Callable[[sqlite3.Row], bool], deadline: float) -> bool:
    while True:
        passed = reconcile(site, {polecat_id})
        row = polecats.get(site.store.read, polecat_id)
        if row is None or reached(row):
            return True
        wait = passed.waits.get(polecat_id)
        if wait is None or wait.seconds is None or time.monotonic() + wait.seconds > deadline:
            return False
        time.sleep(wait.seconds)


def _await(town: Town, lock: FileLock, polecat_id: str, reached: Callable[[sqlite3.Row], bool], deadline: float) -> bool | None:
    """Whether another process made it so by the deadline. None, with the lock taken, when its holder left before: it may have been
    another verb, which only saw to a polecat of its own."""
    store = Store(town.db)
    try:
        while True:
            row = polecats.get(store.read, polecat_id)
            if row is None or reached(row):
                return True
            if time.monotonic() >= deadline:
                return False
            try:
                lock.acquire(blocking=False)
            except Locked:
                time.sleep(_POLL_S)
                continue
            return None
    finally:
        store.close()


def session_over(store: Store) -> Callable[[sqlite3.Row], bool]:
    """The present session has ended."""

    def over(row: sqlite3.Row) -> bool:
        session = polecats.session(store.read, row["id"], row["session_no"])
        return session is None or session["state"] == "ended"

    return over


def session_runs(store: Store, after: int) -> Callable[[sqlite3.Row], bool]:
    """A session later than number `after` was started, or will not be."""

    def runs(row: sqlite3.Row) -> bool:
        session = polecats.session(store.read, row["id"], row["session_no"])
        return row["want"] != "run" or (session is not None and session["session_no"] > after and session["state"] != "starting")

    return runs
