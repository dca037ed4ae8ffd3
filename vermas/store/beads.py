"""Beads: one row per issue with the columns that queries need, and `record`, the whole line of `issues.jsonl`.

`record` is the line as it was read until a field changes; then only that field differs, and keys that VerMAS does not know stay where
they were. Every change takes the next `changed_seq` of its rig: an exporter compares it with `exported_seq`. `base` is the record as the
rig's file last had it, kept while the row is ahead of the file, so that edits of both sides can be merged.
"""

from __future__ import annotations

import json
import sqlite3

from vermas.errors import Conflict, NotFound
from vermas.store.records import columns, dependency_rows, dumps, with_field
from vermas.store.timestamps import format_us, now_us

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

DDL = (
    """
    CREATE TABLE beads (
        id TEXT PRIMARY KEY,
        rig TEXT NOT NULL,
        status TEXT NOT NULL,
        priority INTEGER NOT NULL,
        issue_type TEXT NOT NULL,
        assignee TEXT NOT NULL,
        title TEXT NOT NULL,
        created_us INTEGER NOT NULL,
        updated_us INTEGER NOT NULL,
        defer_us INTEGER NOT NULL,
        pinned INTEGER NOT NULL,
        ephemeral INTEGER NOT NULL,
        close_reason TEXT NOT NULL,
        position INTEGER NOT NULL,
        changed_seq INTEGER NOT NULL,
        record TEXT NOT NULL,
        base TEXT
    ) STRICT
    """,
    # Both cover their queries: without them `ready` would read the descriptions of all beads.
    "CREATE INDEX beads_work ON beads (rig, status, created_us, id, priority, issue_type, assignee, defer_us, pinned, ephemeral)",
    "CREATE INDEX beads_state ON beads (id, status)",
    "CREATE INDEX beads_deferred ON beads (defer_us, id) WHERE defer_us != 0",
    "CREATE INDEX beads_changed ON beads (rig, changed_seq)",
    """
    CREATE TABLE dependencies (
        bead_id TEXT NOT NULL,
        position INTEGER NOT NULL,
        depends_on TEXT NOT NULL,
        type TEXT NOT NULL,
        metadata TEXT NOT NULL,
        PRIMARY KEY (bead_id, position)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX dependencies_on ON dependencies (type, depends_on, bead_id)",
    """
    CREATE TABLE bead_files (
        rig TEXT PRIMARY KEY,
        changed_seq INTEGER NOT NULL DEFAULT 0,
        exported_seq INTEGER NOT NULL DEFAULT 0,
        next_position INTEGER NOT NULL DEFAULT 1,
        by_id INTEGER NOT NULL DEFAULT 1,
        fingerprint TEXT NOT NULL DEFAULT '',
        digest TEXT NOT NULL DEFAULT '',
        pending_seq INTEGER NOT NULL DEFAULT 0,
        pending_digest TEXT NOT NULL DEFAULT ''
    ) STRICT
    """,
    """
    CREATE TABLE bead_lines (
        rig TEXT NOT NULL,
        name TEXT NOT NULL,
        position INTEGER NOT NULL,
        line TEXT NOT NULL,
        PRIMARY KEY (rig, name)
    ) STRICT, WITHOUT ROWID
    """,
)

_WORKING = ("hooked", "in_progress")


def get(db: sqlite3.Connection, bead_id: str) -> sqlite3.Row | None:
    """A bead's row, tombstones included."""
    row: sqlite3.Row | None = db.execute("SELECT * FROM beads WHERE id = ?", (bead_id,)).fetchone()
    return row


def alive(db: sqlite3.Connection, bead_id: str, rig: str = "") -> sqlite3.Row:
    """The row of a bead that may be shown and changed. Raises NotFound, with the nearest id, for unknown ids and tombstones."""
    row = get(db, bead_id)
    if row is None or row["status"] == "tombstone":
        hint = "it was deleted" if row is not None else ""
        raise NotFound("bead", bead_id, ids(db, rig) if row is None else (), hint)
    return row


def ids(db: sqlite3.Connection, rig: str = "") -> list[str]:
    """The ids of all beads but tombstones."""
    rows = db.execute("SELECT id FROM beads WHERE (? = '' OR rig = ?) AND status != 'tombstone'", (rig, rig))
    return [row[0] for row in rows]


def listing(db: sqlite3.Connection, rig: str = "", statuses: Iterable[str] = (), *, without: Iterable[str] = ()) -> list[sqlite3.Row]:
    """Beads of one rig or of all in the order in which they came: all but tombstones and those `without`, or those of `statuses`."""
    return db.execute(
        "SELECT * FROM beads WHERE (:rig = '' OR rig = :rig) AND status NOT IN (SELECT value FROM json_each(:without))"
        " AND (:only = '[]' OR status IN (SELECT value FROM json_each(:only))) ORDER BY rig, position",
        {"rig": rig, "only": json.dumps(list(statuses)), "without": json.dumps(["tombstone", *without])},
    ).fetchall()


def tally(db: sqlite3.Connection, rig: str) -> dict[str, int]:
    """How many beads a rig has in each status."""
    return dict(db.execute("SELECT status, count(*) FROM beads WHERE rig = ? GROUP BY status", (rig,)).fetchall())


def count(db: sqlite3.Connection, rig: str) -> int:
    """How many beads a rig has, tombstones included."""
    return int(db.execute("SELECT count(*) FROM beads WHERE rig = ?", (rig,)).fetchone()[0])


def used(db: sqlite3.Connection, column: str) -> list[str]:
    """The values that a column (`status`, `issue_type`) has anywhere in the town."""
    return [row[0] for row in db.execute(f"SELECT DISTINCT {column} FROM beads ORDER BY 1")]


def claim(db: sqlite3.Connection, bead_id: str, assignee: str) -> bool:
    """Hook an open bead that is nobody else's. False when it is not there, not open or assigned to another; then nothing changed."""
    row = get(db, bead_id)
    if row is None or row["status"] != "open" or row["assignee"] not in ("", assignee):
        return False
    return _apply(db, row, {"status": "hooked", "assignee": assignee, "started_at": format_us(now_us())})


def set_status(db: sqlite3.Connection, bead_id: str, status: str, *, assignee: str | None = None, close_reason: str = "") -> bool:
    """Move a bead to `status`; `assignee` stays when None and is cleared when "". False when the bead was so already.

    `closed_at` exists exactly while the status is `closed`; leaving it also drops the reason. Raises NotFound, also for tombstones.
    """
    row = alive(db, bead_id)
    fields: dict[str, Any] = {"status": status}
    if assignee is not None:
        fields["assignee"] = assignee or None
    if status != "closed":
        fields |= {"closed_at": None, "close_reason": None, "closed_by_session": None}
    elif row["status"] != "closed":
        fields["closed_at"] = format_us(_stamp(row))
        fields["close_reason"] = close_reason or None
    if status in _WORKING and row["status"] not in _WORKING:
        fields["started_at"] = format_us(_stamp(row))
    return _apply(db, row, fields)


def update(db: sqlite3.Connection, bead_id: str, fields: Mapping[str, Any]) -> bool:
    """Set fields of a bead's record, removing those that are None. False when nothing differs. Status has `set_status`."""
    return _apply(db, alive(db, bead_id), fields)


def insert(db: sqlite3.Connection, rig: str, record: Mapping[str, Any]) -> None:
    """A new bead. Raises Conflict when the id exists in any rig of the town."""
    bead_id = str(record["id"])
    if get(db, bead_id) is not None:
        raise Conflict(f"there is already a bead {bead_id}")
    put(db, rig, record, seq=touch(db, rig), position=positions(db, rig, 1), new=True)


def put(
    db: sqlite3.Connection,
    rig: str,
    record: Mapping[str, Any],
    *,
    seq: int,
    position: int,
    text: str = "",
    base: str | None = None,
    new: bool = False,
) -> None:
    """Write a bead as `record` says. `text` is the line it came from, `seq` 0 says that the rig's file has it just so, `new` that the
    bead did not exist."""
    values = columns(record)
    values |= {"rig": rig, "position": position, "changed_seq": seq, "record": text or dumps(record), "base": base}
    db.execute(_PUT, values)
    _put_dependencies(db, values["id"], record, new=new)


_COLUMNS = (
    "id", "rig", "status", "priority", "issue_type", "assignee", "title", "created_us", "updated_us", "defer_us", "pinned", "ephemeral",
    "close_reason", "position", "changed_seq", "record", "base",
)  # fmt: skip
_PUT = (
    f"INSERT INTO beads ({', '.join(_COLUMNS)}) VALUES ({', '.join(':' + name for name in _COLUMNS)}) ON CONFLICT (id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in ("id", "position"))
)


def touch(db: sqlite3.Connection, rig: str) -> int:
    """The number of the next change of a rig's beads."""
    row = db.execute(
        "INSERT INTO bead_files (rig, changed_seq) VALUES (?, 1)"
        " ON CONFLICT (rig) DO UPDATE SET changed_seq = changed_seq + 1 RETURNING changed_seq",
        (rig,),
    ).fetchone()
    return int(row[0])


def positions(db: sqlite3.Connection, rig: str, count: int) -> int:
    """Reserve `count` places at the end of a rig's file; answers the first."""
    row = db.execute(
        "INSERT INTO bead_files (rig, next_position) VALUES (:rig, 1 + :count)"
        " ON CONFLICT (rig) DO UPDATE SET next_position = next_position + :count RETURNING next_position",
        {"rig": rig, "count": count},
    ).fetchone()
    return int(row[0]) - count


def behind(db: sqlite3.Connection, rig: str) -> bool:
    """Whether the rig's file lacks a change."""
    row = db.execute("SELECT changed_seq > exported_seq FROM bead_files WHERE rig = ?", (rig,)).fetchone()
    return bool(row and row[0])


def _apply(db: sqlite3.Connection, row: sqlite3.Row, fields: Mapping[str, Any]) -> bool:
    """Change fields of a row's record, if they differ, and everything that follows from it. False as well when the row is no longer so."""
    record = json.loads(row["record"])
    changed = {name: value for name, value in fields.items() if record.get(name) != value}
    if not changed:
        return False
    for name, value in {**changed, "updated_at": format_us(_stamp(row))}.items():
        record = with_field(record, name, value)
    return replace(db, row, record, seq=touch(db, row["rig"]))


def replace(db: sqlite3.Connection, row: sqlite3.Row, record: Mapping[str, Any], *, seq: int) -> bool:
    """Give a bead another record. False when it is no longer as in `row`; then nothing changed."""
    values = columns(record)
    values |= {"record": dumps(record), "was": row["record"], "seq": seq}
    if db.execute(_CHANGE, values).rowcount != 1:
        return False
    _put_dependencies(db, row["id"], record)
    return True


_CHANGE = """
    UPDATE beads SET status = :status, priority = :priority, issue_type = :issue_type, assignee = :assignee, title = :title,
        created_us = :created_us, updated_us = :updated_us, defer_us = :defer_us, pinned = :pinned, ephemeral = :ephemeral,
        close_reason = :close_reason, record = :record, changed_seq = :seq,
        base = CASE WHEN changed_seq <= (SELECT exported_seq FROM bead_files f WHERE f.rig = beads.rig) THEN record ELSE base END
    WHERE id = :id AND record = :was
"""


def _put_dependencies(db: sqlite3.Connection, bead_id: str, record: Mapping[str, Any], *, new: bool = False) -> None:
    if not new:
        db.execute("DELETE FROM dependencies WHERE bead_id = ?", (bead_id,))
    rows = dependency_rows(record)
    if rows:
        db.executemany("INSERT INTO dependencies (bead_id, position, depends_on, type, metadata) VALUES (?, ?, ?, ?, ?)", rows)


def _stamp(row: sqlite3.Row) -> int:
    """Now, or just after the row's last change when the clock says otherwise."""
    return max(now_us(), int(row["updated_us"]) + 1)
