"""A file's lines brought into the database, bead by bead."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from vermas.beads.jsonl import Document, Rejected
from vermas.beads.merge import Record, merge
from vermas.store import beads, polecats
from vermas.store.records import dumps, loads


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of a file's lines. `kept_claims` are beads whose status in the file lost against a working polecat, `elsewhere` ids that
    belong to another rig; `quarantine` is where the `rejected` lines are kept ("" when that place cannot be written)."""

    inserted: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: int = 0
    kept_claims: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    quarantine: str = ""


_KEEP_LINE = (
    "INSERT INTO bead_lines (rig, name, position, line) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (rig, name) DO UPDATE SET line = excluded.line WHERE line != excluded.line"
)


def merge_document(db: sqlite3.Connection, rig: str, document: Document, *, own: bool) -> Report:
    """Bring the document's records into the database. `own` says that it is the rig's file, so that equal records need no writing."""
    seq = beads.touch(db, rig)
    exported = int(db.execute("SELECT exported_seq FROM bead_files WHERE rig = ?", (rig,)).fetchone()[0])
    first = beads.positions(db, rig, len(document.lines))
    empty = db.execute("SELECT 1 FROM beads WHERE rig = ? LIMIT 1", (rig,)).fetchone() is None
    if not document.by_id and (own or empty):
        db.execute("UPDATE bead_files SET by_id = 0 WHERE rig = ?", (rig,))
    inserted: list[str] = []
    changed: list[str] = []
    kept: list[str] = []
    elsewhere: list[str] = []
    foreign: list[str] = []
    foreign_changed = 0
    for offset, line in enumerate(document.lines):
        text = document.text(line)
        row = beads.get(db, line.id) if line.id else None
        if not line.id or (row is not None and row["rig"] != rig):
            if line.id:
                elsewhere.append(line.id)
            if own or not line.id:
                foreign.append(_name(text))
                foreign_changed += db.execute(_KEEP_LINE, (rig, foreign[-1], first + offset, text)).rowcount
        elif row is None:
            inserted.append(line.id)
            beads.put(db, rig, loads(text), seq=0 if own else seq, position=first + offset, text=text, new=True)
        elif row["record"] != text:
            if _merge_one(db, row, text, seq=seq, exported=exported, own=own, kept=kept):
                changed.append(line.id)
        elif own and row["changed_seq"] > 0:
            db.execute("UPDATE beads SET changed_seq = 0, base = NULL WHERE id = ?", (line.id,))
    if own and not document.rejected and document.data.endswith(b"\n"):
        db.execute("DELETE FROM bead_lines WHERE rig = ? AND name NOT IN (SELECT value FROM json_each(?))", (rig, json.dumps(foreign)))
    _settle(db, rig, seq, document, own=own, dirty=bool(inserted or changed or foreign_changed))
    return Report(
        inserted=tuple(inserted),
        changed=tuple(changed),
        unchanged=len(document.lines) - len(inserted) - len(changed) - len(elsewhere),
        kept_claims=tuple(kept),
        elsewhere=tuple(elsewhere),
        rejected=tuple(document.rejected),
    )


def _name(text: str) -> str:
    """What makes a line that is kept as it is the same one after an edit."""
    record = loads(text)
    return f"{record.get('_type', 'issue')} {record.get('key') or record.get('id') or text}"


def _merge_one(db: sqlite3.Connection, row: sqlite3.Row, text: str, *, seq: int, exported: int, own: bool, kept: list[str]) -> bool:
    """Merge one line into an existing bead; whether the database changed."""
    ours, theirs = loads(row["record"]), loads(text)
    claimed = polecats.of_bead(db, row["id"]) is not None
    merged = merge(ours, theirs, _base(row, exported, ours) if own else None, claimed=claimed)
    if claimed and (theirs.get("status"), theirs.get("assignee")) != (merged.get("status"), merged.get("assignee")):
        kept.append(row["id"])
    if own:
        as_read = merged == theirs
        beads.put(
            db,
            row["rig"],
            merged,
            seq=0 if as_read else seq,
            position=row["position"],
            text=text if as_read else row["record"] if merged == ours else dumps(merged),
            base=None if as_read else text,
        )
    elif merged != ours:
        beads.replace(db, row, merged, seq=seq)
    return bool(merged != ours)


def _base(row: sqlite3.Row, exported: int, ours: Record) -> Record | None:
    """What the rig's file had of a bead when we last knew."""
    if row["changed_seq"] <= exported:
        return ours
    base: Record | None = loads(row["base"]) if row["base"] is not None else None
    return base


def _settle(db: sqlite3.Connection, rig: str, seq: int, document: Document, *, own: bool, dirty: bool) -> None:
    """Leave the rig's counters so that its file counts as behind exactly when it is."""
    if not own:
        if not dirty:
            db.execute("UPDATE bead_files SET changed_seq = changed_seq - 1 WHERE rig = ?", (rig,))
        return
    present = {line.id for line in document.lines}
    absent = [row["id"] for row in db.execute("SELECT id FROM beads WHERE rig = ?", (rig,)) if row["id"] not in present]
    db.executemany("UPDATE beads SET changed_seq = ?, base = NULL WHERE id = ?", [(seq, bead_id) for bead_id in absent])
    ahead = db.execute("SELECT 1 FROM beads WHERE rig = ? AND changed_seq > 0 LIMIT 1", (rig,)).fetchone() is not None
    db.execute("UPDATE beads SET changed_seq = ? WHERE rig = ? AND changed_seq > 0", (seq, rig))
    db.execute("UPDATE bead_files SET exported_seq = ? WHERE rig = ?", (seq - 1 if ahead else seq, rig))
