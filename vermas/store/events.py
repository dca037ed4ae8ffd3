"""The append-only history of the town, written in the transaction that it describes."""

from __future__ import annotations

import sqlite3
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vermas.types import Event

DDL = (
    """
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        at REAL NOT NULL,
        rig TEXT NOT NULL,
        kind TEXT NOT NULL,
        bead_id TEXT NOT NULL,
        polecat_id TEXT NOT NULL,
        session_no INTEGER NOT NULL,
        data TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX events_bead ON events (bead_id, seq)",
    "CREATE INDEX events_polecat ON events (polecat_id, seq)",
)


def append(
    db: sqlite3.Connection,
    *,
    rig: str,
    kind: str,
    bead_id: str = "",
    polecat_id: str = "",
    session_no: int = 0,
    **data: Any,
) -> int:
    """Record an event with its evidence; answers its sequence number."""
    row = (time.time(), rig, kind, bead_id, polecat_id, session_no, _json(data))
    cursor = db.execute("INSERT INTO events (at, rig, kind, bead_id, polecat_id, session_no, data) VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    return int(cursor.lastrowid or 0)


def _json(data: dict[str, Any]) -> str:
    """`data` as JSON. Text and numbers are written without `json`, whose import takes as long as sqlite3's: agents wait for it."""
    if "json" in sys.modules or not all(type(value) in (str, int) for value in data.values()):
        import json

        return json.dumps(data, ensure_ascii=False)
    from _json import encode_basestring

    items = ((name, encode_basestring(value) if isinstance(value, str) else value) for name, value in data.items())
    return f"{{{', '.join(f'{encode_basestring(name)}: {value}' for name, value in items)}}}"


def since(db: sqlite3.Connection, seq: int, *, rig: str = "", limit: int = 1000) -> list[sqlite3.Row]:
    """Events after `seq`, the oldest first, of one rig or of all."""
    return db.execute("SELECT * FROM events WHERE seq > ? AND (? = '' OR rig = ?) ORDER BY seq LIMIT ?", (seq, rig, rig, limit)).fetchall()


def newest(db: sqlite3.Connection, count: int, *, rig: str = "") -> list[sqlite3.Row]:
    """The newest events of one rig or of all, the oldest of them first."""
    rows = db.execute("SELECT * FROM events WHERE (? = '' OR rig = ?) ORDER BY seq DESC LIMIT ?", (rig, rig, count)).fetchall()
    return rows[::-1]


def about(db: sqlite3.Connection, *, bead_id: str = "", polecat_id: str = "") -> list[sqlite3.Row]:
    """The events of a bead or of a polecat, the oldest first."""
    return db.execute(
        "SELECT * FROM events WHERE (bead_id = ? AND ? != '') OR (polecat_id = ? AND ? != '') ORDER BY seq",
        (bead_id, bead_id, polecat_id, polecat_id),
    ).fetchall()


def last_seq(db: sqlite3.Connection) -> int:
    """The number of the newest event, 0 when there is none."""
    return int(db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0])


def view(row: sqlite3.Row) -> Event:
    """An event as plugins and the log show it."""
    import json

    from vermas.types import Event

    return Event(
        seq=row["seq"],
        at=row["at"],
        rig=row["rig"],
        kind=row["kind"],
        bead_id=row["bead_id"],
        polecat_id=row["polecat_id"],
        session_no=row["session_no"],
        data=json.loads(row["data"]),
    )
