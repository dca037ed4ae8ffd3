"""Finished work on its way to the target branch, and the record of what passed."""

from __future__ import annotations

import sqlite3
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DDL = (
    """
    CREATE TABLE submissions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        rig TEXT NOT NULL,
        bead_id TEXT NOT NULL,
        title TEXT NOT NULL,
        polecat_id TEXT NOT NULL,
        session_no INTEGER NOT NULL,
        commit_sha TEXT NOT NULL,
        branch TEXT NOT NULL,
        base_sha TEXT NOT NULL,
        target TEXT NOT NULL,
        actor TEXT NOT NULL,
        message TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('queued', 'checking', 'green', 'landed', 'conflict', 'red', 'held', 'withdrawn')),
        candidate TEXT NOT NULL DEFAULT '',
        reasons TEXT NOT NULL DEFAULT '',
        landed_sha TEXT NOT NULL DEFAULT '',
        failures INTEGER NOT NULL DEFAULT 0,
        retry_boot TEXT NOT NULL DEFAULT '',
        retry_mono REAL NOT NULL DEFAULT 0,
        created_at REAL NOT NULL,
        ended_at REAL,
        UNIQUE (polecat_id, session_no)
    ) STRICT
    """,
    "CREATE INDEX submissions_open ON submissions (rig, id) WHERE state IN ('queued', 'checking', 'green')",
    "CREATE INDEX submissions_bead ON submissions (bead_id)",
    """
    CREATE TABLE passes (
        tree TEXT NOT NULL,
        base TEXT NOT NULL,
        config_hash TEXT NOT NULL,
        submission_id INTEGER NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (tree, base, config_hash, submission_id)
    ) STRICT
    """,
)


def insert(db: sqlite3.Connection, **columns: Any) -> int:
    """Queue a submission under its bead's title; one per session. `attempt` counts those of the bead."""
    bead = db.execute("SELECT title FROM beads WHERE id = ?", (columns["bead_id"],)).fetchone()
    attempt = 1 + int(db.execute("SELECT count(*) FROM submissions WHERE bead_id = ?", (columns["bead_id"],)).fetchone()[0])
    row = {**columns, "title": bead["title"] if bead else "", "attempt": attempt, "state": "queued", "created_at": time.time()}
    names = ", ".join(row)
    marks = ", ".join("?" for _ in row)
    cursor = db.execute(f"INSERT INTO submissions ({names}) VALUES ({marks})", tuple(row.values()))
    return int(cursor.lastrowid or 0)


def get(db: sqlite3.Connection, submission_id: int) -> sqlite3.Row | None:
    """One submission's row."""
    row: sqlite3.Row | None = db.execute("SELECT * FROM submissions WHERE id = ?", (submission_id,)).fetchone()
    return row


def waiting(db: sqlite3.Connection, rig: str) -> list[sqlite3.Row]:
    """The submissions of a rig that are not decided yet: what is being landed first, then the oldest."""
    return db.execute(
        "SELECT * FROM submissions WHERE rig = ? AND state IN ('queued', 'checking', 'green')"
        " ORDER BY CASE state WHEN 'green' THEN 0 WHEN 'checking' THEN 1 ELSE 2 END, id",
        (rig,),
    ).fetchall()


def of_bead(db: sqlite3.Connection, bead_id: str) -> list[sqlite3.Row]:
    """A bead's submissions, the oldest first."""
    return db.execute("SELECT * FROM submissions WHERE bead_id = ? ORDER BY id", (bead_id,)).fetchall()


def of_polecat(db: sqlite3.Connection, polecat_id: str) -> list[sqlite3.Row]:
    """A polecat's submissions, the oldest first."""
    return db.execute("SELECT * FROM submissions WHERE polecat_id = ? ORDER BY id", (polecat_id,)).fetchall()


def update(db: sqlite3.Connection, submission_id: int, **columns: Any) -> None:
    """Set columns of a submission."""
    names = ", ".join(f"{name} = ?" for name in columns)
    db.execute(f"UPDATE submissions SET {names} WHERE id = ?", (*columns.values(), submission_id))


def record_pass(db: sqlite3.Connection, submission_id: int, *, tree: str, base: str, config_hash: str) -> None:
    """Remember that exactly this tree on this base passed under this configuration."""
    db.execute(
        "INSERT OR IGNORE INTO passes (tree, base, config_hash, submission_id, at) VALUES (?, ?, ?, ?, ?)",
        (tree, base, config_hash, submission_id, time.time()),
    )


def passed(db: sqlite3.Connection, submission_id: int, *, tree: str, base: str) -> bool:
    """Whether a pass is on record for exactly this tree and base."""
    row = db.execute("SELECT 1 FROM passes WHERE submission_id = ? AND tree = ? AND base = ?", (submission_id, tree, base)).fetchone()
    return row is not None
