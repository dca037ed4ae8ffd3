"""Why a bead is not ready, in sentences."""

from __future__ import annotations

import sqlite3

from vermas.beads.ready import DONE, NOT_WORK, failed, fanned_in
from vermas.store.timestamps import format_us, now_us


def reasons(db: sqlite3.Connection, row: sqlite3.Row, now: int | None = None) -> list[str]:
    """Everything that keeps a bead from being taken up; nothing when it is ready for anybody."""
    now = now_us() if now is None else now
    found = []
    if row["status"] != "open":
        found.append(f"it is {row['status']}")
    if row["assignee"]:
        found.append(f"it is assigned to {row['assignee']}")
    if row["pinned"]:
        found.append("it is pinned")
    if row["ephemeral"]:
        found.append("it is ephemeral")
    if row["issue_type"] in NOT_WORK:
        found.append(f"a {row['issue_type']} is a record, not work")
    found += _held(db, row, now)
    for parent in _ancestors(db, row["id"]):
        found += [f"its parent {parent['id']}: {why}" for why in _held(db, parent, now)]
    return found


def _held(db: sqlite3.Connection, row: sqlite3.Row, now: int) -> list[str]:
    """What holds back a bead and everything below it."""
    found = [f"deferred until {format_us(row['defer_us'])}"] if row["defer_us"] > now else []
    edges = db.execute(
        "SELECT d.depends_on, d.type, d.metadata, b.status, b.close_reason FROM dependencies d"
        " LEFT JOIN beads b ON b.id = d.depends_on WHERE d.bead_id = ? ORDER BY d.position",
        (row["id"],),
    )
    for target, kind, metadata, status, close_reason in edges:
        if kind == "blocks" and status is not None and status not in DONE:
            found.append(f"blocked by {target}, which is {status}")
        elif kind == "conditional-blocks" and status not in (None, "tombstone") and not (status == "closed" and failed(close_reason)):
            found.append(f"runs only if {target} fails, which is {status}")
        elif kind == "waits-for" and not fanned_in(db, target, metadata):
            found.append(f"waits for the children of {target}")
    return found


def _ancestors(db: sqlite3.Connection, bead_id: str) -> list[sqlite3.Row]:
    return db.execute(
        """
        WITH RECURSIVE above(id) AS (
            SELECT depends_on FROM dependencies WHERE bead_id = :id AND type = 'parent-child'
            UNION
            SELECT d.depends_on FROM above a JOIN dependencies d ON d.bead_id = a.id AND d.type = 'parent-child'
        )
        SELECT b.* FROM above a JOIN beads b ON b.id = a.id WHERE b.id != :id
        """,
        {"id": bead_id},
    ).fetchall()
