"""What a human must hear of, once."""

from __future__ import annotations

import sqlite3
import time

DDL = (
    """
    CREATE TABLE incidents (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        rig TEXT NOT NULL,
        key TEXT NOT NULL,
        severity TEXT NOT NULL CHECK (severity IN ('low', 'medium', 'high', 'critical')),
        title TEXT NOT NULL,
        body TEXT NOT NULL,
        polecat_id TEXT NOT NULL,
        bead_id TEXT NOT NULL,
        opened_at REAL NOT NULL,
        notified INTEGER NOT NULL DEFAULT 0,
        closed_at REAL
    ) STRICT
    """,
    "CREATE UNIQUE INDEX incidents_open ON incidents (rig, key) WHERE closed_at IS NULL",
)


def open_once(
    db: sqlite3.Connection, *, rig: str, key: str, severity: str, title: str, body: str, polecat_id: str = "", bead_id: str = ""
) -> int:
    """Open an incident; 0 when one with this key is open already."""
    cursor = db.execute(
        "INSERT OR IGNORE INTO incidents (rig, key, severity, title, body, polecat_id, bead_id, opened_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (rig, key, severity, title, body, polecat_id, bead_id, time.time()),
    )
    return int(cursor.lastrowid or 0) if cursor.rowcount == 1 else 0


def unnotified(db: sqlite3.Connection, rig: str) -> list[sqlite3.Row]:
    """Open incidents that no channel has been asked to tell yet."""
    return db.execute("SELECT * FROM incidents WHERE rig = ? AND closed_at IS NULL AND notified = 0 ORDER BY id", (rig,)).fetchall()


def mark_notified(db: sqlite3.Connection, incident_id: int) -> None:
    """The channels were asked."""
    db.execute("UPDATE incidents SET notified = 1 WHERE id = ?", (incident_id,))


def close_of(db: sqlite3.Connection, *, polecat_id: str) -> None:
    """Close a polecat's incidents: what they asked for has happened."""
    db.execute("UPDATE incidents SET closed_at = ? WHERE polecat_id = ? AND closed_at IS NULL", (time.time(), polecat_id))


def open_now(db: sqlite3.Connection, rig: str = "") -> list[sqlite3.Row]:
    """Open incidents of one rig or of all, the oldest first."""
    return db.execute("SELECT * FROM incidents WHERE closed_at IS NULL AND (? = '' OR rig = ?) ORDER BY id", (rig, rig)).fetchall()
